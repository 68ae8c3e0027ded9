// Every state of a connection on every screen: form, list, Token Cache, My Connections, /connect.

import {
	LIGHT, base, call, check, PHONE, closeDialog, connectQuickly, emptyIcons, field, headButton, listen, looks, makeApp, openForm, shot,
	startProvider, waitForConnection,
} from "./kit.mjs";

// Real states: the provider of one app forgets its tokens, that of another goes away.
export async function makeStates(page, provider) {
	// What an earlier run on this site has left.
	const filters = { provider_name: ["like", "Acme %"] };
	const leftovers = await call(page, "frappe.client.get_list", { doctype: "Connected App", filters }, "GET");
	for (const { name } of leftovers) {
		await call(page, "disconnect", { connected_app: name });
		await call(page, "frappe.client.delete", { doctype: "Connected App", name });
	}
	const brokenBefore = await broken(page);
	const [forgetful, gone] = [await startProvider("--expires-in", "1"), await startProvider("--expires-in", "1")];
	const names = {
		connected: await makeApp(page, provider, { provider_name: "Acme Calendar" }),
		reconnect: await makeApp(page, forgetful, { provider_name: "Acme Mail" }),
		failing: await makeApp(page, gone, { provider_name: "Acme Files" }),
		disabled: await makeApp(page, provider, { provider_name: "Acme Archive", enabled: 0 }),
	};
	for (const state of ["connected", "reconnect", "failing"]) await connectQuickly(page, names[state]);
	await call(page, "take_message");
	await forgetful.command("reset");
	await gone.stop();
	await page.waitForTimeout(1200);
	for (const state of ["reconnect", "failing"]) {
		const result = await call(page, "test_connection", { connected_app: names[state] });
		check(`Test Connection finds what is wrong (${state})`, !result.ok && result.code, JSON.stringify(result));
	}
	return { names, brokenBefore };
}

// The tests without a browser have used the site before.
const broken = async (page) => {
	const filters = { status: ["in", ["Reconnect Required", "Temporarily Failing"]] };
	return call(page, "frappe.client.get_count", { doctype: "Token Cache", filters }, "GET");
};

export async function deskStates(page, names) {
	await openForm(page, names.reconnect);
	await waitForConnection(page, "Reconnect Required");
	check("a broken connection offers Reconnect at the top", await headButton(page, "Reconnect").isVisible());
	await looks(page, "form reconnect required", {
		selectors: [".connected-app-connection", ".connected-app-buttons", ".connected-app-people"],
		words: ["Reconnect Required", "Reason: "],
		pictures: { "light wide": "form-reconnect" },
	});
	const href = await page.locator(".connected-app-people td a").first().getAttribute("href");
	const expected = await page.evaluate((name) => frappe.utils.get_form_link("Token Cache", name), `${names.reconnect}-Administrator`);
	check("who is connected leads to the Token Cache, at Desk's own path", href === expected, `${href}, not ${expected}`);
	await openForm(page, names.failing);
	await waitForConnection(page, "Temporarily Failing since");
	await looks(page, "form failing", {
		selectors: [".connected-app-connection", ".connected-app-buttons", ".connected-app-people"],
		words: ["Temporarily Failing since", "Reason: "],
	});
	await openForm(page, names.disabled);
	const disabled = await page.evaluate(() => document.querySelector(".page-head").innerText);
	check("a disabled app says so, and offers no connecting", disabled.includes("Disabled") && !disabled.includes("Connect to"), disabled);
	await looks(page, "form disabled", { words: ["Acme Archive", "Disabled"] });

	await page.goto(`${base}/app/connected-app`);
	await page.waitForFunction(() => document.body.innerText.includes("Temporarily Failing"), null, { timeout: 60000 });
	const rows = await page.evaluate(() =>
		[...document.querySelectorAll(".list-row-container")].map((row) => row.innerText.replace(/\s+/g, " "))
	);
	const row = (name) => rows.find((text) => text.includes(name)) || "";
	check(
		"the list shows the state of each, and what to do about it",
		row("Acme Calendar").includes("Connected as alice") &&
			row("Acme Mail").includes("Reconnect Required") &&
			row("Acme Files").includes("Temporarily Failing") &&
			row("Acme Archive").includes("Disabled") &&
			(await page.locator('.list-row-container button.btn-action:visible').count()) >= 3,
		rows.join(" | ")
	);
	check(
		"Desk's user menu leads to My Connections",
		(await page.locator('#toolbar-user a[href="/my-connections"]').count()) === 1
	);
	await listOfNewerFrappe(page);
	await looks(page, "list", {
		words: ["Acme Calendar", "Acme Mail", "Acme Files", "Acme Archive"],
		pictures: { "light wide": "list" },
	});

	await page.goto(`${base}/app/token-cache/${names.reconnect}-Administrator`);
	await page.waitForFunction(() => window.cur_frm?.doctype === "Token Cache" && cur_frm.doc.status, null, { timeout: 60000 });
	await headButton(page, "Reconnect").waitFor();
	check(
		"a Token Cache says what is wrong, and offers to mend or end it",
		(await page.evaluate(() => document.body.innerText)).includes("This connection no longer works") &&
			(await headButton(page, "Disconnect").isVisible())
	);
	await looks(page, "token cache", {
		words: ["This connection no longer works", "Reconnect Required"],
		pictures: { "light wide": "token-cache" },
	});
}

// What a newcomer sees who does not know the app's name: Desk's sidebar, the workspace, and the apps screen.
export async function workspace(page, brokenBefore) {
	await page.goto(`${base}/apps`);
	const entry = page.locator('a[href="/app/connections"]');
	await entry.first().waitFor();
	check(
		"the apps screen leads to Connections, with an icon of its own",
		await entry.locator("img").first().evaluate((image) => image.naturalWidth > 0 && image.src.includes("connected-app.svg"))
	);
	await entry.first().click();
	await page.waitForFunction(() => document.querySelector(".shortcut-widget-box")?.innerText.includes("Connected Apps"), null, {
		timeout: 60000,
	});
	const sidebar = page.locator('.desk-sidebar a[href$="/connections"], .body-sidebar a[href$="/connections"]');
	check("Desk's sidebar leads there, too", (await sidebar.count()) >= 1);
	const words = ["Connected Apps", "Providers", "Broken Connections", `${brokenBefore + 2} Broken`, "My Connections", "Guide", "All Connections"];
	await page.waitForFunction(() => document.body.innerText.includes("Broken"));
	const version = await page.evaluate(() => frappe.boot.versions.frappe.split(".")[0]);
	const name = version === "15" ? "workspace-15" : "workspace";
	await looks(page, "workspace", { words, pictures: { "light wide": name } });

	await page.locator(".shortcut-widget-box", { hasText: "Broken Connections" }).click();
	await page.waitForFunction(() => window.cur_list?.doctype === "Token Cache" && cur_list.data?.length, null, { timeout: 60000 });
	const states = await page.evaluate(() => [...new Set(cur_list.data.map((row) => row.status))].sort().join(", "));
	check("Broken Connections are the broken ones alone", states === "Reconnect Required, Temporarily Failing", states);

	await page.goto(`${base}/connections-guide`);
	await looks(page, "guide", {
		only: LIGHT,
		selectors: [".connected-app-page"],
		words: ["How Connections Work", "For everyone", "For administrators", "Check Configuration"],
	});
}

// The gallery: how the apps of this site are doing, all providers, and from each a new Connected App.
export async function gallery(page) {
	await page.goto(`${base}/app/connections-gallery`);
	await page.locator(".gallery-card").first().waitFor({ timeout: 60000 });
	const words = ["On this site", "Acme Mail", "1 to reconnect", "1 failing", "Disabled", "Gmail (IMAP and SMTP)", "well confirmed"];
	// On a phone, a button has its icon alone.
	const buttons = "#page-connections-gallery .standard-actions";
	const empty = await emptyIcons(page, buttons);
	check("the gallery's buttons have icons", empty.length === 0, empty.join(", "));
	await looks(page, "gallery", {
		selectors: [".connections-gallery", buttons],
		words,
		pictures: { "light wide": "gallery" },
	});
	await page.locator(".connections-gallery input[type=search]").fill("quickbooks");
	const found = await page.locator(".connections-gallery [role=status]").innerText();
	check("the gallery is searched by name", found === "1 provider", found);
	await page.locator("button.gallery-card").click();
	await page.waitForFunction(() => window.cur_frm?.doctype === "Connected App" && cur_frm.is_new());
	const provider = await page.evaluate(() => cur_frm.doc.provider);
	check("a card leads to a new Connected App with that provider", provider === "quickbooks", provider);
	const filled = await page
		.waitForFunction(() => cur_frm.doc.token_uri && cur_frm.doc.provider_name, null, { timeout: 60000 })
		.catch(() => null);
	check("and its template fills in the form", Boolean(filled), await page.evaluate(() => document.body.innerText));
	const opened = await field(page, "provider").locator("[role=listbox] li:visible").count();
	check("no list lies over the next step", opened === 0, `${opened}`);
}

// How all connections are doing.
export async function operations(page) {
	await page.goto(`${base}/app/connections-operations`);
	await page.locator(".health-facts").waitFor({ timeout: 60000 });
	const words = ["Somebody has to act", "Acme Mail", "Disabled", "Failed refreshes", "In the background"];
	await looks(page, "operations", {
		selectors: [".connections-operations", "#page-connections-operations .standard-actions"],
		words,
		pictures: { "light wide": "operations" },
	});
	const href = await page.locator(".health-table th a", { hasText: "Acme Mail" }).getAttribute("href");
	check("each app leads to its form", href.includes("/connected-app/"), href);
}

export async function setUpEmail(page, provider) {
	const scopes = ["openid", "email", "https://mail.google.com/"].map((scope) => ({ scope }));
	const name = await makeApp(page, provider, { provider_name: "Acme Post", provider: "google-mail", scopes });
	await connectQuickly(page, name);
	await call(page, "take_message");
	await openForm(page, name);
	await headButton(page, "Set Up E-mail").click();
	await page.locator(".modal.show table").waitFor();
	await looks(page, "set up e-mail", {
		selectors: [".modal.show table"],
		words: ["imap.gmail.com:993", "smtp.gmail.com:587", "XOAUTH2", "Create Email Account"],
		pictures: { "light wide": "set-up-email" },
	});
	const address = await page.locator('.modal.show input[data-fieldname="email_id"]').inputValue();
	check("Set Up E-mail knows the connected account's address", address === "alice@example.com", address);
	await closeDialog(page);
	await call(page, "disconnect", { connected_app: name });
	await call(page, "frappe.client.delete", { doctype: "Connected App", name });
}

// Frappe from 16 on asks for the label and the description of every row's button before it asks whether to show it,
// also at the first render, before the states are loaded.
async function listOfNewerFrappe(page) {
	await page.goto(`${base}/me`);
	// Another list, to its end: what it filters by would otherwise be written into the next list's address.
	await page.goto(`${base}/app/token-cache`);
	await page.waitForFunction(() => window.cur_list?.doctype === "Token Cache" && cur_list.data?.length);
	await page.evaluate(() => {
		const list = frappe.views.ListView.prototype;
		const original = list.get_meta_html;
		list.get_meta_html = function (doc) {
			if (this.settings.button) {
				this.settings.button.get_description(doc);
				this.settings.button.get_label(doc);
			}
			return original.call(this, doc);
		};
		frappe.set_route("List", "Connected App");
	});
	const drawn = await page
		.waitForFunction(() => document.querySelector('.list-row-container button.btn-action[title^="Reconnect to"]'), null, {
			timeout: 60000,
		})
		.catch(() => null);
	check("the list is drawn by newer Frappe's logic, too", drawn, "no row");
}

export async function myConnections(page) {
	await page.goto(`${base}/my-connections`);
	await page.waitForSelector(".connected-app-card [data-action]:not([disabled])");
	await looks(page, "my connections", {
		only: LIGHT,
		selectors: [".connected-app-page"],
		words: [
			"My Connections", "Acme Calendar", "Connected", "Acme Mail", "Reconnect Required", "Acme Files",
			"Temporarily Failing", "Know who you are", "See your e-mail address", "Keep access while you are away",
		],
		pictures: { "light wide": "my-connections", "light phone": "my-connections-phone" },
	});
	check(
		"an app that is disabled and was never connected is not listed",
		!(await page.locator(".connected-app-page").innerText()).includes("Acme Archive")
	);
	await page.setViewportSize(PHONE);
	await page.route("**/connected_app.api.authorize", (route) => route.abort());
	await page.getByRole("button", { name: "Reconnect Acme Calendar" }).click();
	await page.waitForFunction(() => !document.querySelector("[data-action][disabled]"));
	const [said, seen] = await page.evaluate(() => {
		const status = document.getElementById("connected-app-status");
		const { top, bottom } = status.getBoundingClientRect();
		return [status.innerText, top >= 0 && bottom <= window.innerHeight];
	});
	check("what went wrong is in sight, however long the page", said.startsWith("That did not work") && seen, `${said}: ${seen}`);
	await shot(page, "my-connections-failed");
	await page.unroute("**/connected_app.api.authorize");
	await page.setViewportSize({ width: 1280, height: 950 });

	for (const name of ["Reconnect Acme Calendar", "Reconnect Acme Mail", "Disconnect Acme Mail", "Disconnect Acme Files"]) {
		const found = await page.getByRole("button", { name, exact: true }).count();
		check(`a screen reader hears which app a button is about: ${name}`, found === 1, found);
	}

	// By keyboard alone: open the question, leave it by Escape, open it again, say yes.
	const button = page.getByRole("button", { name: "Disconnect Acme Calendar" });
	await button.focus();
	await page.keyboard.press("Enter");
	const dialog = page.getByRole("dialog", { name: "Disconnect from Acme Calendar?" });
	await dialog.waitFor();
	await shot(page, "my-connections-question");
	await page.keyboard.press("Escape");
	await dialog.waitFor({ state: "hidden" });
	check(
		"Escape leaves the question, and the focus where it was",
		await button.evaluate((element) => element === document.activeElement)
	);
	await page.keyboard.press("Enter");
	await dialog.waitFor();
	await page.keyboard.press("Tab");
	await page.keyboard.press("Enter");
	await page.getByRole("button", { name: "Connect Acme Calendar", exact: true }).waitFor({ timeout: 60000 });
	const after = await page.evaluate(() => [
		document.activeElement.innerText,
		document.getElementById("connected-app-status").innerText,
	]);
	check(
		"a keyboard disconnects; the outcome is announced and the focus stays at the app",
		after[0] === "Acme Calendar" && after[1].includes("revoked at the provider"),
		after.join(" | ")
	);

	const waiting = page.waitForURL(/\/authorize/, { timeout: 60000 });
	await page.getByRole("button", { name: "Connect Acme Calendar", exact: true }).press("Enter");
	await waiting;
	await page.locator("input[name=account][value=alice]").check();
	await page.locator("button[value=allow]").click();
	await page.waitForURL(/\/my-connections/, { timeout: 60000 });
	await page.waitForSelector(".modal.show .modal-body", { timeout: 60000 });
	check("and connects, landing where it began", (await page.locator(".modal.show").innerText()).includes("alice"));
	await closeDialog(page);
}

export async function onePage(page, name) {
	await page.goto(`${base}/connect?app=${name}`);
	await page.waitForSelector(".connected-app-card [data-action]:not([disabled])");
	await looks(page, "connect", { only: LIGHT, selectors: [".connected-app-page"], words: ["Connect to Acme Mail", "Reconnect Required"] });
}

// Disabling an app ends the connections of everybody, and another client leaves them without one: Desk asks first.
export async function disabling(page, provider) {
	const name = await makeApp(page, provider, { provider_name: "Acme Closing" });
	await connectQuickly(page, name);
	await call(page, "take_message");
	await openForm(page, name);
	await page.waitForFunction(() => cur_frm.connected_app?.people?.total === 1);
	const state = () => call(page, "connection", { connected_app: name }, "GET");
	const ask = async () => {
		await page.locator('.primary-action[data-label="Save"]:visible').first().click();
		const dialog = page.locator(".modal.show");
		await dialog.waitFor({ state: "visible" });
		return dialog;
	};
	await page.evaluate(() => cur_frm.set_value("client_id", "other"));
	const warning = await ask();
	const warned = await warning.innerText();
	check(
		"another Client ID, with connections, asks first",
		/changed: Client ID\..*before: 1\..*connect again/s.test(warned),
		warned
	);
	await warning.locator(".btn-modal-secondary:visible, .standard-actions .btn-secondary:visible").first().click();
	await page.waitForSelector(".modal.show", { state: "detached" });
	await page.evaluate(() => cur_frm.set_value("client_id", "demo"));
	await page.evaluate(() => cur_frm.set_value("enabled", 0));
	const question = await ask();
	const text = await question.innerText();
	check("disabling an app with connections asks first", /Disable Acme Closing\?.*connections \(1\) end/s.test(text), text);
	await question.locator(".btn-modal-secondary:visible, .standard-actions .btn-secondary:visible").first().click();
	await page.waitForSelector(".modal.show", { state: "detached" });
	const dirty = await page.evaluate(() => cur_frm.is_dirty());
	check("no means no: nothing is saved", dirty && (await state()).status === "Connected", `dirty: ${dirty}`);
	await page.waitForTimeout(400);
	await (await ask()).locator(".btn-modal-primary:visible, .standard-actions .btn-primary:visible").first().click();
	await page.waitForFunction(() => !cur_frm.is_dirty() && !cur_frm.doc.enabled, null, { timeout: 60000 });
	const after = (await state()).status;
	check("yes ends them", after === "Not Connected", after);
}
