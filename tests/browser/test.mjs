// An admin sets up a Connected App in Desk, connects, and lands back; a website user does so on a phone.
// Real Chromium, the real site, a real OpenID provider. Screenshots go to $CONNECTED_APP_SCREENSHOTS.

import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import readline from "node:readline";
import { chromium } from "playwright-core";

const [base] = process.argv.slice(2);
const repo = process.env.CONNECTED_APP_REPO || path.resolve(import.meta.dirname, "../..");
const python = process.env.CONNECTED_APP_TEST_PYTHON || `${repo}/.venvs/newest/bin/python`;
const screenshots =
	process.env.CONNECTED_APP_SCREENSHOTS || mkdtempSync(path.join(tmpdir(), "connected-app-"));
mkdirSync(screenshots, { recursive: true });
const SCOPES = ["openid", "email", "profile", "offline_access", "read"];
const VISITOR = `phone-${Date.now()}@site.example`;
const PASSWORD = "correct-horse-battery";

let passed = 0;
let failed = 0;
function check(what, truth, found = "") {
	truth ? passed++ : failed++;
	console.log(`${truth ? "ok    " : "FAILED"}  ${what}${truth ? "" : `: ${found}`}`);
}

async function startProvider() {
	const child = spawn(python, ["-m", "demo.provider"], { cwd: repo, stdio: ["ignore", "pipe", "inherit"] });
	const line = await new Promise((resolve, reject) => {
		readline.createInterface(child.stdout).once("line", resolve);
		child.once("error", reject);
		child.once("exit", (code) => reject(new Error(`the provider ended with exit code ${code}`)));
	});
	return { child, issuer: JSON.parse(line).issuer };
}

async function login(context, user, password) {
	const answer = await context.request.post(`${base}/api/method/login`, {
		form: { usr: user, pwd: password },
	});
	if (!answer.ok()) throw new Error(`login as ${user}: HTTP ${answer.status()}`);
}

// Frappe's own scripts have errors of their own: the stack, or the address, tells whose it is.
const OURS = /connected_app|\/connect\?/;

function listen(page, errors) {
	page.on("pageerror", (error) => {
		if (OURS.test(error.stack)) errors.push(error.stack);
		else console.log(`        (not ours: ${error.message})`);
	});
	page.on("console", (message) => {
		const { url } = message.location();
		// Chromium says this of a page that is refused on purpose.
		if (message.type() !== "error" || url.includes(".callback/")) return;
		if (OURS.test(`${url} ${message.text()}`)) errors.push(`${message.text()} (${url})`);
	});
}

const field = (page, name) => page.locator(`.frappe-control[data-fieldname="${name}"]`).first();

async function shot(page, name, options = {}) {
	await page.mouse.move(2, 2);
	await page.screenshot({ path: path.join(screenshots, `${name}.png`), animations: "disabled", ...options });
}

// In Frappe 16 it is not the window that scrolls.
async function scrollToTop(page) {
	await page.evaluate(() => {
		for (const element of document.querySelectorAll("*")) element.scrollTop = 0;
	});
}

async function addScope(page, scope) {
	const grid = field(page, "scopes");
	const count = await page.evaluate(() => (cur_frm.doc.scopes || []).length);
	await grid.locator(".grid-add-row").click();
	const row = grid.locator(`.grid-body .rows .grid-row[data-idx="${count + 1}"]`);
	const input = row.locator('input[data-fieldname="scope"]');
	// Adding a row puts the cursor into it, a moment later; a click before that makes Frappe's grid stumble.
	await input
		.waitFor({ state: "visible", timeout: 2000 })
		.catch(() => row.locator('.grid-static-col[data-fieldname="scope"]').click());
	await input.fill(scope);
	await input.blur();
	await page.waitForFunction(
		([index, value]) => cur_frm.doc.scopes?.[index]?.scope === value,
		[count, scope],
		{ timeout: 10000 }
	);
}

async function save(page) {
	await page.evaluate(() => document.activeElement?.blur());
	await page.locator('.primary-action[data-label="Save"]:visible').first().click();
	await page.waitForFunction(() => !cur_frm.is_new() && !cur_frm.is_dirty(), null, { timeout: 20000 });
}

async function consent(page, decision) {
	await page.locator("input[name=account][value=alice]").check({ timeout: 20000 });
	await page.locator(`button[value=${decision}]`).click();
}

async function connectInNewTab(page, context, decision, label) {
	const [tab] = await Promise.all([
		context.waitForEvent("page"),
		page.locator(".page-head button:visible", { hasText: label }).first().click(),
	]);
	await consent(tab, decision);
	await tab.waitForURL((url) => url.href.startsWith(base), { timeout: 20000 });
	return tab;
}

async function desk(browser, provider, errors) {
	const context = await browser.newContext({ viewport: { width: 1280, height: 950 } });
	await login(context, "Administrator", "admin");
	const page = await context.newPage();
	listen(page, errors);

	await page.goto(`${base}/app/connected-app/new`);
	await field(page, "provider_name").locator("input").fill("Demo");
	await field(page, "openid_configuration")
		.locator("input")
		.fill(`${provider.issuer}/.well-known/openid-configuration`);
	await save(page);
	const redirect = await page.evaluate(() => cur_frm.doc.redirect_uri);
	check(
		"the Redirect URI ends in the app's name",
		redirect.endsWith(`/${await page.evaluate(() => cur_frm.doc.name)}`),
		redirect
	);
	check(
		"the Redirect URI has a copy button",
		(await field(page, "redirect_uri").locator(".connected-app-copy").count()) === 1
	);

	await page.locator(".page-head button:visible", { hasText: "Get OpenID Configuration" }).click();
	await page.waitForSelector(".modal.show .modal-body", { timeout: 20000 });
	const report = await page.locator(".modal.show").innerText();
	check(
		"Get OpenID Configuration says what it filled",
		report.includes("Token URI") && report.includes("JWKS URI"),
		report
	);
	await shot(page, "configuration");
	const endpoints = await field(page, "token_uri").isVisible();
	check("the endpoints to review are unfolded", endpoints);
	const uris = await page.evaluate(() =>
		[
			"authorization_uri",
			"token_uri",
			"revocation_uri",
			"userinfo_uri",
			"introspection_uri",
			"jwks_uri",
			"issuer",
		].map((name) => cur_frm.doc[name])
	);
	check(
		"every URI is filled",
		uris.every((uri) => uri && uri.startsWith(provider.issuer)),
		uris.join(" ")
	);
	await page.locator(".modal.show .btn-modal-close:visible").first().click();
	await page.waitForSelector(".modal.show", { state: "detached" }).catch(() => {});

	await field(page, "client_id").locator("input").fill("demo");
	await field(page, "client_secret").locator("input").fill("demo-secret");
	for (const scope of SCOPES) await addScope(page, scope);
	await save(page);
	const saved = await page.evaluate(() => cur_frm.doc);
	const scopes = saved.scopes.map((row) => row.scope).join(" ");
	check("the scopes are saved as typed", scopes === SCOPES.join(" "), scopes);
	check("the Client Secret does not come back to the browser", /^\*+$/.test(saved.client_secret), "it does");
	check("the Redirect URI stays", saved.redirect_uri === redirect, saved.redirect_uri);

	const denied = await connectInNewTab(page, context, "deny", "Connect to Demo");
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
	await shot(denied, "consent-declined");
	await denied.close();

	// Playwright pretends that every tab has the focus; here the form has to lose it and get it back.
	const session = await context.newCDPSession(page);
	await session.send("Emulation.setFocusEmulationEnabled", { enabled: false });
	const tab = await connectInNewTab(page, context, "allow", "Connect to Demo");
	listen(tab, errors);
	await tab.waitForSelector(".modal.show .modal-body", { timeout: 30000 });
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
	await tab.waitForFunction(
		() => document.querySelector(".connected-app-connection")?.innerText.includes("alice"),
		null,
		{ timeout: 20000 }
	);
	await tab.waitForTimeout(500);
	await shot(tab, "landed");
	const before = await page.locator(".connected-app-connection").innerText();
	check("until it is looked at, the first tab shows the old state", before.includes("Not Connected"), before);
	await tab.close();

	await page.bringToFront();
	await page.waitForFunction(
		() =>
			document
				.querySelector(".connected-app-connection")
				?.innerText.includes("Connected as alice@example.com"),
		null,
		{ timeout: 20000 }
	);
	check("the form updates by itself when the user comes back to it", true);
	await page.evaluate(() => document.querySelectorAll(".desk-alert").forEach((alert) => alert.remove()));
	await scrollToTop(page);
	await page.waitForTimeout(500);
	await shot(page, "form");
	await shot(page, "form-whole", { fullPage: true });

	await page.locator(".page-head button:visible", { hasText: "Disconnect" }).click();
	await page.locator(".modal.show .btn-primary:visible", { hasText: "Yes" }).click();
	await page.waitForFunction(
		() => document.querySelector(".connected-app-connection")?.innerText.includes("Not Connected"),
		null,
		{ timeout: 20000 }
	);
	check("Disconnect forgets the connection", true);
	const alert = await page.locator(".desk-alert:visible").last().innerText();
	const { revocations } = await (await context.request.get(`${provider.issuer}/_stats`)).json();
	check(
		"and says that the provider revoked it, as it did",
		alert.includes("revoked at the provider") && revocations > 0,
		`${revocations}: ${alert}`
	);
	check(
		"no Disconnect is offered any more",
		(await page.locator(".page-head button:visible", { hasText: "Disconnect" }).count()) === 0
	);
	await shot(page, "disconnected");

	const name = await page.evaluate(() => cur_frm.doc.name);
	await page.evaluate(
		({ email, password }) =>
			frappe.call({
				method: "frappe.client.insert",
				args: {
					doc: {
						doctype: "User",
						email,
						first_name: "Phone",
						send_welcome_email: 0,
						new_password: password,
						user_type: "Website User",
					},
				},
			}),
		{ email: VISITOR, password: PASSWORD }
	);
	await context.close();
	return name;
}

async function phone(browser, name, errors) {
	const context = await browser.newContext({
		viewport: { width: 390, height: 780 },
		deviceScaleFactor: 2,
		isMobile: true,
		hasTouch: true,
	});
	await login(context, VISITOR, PASSWORD);
	const page = await context.newPage();
	listen(page, errors);
	await page.goto(`${base}/connect?app=${name}`);
	await shot(page, "connect-before");
	check(
		"a phone shows no Disconnect before there is a connection",
		(await page.getByRole("button", { name: "Disconnect" }).count()) === 0
	);
	await page.getByRole("button", { name: "Connect", exact: true }).tap();
	await consent(page, "deny");
	await page.getByRole("link", { name: "Start again" }).waitFor({ timeout: 20000 });
	await shot(page, "consent-declined-phone");
	await page.getByRole("link", { name: "Start again" }).tap();
	await page.getByRole("button", { name: "Connect", exact: true }).tap({ timeout: 20000 });
	check("a phone can start again after declining", true);
	await consent(page, "allow");
	await page.waitForURL((url) => url.href.startsWith(`${base}/connect`), { timeout: 20000 });
	await page.waitForSelector(".modal.show .modal-body", { timeout: 20000 });
	const message = await page.locator(".modal.show").innerText();
	check("a website user connects on a phone", message.includes("alice@example.com"), message);
	await page.locator(".modal.show .btn-modal-close:visible, .modal.show .close:visible").first().click();
	await page.waitForTimeout(700);
	const width = await page.evaluate(() => document.documentElement.scrollWidth);
	check("nothing is wider than the phone", width <= 390, width);
	await shot(page, "connect");

	page.once("dialog", (question) => question.accept());
	await page.getByRole("button", { name: "Disconnect" }).tap();
	await page.getByRole("button", { name: "Connect", exact: true }).waitFor({ timeout: 20000 });
	const after = await page.locator("#connected-app-page").innerText();
	check("a website user disconnects", after.includes("Not Connected") && !after.includes("alice"), after);
	await context.close();
}

// Debian's, or whatever is installed: nothing is downloaded.
const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(
	existsSync
);
const errors = [];
let provider, browser;
try {
	provider = await startProvider();
	browser = await chromium.launch({
		executablePath,
		args: [
			"--no-sandbox",
			"--disable-gpu",
			"--disable-quic",
			"--no-first-run",
			"--disable-background-networking",
			"--disable-component-update",
			"--disable-sync",
		],
	});
	const name = await desk(browser, provider, errors);
	await phone(browser, name, errors);
} catch (error) {
	check("the test ran to its end", false, error.stack);
	const pages = browser?.contexts().flatMap((context) => context.pages()) ?? [];
	for (const [index, page] of pages.entries()) {
		await page.screenshot({ path: path.join(screenshots, `failure-${index}.png`) }).catch(() => {});
	}
} finally {
	check("no script of ours failed", errors.length === 0, errors.join("; "));
	await browser?.close();
	provider?.child.kill("SIGTERM");
}
console.log(`screenshots: ${screenshots}`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
