// A website user, without Desk, on a phone.

import { LIGHT, PASSWORD, PHONE, accessibility, base, call, check, closeDialog, consent, listen, login, looks, picture, shot } from "./kit.mjs";

export async function makeVisitor(page) {
	const email = `phone-${Date.now()}@site.example`;
	await call(page, "frappe.client.insert", {
		doc: {
			doctype: "User",
			email,
			first_name: "Phone",
			send_welcome_email: 0,
			new_password: PASSWORD,
			user_type: "Website User",
		},
	});
	return email;
}

// Frappe 16's My Account then ends with an entry of another kind.
export const offerAccountDeletion = (page) =>
	call(page, "frappe.client.set_value", {
		doctype: "Website Settings",
		name: "Website Settings",
		fieldname: "show_account_deletion_link",
		value: 1,
	});

export async function visit(browser, visitor, name) {
	const context = await browser.newContext({
		viewport: PHONE,
		deviceScaleFactor: 2,
		isMobile: true,
		hasTouch: true,
	});
	await login(context, visitor);
	const page = listen(await context.newPage());
	await page.goto(`${base}/me`);
	check("My Account offers to delete the account", await page.locator('a[href*="account-deletion"]').count());
	check(
		"My Account leads to My Connections",
		// Not only the user menu of the navigation bar, which has it on every page.
		await page.evaluate(() =>
			[...document.querySelectorAll('a[href$="/my-connections"]')].some((link) => !link.closest("nav, .navbar"))
		)
	);
	await page.goto(`${base}/connect?app=${name}`);
	await shot(page, "connect-before");
	check(
		"a phone shows no Disconnect before there is a connection",
		(await page.getByRole("button", { name: "Disconnect Demo" }).count()) === 0
	);
	await page.getByRole("button", { name: "Connect Demo", exact: true }).tap();
	await consent(page, "deny");
	await page.getByRole("link", { name: "Start again" }).waitFor({ timeout: 60000 });
	await shot(page, "consent-declined-phone");
	await page.getByRole("link", { name: "Start again" }).tap();
	await page.getByRole("button", { name: "Connect Demo", exact: true }).tap({ timeout: 60000 });
	check("a phone can start again after declining", true);
	await consent(page, "allow");
	await page.waitForURL((url) => url.href.startsWith(`${base}/connect`), { timeout: 60000 });
	await page.waitForSelector(".modal.show .modal-body", { timeout: 60000 });
	const message = await page.locator(".modal.show").innerText();
	check("a website user connects on a phone", message.includes("alice@example.com"), message);
	await closeDialog(page);
	await page.waitForTimeout(300);
	const width = await page.evaluate(() => document.documentElement.scrollWidth);
	check("nothing is wider than the phone", width <= PHONE.width, width);
	const wrong = await accessibility(page, [".connected-app-page"]);
	check("axe finds nothing serious on a phone", wrong.length === 0, wrong.join("; "));
	await picture(page, "connect");

	await useAnotherAccount(page);

	await page.getByRole("button", { name: "Disconnect Demo" }).tap();
	await page.getByRole("dialog").getByRole("button", { name: "Disconnect" }).tap();
	await page.getByRole("button", { name: "Connect Demo", exact: true }).waitFor({ timeout: 60000 });
	const after = await page.locator("#connected-app-page").innerText();
	check("a website user disconnects", after.includes("Not Connected") && !after.includes("bob"), after);
	await context.close();
}

// Signed in at the provider as somebody else: kept first, used then.
async function useAnotherAccount(page) {
	const reconnect = () => page.getByRole("button", { name: "Reconnect Demo" });
	const asked = page.getByRole("heading", { name: "Use another account?" });
	const choices = [
		["Keep alice@example.com", "alice@example.com"],
		["Use bob@example.com", "bob@example.com"],
	];
	for (const [choice, account] of choices) {
		await reconnect().tap();
		await consent(page, "allow", "bob");
		await asked.waitFor({ timeout: 60000 });
		if (account === "alice@example.com") {
			await looks(page, "another account", {
				selectors: [".connected-app-page"],
				words: ["alice@example.com", "bob@example.com", "Use another account?"],
				pictures: { "light wide": "another-account", "light phone": "another-account-phone" },
				only: LIGHT,
			});
			await page.setViewportSize(PHONE);
		}
		await page.getByRole("button", { name: choice }).tap();
		await page.waitForSelector(".modal.show .modal-body", { timeout: 60000 });
		const message = await page.locator(".modal.show").innerText();
		check(`${choice}: the message says who is connected`, message.includes(account), message);
		await closeDialog(page);
		const card = await page.locator("#connected-app-page").innerText();
		check(`${choice}: the page says it, too`, card.includes(account), card);
	}
}
