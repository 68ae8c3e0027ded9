// Several accounts of one person at one provider: on My Connections, on /connect, and in Desk.

import {
	LIGHT, LOOKS, WIDE, base, call, check, closeDialog, connectQuickly, consent, headButton, listen, login, looks, makeApp, openForm, shot,
} from "./kit.mjs";

const PILL = "Default account";

export async function severalAccounts(browser, page, provider, visitor) {
	const name = await makeApp(page, provider, { provider_name: "Acme Mailboxes", several_accounts: 1 });
	await onThePages(browser, provider, visitor, name);
	await inDesk(page, name);
	await call(page, "frappe.client.delete", { doctype: "Connected App", name });
}

const ready = (page) => page.waitForSelector(".connected-app-card [data-action]:not([disabled])");

// A website user, who has two mailboxes.
async function onThePages(browser, provider, visitor, name) {
	const context = await browser.newContext({ viewport: WIDE });
	await login(context, visitor);
	const page = listen(await context.newPage());
	const card = page.locator(`[data-app="${name}"]`);
	const button = (label, account = "Acme Mailboxes") => card.getByRole("button", { name: `${label} ${account}`, exact: true });
	const of = (label, account) => button(label, `${account}@example.com Acme Mailboxes`);
	const landed = async (account) => {
		await consent(page, "allow", account);
		await page.waitForSelector(".modal.show .modal-body", { timeout: 60000 });
		await closeDialog(page);
		await ready(page);
	};
	const accounts = () => card.locator(".connected-app-account h3").allInnerTexts();
	const theDefault = () => card.locator(".connected-app-account", { hasText: PILL }).locator("h3").allInnerTexts();

	await page.goto(`${base}/connect?app=${name}`);
	await ready(page);
	check("without an account, the card is as any other's", (await button("Connect").count()) === 1 && (await accounts()).length === 0);
	await button("Connect").click();
	await landed("alice");
	check("of one account, nothing is said of a default", !(await card.innerText()).includes(PILL), await card.innerText());
	await button("Connect Another Account").click();
	await page.waitForURL(/\/authorize\?/, { timeout: 60000 });
	check("the provider is asked to let people choose", /prompt=[^&]*select_account/.test(page.url()), page.url());
	await landed("bob");
	check("both accounts are in the card", (await accounts()).join() === "alice@example.com,bob@example.com", (await accounts()).join());
	check("the first one is the default", (await theDefault()).join() === "alice@example.com", (await theDefault()).join());
	check(
		"a screen reader hears which account each button is about",
		(await of("Reconnect", "bob").count()) === 1 && (await of("Disconnect", "alice").count()) === 1 &&
			(await of("Make Default", "bob").count()) === 1 && (await of("Make Default", "alice").count()) === 0
	);
	const screen = (address, title, words, pictures) => [
		address,
		title,
		{ only: LIGHT, selectors: [".connected-app-page"], words: ["alice@example.com", "bob@example.com", PILL, ...words], pictures },
	];
	for (const [address, title, what] of [
		screen(`/connect?app=${name}`, "connect several accounts", ["Connect Another Account"], {
			"light wide": "several-accounts",
			"light phone": "several-accounts-phone",
		}),
		screen("/my-connections", "my connections several accounts", ["Make Default"], {}),
	]) {
		await page.goto(`${base}${address}`);
		await ready(page);
		await looks(page, title, what);
	}

	await of("Make Default", "bob").press("Enter");
	await page.getByText("bob@example.com is the default account now.").waitFor({ timeout: 60000 });
	check("Make Default makes it so", (await theDefault()).join() === "bob@example.com", (await theDefault()).join());
	const focused = await page.evaluate(() => document.activeElement.innerText);
	check("and the focus stays at the account", focused === "bob@example.com", focused);

	await of("Disconnect", "bob").click();
	const dialog = page.getByRole("dialog", { name: "Disconnect bob@example.com from Acme Mailboxes?" });
	await dialog.waitFor();
	check("people are warned before the default one goes", (await dialog.innerText()).includes("no other takes its place"), await dialog.innerText());
	await shot(page, "several-accounts-question");
	await dialog.getByRole("button", { name: "Disconnect" }).click();
	await page.getByText("None of these accounts is the default").waitFor({ timeout: 60000 });
	check("the other account stays, and is not made the default", (await accounts()).join() === "alice@example.com" && (await theDefault()).length === 0);
	await looks(page, "no default account", { only: LIGHT, selectors: [".connected-app-page"], words: ["Make Default", "Please choose one."] });
	await of("Make Default", "alice").click();
	await page.getByText("alice@example.com is the default account now.").waitFor({ timeout: 60000 });
	await of("Disconnect", "alice").click();
	await page.getByRole("dialog").getByRole("button", { name: "Disconnect" }).click();
	await button("Connect").waitFor({ timeout: 60000 });
	check("the last one gone, the card is as before", (await accounts()).length === 0);
	await context.close();
}

const inForm = (page, text) =>
	page.locator(".connected-app-account", { hasText: text });
const waitForAccounts = (page, number) =>
	page.waitForFunction((number) => cur_frm.connected_app?.connection?.accounts.length === number, number, { timeout: 60000 });

async function inDesk(page, name) {
	await connectQuickly(page, name);
	await connectQuickly(page, name, "bob", { another: 1 });
	await call(page, "take_message");
	await openForm(page, name);
	await waitForAccounts(page, 2);
	await page.waitForFunction(() => cur_frm.connected_app.people?.total === 2);
	await looks(page, "form several accounts", {
		selectors: [".connected-app-accounts", ".connected-app-buttons", ".connected-app-people"],
		words: ["alice@example.com", "bob@example.com", PILL, "Connect Another Account", "Make Default", "2 accounts connected"],
		pictures: { "light wide": "form-several-accounts" },
	});
	await inForm(page, "bob@example.com").getByRole("button", { name: "Make Default" }).click();
	await page.waitForFunction(
		() => cur_frm.connected_app.connection.accounts.find(({ is_default }) => is_default)?.account_name === "bob@example.com",
		null,
		{ timeout: 60000 }
	);
	check("the form makes another account the default", (await inForm(page, "bob@example.com").innerText()).includes(PILL));

	await page.goto(`${base}/app/token-cache?connected_app=${name}`);
	await page.waitForFunction(() => window.cur_list?.doctype === "Token Cache" && cur_list.data?.length === 2, null, { timeout: 60000 });
	await looks(page, "token cache list several accounts", { words: ["alice@example.com", "bob@example.com"], only: LOOKS.filter(([, size]) => size === "wide") });

	await openForm(page, name);
	await page.waitForFunction(() => cur_frm.connected_app.people?.total === 2);
	await page
		.locator(".connected-app-people tr", { hasText: "bob@example.com" })
		.getByRole("button", { name: "Disconnect" })
		.click();
	const dialog = page.locator(".modal.show", { hasText: "Account: bob@example.com" });
	await dialog.waitFor({ timeout: 60000 });
	await shot(page, "form-several-accounts-question");
	await dialog.getByRole("button", { name: "Yes", exact: true }).click();
	await waitForAccounts(page, 1);
	const left = await page.evaluate(() => cur_frm.connected_app.connection.accounts[0]);
	check("Who Is Connected ends one account, and leaves the other", left.account_name === "alice@example.com" && !left.is_default, JSON.stringify(left));
	await looks(page, "form no default account", {
		selectors: [".connected-app-accounts"],
		words: ["None of these accounts is the default", "Make Default"],
	});
	await onTheTokenCache(page, name);
}

async function onTheTokenCache(page, name) {
	const filters = { connected_app: name };
	const rows = () => call(page, "frappe.client.get_list", { doctype: "Token Cache", filters, fields: ["name", "account"] }, "GET");
	const click = async (label) => {
		const [row] = await rows();
		await page.goto(`${base}/app/token-cache/${row.name}`);
		await page.waitForFunction((name) => window.cur_frm?.doc?.name === name, row.name, { timeout: 60000 });
		await headButton(page, label).click();
	};
	const inList = () => page.waitForFunction(() => frappe.get_route()[0] === "List", null, { timeout: 60000 });
	await click("Make Default");
	await inList();
	const [row] = await rows();
	check("Make Default on a Token Cache gives the account the usual name", row.name === `${name}-Administrator` && !row.account, JSON.stringify(row));
	await click("Disconnect");
	await page.locator(".modal.show").getByRole("button", { name: "Yes", exact: true }).click();
	await inList();
	check("and Disconnect ends it", (await rows()).length === 0);
}
