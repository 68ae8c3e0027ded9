// One connection for all: a System Manager makes it, others use it; and turning one kind into the other.

import {
	LIGHT, PHONE, WIDE, base, call, check, connectQuickly, listen, login, looks, makeApp, openForm, save, shot, waitForConnection,
} from "./kit.mjs";

export async function shareOne(browser, page, provider, visitor) {
	const name = await makeApp(page, provider, { provider_name: "Company Shop", connection_is: "Shared" });
	const context = await browser.newContext({ viewport: WIDE });
	await login(context, visitor);
	const theirs = listen(await context.newPage());
	const card = theirs.locator(`[data-app="${name}"]`);
	await theirs.goto(`${base}/connect?app=${name}`);
	check(
		"before a System Manager has connected, others see that, and cannot connect",
		(await card.innerText()).includes("A System Manager has not connected it yet.") &&
			(await card.getByRole("button").count()) === 0,
		await card.innerText()
	);

	await connectQuickly(page, name);
	await call(page, "take_message");
	await openForm(page, name);
	await waitForConnection(page, "Shared");
	await looks(page, "form shared", {
		selectors: [".connected-app-connection", ".connected-app-buttons", ".connected-app-people"],
		words: ["Shared: one connection for all", "Shared, connected by Administrator", "Connected as alice@example.com"],
	});

	await theirs.reload();
	const seen = await card.innerText();
	check(
		"those who use it see it, without Disconnect",
		seen.includes("Connected") && seen.includes("Shared: one connection for all") && (await card.getByRole("button").count()) === 0,
		seen
	);
	await looks(theirs, "connect shared", {
		selectors: [".connected-app-page"],
		words: ["Company Shop", "alice@example.com", "Shared: one connection for all"],
		pictures: { "light wide": "connect-shared" },
		only: LIGHT,
	});
	await context.close();
	await turn(page, name);
}

// The question comes before anything ends, and No leaves all as it is.
async function turn(page, name) {
	await openForm(page, name);
	await page.waitForFunction(() => cur_frm.connected_app.people?.total);
	const ask = async (answer) => {
		await page.evaluate(() => cur_frm.set_value("connection_is", "Each User's Own"));
		await page.locator('.primary-action[data-label="Save"]:visible').first().click();
		const dialog = page.locator(".modal.show", { hasText: "each user of Company Shop connects an account of their own" });
		await dialog.waitFor({ timeout: 60000 });
		if (answer === "No") {
			await shot(page, "turning-light-wide");
			await page.setViewportSize(PHONE);
			await shot(page, "turning-light-phone");
			await page.setViewportSize(WIDE);
		}
		await dialog.getByRole("button", { name: answer, exact: true }).click();
		await dialog.waitFor({ state: "hidden" });
	};
	const count = () => call(page, "frappe.client.get_count", { doctype: "Token Cache", filters: { connected_app: name } }, "GET");
	await ask("No");
	check("No leaves the connection", (await count()) === 1);
	await openForm(page, name);
	await page.evaluate(() => cur_frm.reload_doc());
	await page.waitForFunction(() => !cur_frm.is_dirty() && cur_frm.connected_app.people?.total);
	await ask("Yes");
	await page.waitForFunction(() => !cur_frm.is_dirty(), null, { timeout: 60000 });
	check("Yes ends it", (await count()) === 0);
}

export default async (browser, page, provider) => {
	const { makeVisitor } = await import("./visitor.mjs");
	await shareOne(browser, page, provider, await makeVisitor(page));
};
