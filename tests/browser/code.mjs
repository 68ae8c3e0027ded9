// *Connect with a Code*: in Desk, and for a website user on a phone. Another browser enters the code.

import {
	LIGHT,
	PHONE,
	accessibility,
	base,
	check,
	closeDialog,
	connectionText,
	consent,
	listen,
	login,
	looks,
	makeApp,
	openForm,
	picture,
	settle,
	startProvider,
	waitForConnection,
} from "./kit.mjs";

const DIALOG = "dialog.connected-app-code";

// As a person does on another device: from the link to the answer.
async function enter(browser, dialog, decision) {
	const context = await browser.newContext();
	const page = await context.newPage();
	await page.goto(await dialog.locator("ol a").getAttribute("href"));
	await consent(page, decision);
	await page.getByText("That is all").waitFor();
	await context.close();
}

export async function connectWithCode(browser, page, visitor) {
	const provider = await startProvider("--interval", "1");
	const values = {
		device_authorization_uri: `${provider.issuer}/device_authorization`,
		connect_with_code: 1,
		provider_name: "Archive",
	};
	const name = await makeApp(page, provider, values);
	await openForm(page, name);
	const button = page.locator(".connected-app-connection + .connected-app-buttons button", {
		hasText: "Connect with a Code",
	});
	await button.click();
	const dialog = page.locator(DIALOG);
	await dialog.waitFor();
	const code = await dialog.locator("output").innerText();
	check("the dialog shows a code", /^[A-Z]{4}-[A-Z]{4}$/.test(code), code);
	await dialog.getByRole("button", { name: "Copy the code" }).click();
	check("and copies it", (await page.evaluate(() => navigator.clipboard.readText())) === code);
	check("the QR code is there", await dialog.locator("img").evaluate((image) => image.naturalWidth > 100));
	await looks(page, "connect with a code", {
		selectors: [DIALOG],
		words: ["Connect to Archive with a Code", code, "Waiting for you to allow it at the provider"],
		pictures: { "light wide": "connect-with-code" },
	});

	await enter(browser, dialog, "deny");
	await dialog.getByText("Access was not granted at the provider.").waitFor({ timeout: 60000 });
	await looks(page, "code declined", { selectors: [DIALOG], words: ["Get a New Code"], only: LIGHT });
	await dialog.getByRole("button", { name: "Get a New Code" }).click();
	await page.waitForFunction(
		([selector, old]) =>
			![null, old].includes(document.querySelector(`${selector} output`)?.innerText ?? null),
		[DIALOG, code]
	);
	await enter(browser, dialog, "allow");
	await dialog.waitFor({ state: "detached", timeout: 60000 });
	await page.waitForSelector(".modal.show .modal-body");
	const message = await page.locator(".modal.show").innerText();
	check("a code connects in Desk", message.includes("alice@example.com"), message);
	await closeDialog(page);
	await waitForConnection(page, "Connected as alice@example.com");
	check("the form shows the connection", (await connectionText(page)).includes("alice@example.com"));

	await button.click();
	await dialog.waitFor();
	await page.keyboard.press("Escape");
	await dialog.waitFor({ state: "detached" });
	check(
		"Escape closes it, and the connection stays",
		(await connectionText(page)).includes("alice@example.com")
	);

	await onPhone(browser, visitor, name);
	await provider.stop();
}

async function onPhone(browser, visitor, name) {
	const context = await browser.newContext({
		viewport: PHONE,
		deviceScaleFactor: 2,
		isMobile: true,
		hasTouch: true,
	});
	await login(context, visitor);
	const page = listen(await context.newPage());
	await page.goto(`${base}/my-connections`);
	const card = page.locator(`[data-app="${name}"]`);
	await card.getByRole("button", { name: "Connect with a Code Archive" }).tap();
	const dialog = page.locator(DIALOG);
	await dialog.waitFor();
	const width = await page.evaluate(() => document.documentElement.scrollWidth);
	check("the code fits on a phone", width <= PHONE.width, width);
	const wrong = await accessibility(page, [DIALOG]);
	check("axe finds nothing serious in the code's dialog on a phone", wrong.length === 0, wrong.join("; "));
	await settle(page);
	await picture(page, "connect-with-code-phone");
	await enter(browser, dialog, "allow");
	await dialog.waitFor({ state: "detached", timeout: 60000 });
	await card.getByText("alice@example.com").waitFor({ timeout: 60000 });
	const said = await page.locator("#connected-app-status").innerText();
	check("a website user connects by a code", said.includes("You are connected to Archive"), said);
	await context.close();
}
