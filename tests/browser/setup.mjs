// An admin's way from an empty form to a connection, and back.

import {
	SCOPES, WIDE, addScope, base, check, closeDialog, connectInNewTab, connectionText, errors, field, headButton, listen,
	login, looks, picture, save, settle, shot, waitForConnection,
} from "./kit.mjs";

const step = (page) =>
	page.evaluate(() => document.querySelector('.connected-app-steps [aria-current="step"]')?.innerText || "");
const steps = ".connected-app-steps";

export async function setUp(browser, provider) {
	const context = await browser.newContext({ viewport: WIDE, permissions: ["clipboard-read", "clipboard-write"] });
	await login(context, "Administrator", "admin");
	const page = listen(await context.newPage());

	await page.goto(`${base}/app/connected-app/new`);
	await page.waitForSelector(steps);
	check("a new form says where to begin", (await step(page)).includes("Describe the provider"), await step(page));
	await settle(page);
	await picture(page, "form-new");
	await field(page, "provider_name").locator("input").fill("Demo");
	const discovery = field(page, "openid_configuration");
	await discovery.locator("input").fill("ftp://nowhere");
	await discovery.locator("input").blur();
	await discovery.locator(".connected-app-finding").waitFor();
	check("a wrong address is shown beside its field", (await discovery.innerText()).includes("not a web address"));
	await headButton(page, "Get OpenID Configuration").click();
	check("and nothing is saved or asked with it", await page.evaluate(() => cur_frm.is_new() && !frappe.msg_dialog?.display));
	await discovery.locator("input").fill(`${provider.issuer}/.well-known/openid-configuration`);
	await discovery.locator("input").blur();
	await discovery.locator(".connected-app-finding").waitFor({ state: "detached" });
	await save(page);
	const redirect = await page.evaluate(() => cur_frm.doc.redirect_uri);
	check(
		"the Redirect URI ends in the app's name",
		redirect.endsWith(`/${await page.evaluate(() => cur_frm.doc.name)}`),
		redirect
	);

	await field(page, "provider").locator("input").focus();
	await page.keyboard.press("Tab");
	await page.waitForTimeout(300);
	check("passing through a field changes nothing", !(await page.evaluate(() => cur_frm.is_dirty())));

	// The next step offers its button.
	await page.locator(`${steps} .btn-primary`, { hasText: "Get OpenID Configuration" }).click({ timeout: 60000 });
	await page.waitForSelector(".modal.show .modal-body", { timeout: 60000 });
	const report = await page.locator(".modal.show").innerText();
	check(
		"Get OpenID Configuration says what it filled",
		report.includes("Token URI") && report.includes("JWKS URI"),
		report
	);
	await shot(page, "configuration");
	check("the endpoints to review are unfolded", await field(page, "token_uri").isVisible());
	const uris = await page.evaluate(() =>
		[
			"authorization_uri", "token_uri", "revocation_uri", "userinfo_uri", "introspection_uri", "jwks_uri", "issuer",
			"device_authorization_uri",
		].map((name) => cur_frm.doc[name])
	);
	check(
		"every URI is filled",
		uris.every((uri) => uri && uri.startsWith(provider.issuer)),
		uris.join(" ")
	);
	await closeDialog(page);

	const credentials = await step(page);
	check(
		"the next step shows the addresses to register",
		credentials.includes("Create credentials") && credentials.includes(redirect) && credentials.includes(base),
		credentials
	);
	await page.locator(`${steps} .connected-app-copy`).first().click();
	check("and copies them", (await page.evaluate(() => navigator.clipboard.readText())) === redirect);
	await settle(page);
	await picture(page, "form-credentials");
	await field(page, "redirect_uri").locator(".connected-app-copy").click();
	check("the Redirect URI has a copy button of its own", (await page.evaluate(() => navigator.clipboard.readText())) === redirect);

	await field(page, "client_id").locator("input").fill("demo");
	await field(page, "client_secret").locator("input").fill("wrong-secret");
	for (const scope of [...SCOPES.slice(0, -1), "raed"]) await addScope(page, scope);
	await headButton(page, "Check Configuration").click();
	await page.waitForSelector(".modal.show .connected-app-findings", { timeout: 60000 });
	const findings = await page.locator(".modal.show").innerText();
	check(
		"Check Configuration, which saves first, finds the wrong secret and the misspelt scope",
		findings.includes("Must be fixed") && findings.includes("raed") && findings.includes("What works"),
		findings
	);
	await settle(page);
	await page.waitForTimeout(400);
	await picture(page, "check-configuration");
	await page.locator(".modal.show .connected-app-findings button", { hasText: "Client Secret" }).first().click();
	await page.waitForSelector(".modal.show", { state: "detached" });
	check(
		"and says so beside the fields",
		(await field(page, "client_secret").locator(".connected-app-finding.error").isVisible()) &&
			(await field(page, "scopes").locator(".connected-app-finding").count()) === 1
	);
	await page.waitForTimeout(800);
	await shot(page, "findings");

	await field(page, "client_secret").locator("input").fill("demo-secret");
	check(
		"what is fixed is no longer marked",
		(await field(page, "client_secret").locator(".connected-app-finding").count()) === 0
	);
	await page.evaluate(() => {
		cur_frm.doc.scopes.at(-1).scope = "read";
		cur_frm.refresh_field("scopes");
		cur_frm.dirty();
	});
	await save(page);
	const saved = await page.evaluate(() => cur_frm.doc);
	const scopes = saved.scopes.map((row) => row.scope).join(" ");
	check("the scopes are saved as typed", scopes === SCOPES.join(" "), scopes);
	check("the Client Secret does not come back to the browser", /^\*+$/.test(saved.client_secret), "it does");
	check("the Redirect URI stays", saved.redirect_uri === redirect, saved.redirect_uri);
	await page.waitForFunction(() =>
		document.querySelector('.connected-app-steps [aria-current="step"]')?.innerText.includes("Connect")
	);
	check("the last step is to connect", (await connectionText(page)).includes("Not Connected"));
	await looks(page, "form not connected", {
		selectors: [steps, ".connected-app-connection"],
		words: ["Not Connected", "Every user connects an account of their own"],
	});

	const denied = await connectInNewTab(page, "deny", headButton(page, "Connect to Demo"));
	const refusal = await denied.locator("body").innerText();
	check(
		"a declined consent says what happened and what to do",
		refusal.includes("consent_declined") && refusal.includes("Connect again"),
		refusal.slice(0, 300)
	);
	const again = await denied.getByRole("link", { name: "Start again" }).getAttribute("href");
	check("and leads back to where it can be tried again", again.includes(saved.name), again);
	check(
		"without a code or a state in a link",
		!(await denied.locator("body").innerHTML()).includes("state="),
		denied.url()
	);
	await picture(denied, "consent-declined");
	await denied.close();

	// Playwright pretends that every tab has the focus; here the form has to do without.
	const session = await context.newCDPSession(page);
	await session.send("Emulation.setFocusEmulationEnabled", { enabled: false });
	const tab = await connectInNewTab(page, "allow", page.locator(`${steps} .btn-primary`));
	listen(tab);
	await tab.waitForSelector(".modal.show .modal-body", { timeout: 60000 });
	const landed = await tab.locator(".modal.show").innerText();
	// Frappe 16 serves Desk below /desk too.
	const inDesk = /\/(app|desk)\/connected-app\//.test(tab.url());
	check(
		"the user lands in Desk, connected as alice",
		landed.includes("alice@example.com") && inDesk,
		`${tab.url()} ${landed}`
	);
	check(
		"with every scope granted",
		landed.includes(SCOPES.join(", ")) && !landed.includes("Not granted"),
		landed
	);
	check("nothing of the callback is in the address", !/code=|state=/.test(tab.url()), tab.url());
	await waitForConnection(tab, "alice");
	await tab.waitForTimeout(500);
	await shot(tab, "landed");
	// The first tab is behind: no focus event reaches it before bringToFront.
	await waitForConnection(page, "Connected as alice@example.com");
	check("the first tab shows the connection without being looked at", true);
	const people = await page.evaluate(() => document.querySelector(".connected-app-people")?.innerText || "");
	check("and who is connected", people.includes("Administrator") && people.includes("alice@example.com"), people);
	check("the steps are gone", (await page.locator(`${steps}:visible`).count()) === 0);
	await tab.close();
	await page.bringToFront();
	await settle(page);
	await picture(page, "form");

	await page.locator(".connected-app-buttons button:visible", { hasText: "Test Connection" }).click();
	await page.waitForSelector(".modal.show .modal-body", { timeout: 60000 });
	const tested = await page.locator(".modal.show").innerText();
	check("Test Connection says that it works, and as whom", tested.includes("works") && tested.includes("alice"), tested);
	await closeDialog(page);
	await looks(page, "form connected", {
		selectors: [".connected-app-connection", ".connected-app-buttons", ".connected-app-people"],
		words: ["Connected as alice@example.com", "Test Connection", "Who Is Connected"],
	});

	await page.locator(".connected-app-buttons button:visible", { hasText: "Disconnect" }).click();
	await page.locator(".modal.show .btn-primary:visible", { hasText: "Yes" }).click();
	await waitForConnection(page, "Not Connected");
	check("Disconnect forgets the connection", true);
	const alert = await page.locator(".desk-alert:visible").last().innerText();
	const { revocations } = await provider.stats();
	check(
		"and says that the provider revoked it, as it did",
		alert.includes("revoked at the provider") && revocations > 0,
		`${revocations}: ${alert}`
	);
	check(
		"no Disconnect is offered any more",
		(await page.locator(".connected-app-buttons button:visible", { hasText: "Disconnect" }).count()) === 0
	);
	await shot(page, "disconnected");
	return { context, page, name: saved.name };
}
