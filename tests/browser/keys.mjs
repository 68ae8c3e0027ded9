// An admin makes and brings keys; and a provider of another site that has the browser post its answer, as Apple does.

import { generateKeyPairSync } from "node:crypto";
import {
	accessibility, base, call, check, connectionText, headButton, makeApp, openForm, picture, settle, shot,
	startCertified, waitForConnection,
} from "./kit.mjs";

const SECRET = "a secret of the tests";
const keysText = (page) =>
	page.evaluate(() => document.querySelector('[data-fieldname="keys_html"]')?.innerText || "");
const keyButton = (page, label) =>
	page.locator('[data-fieldname="keys_html"] button:visible', { hasText: label }).first();
const unfold = (page) =>
	page.evaluate(() => {
		const { section } = cur_frm.get_field("keys_html");
		section.collapse(false);
		// Below the head of the page.
		section.wrapper[0].style.scrollMarginTop = "110px";
		section.wrapper[0].scrollIntoView();
	});

export async function keys(page, provider) {
	const name = await makeApp(page, provider, { provider_name: "Bank" });
	await openForm(page, name);
	check("the keys are folded away", !(await keyButton(page, "Make a New Key").isVisible().catch(() => false)));
	await unfold(page);
	await keyButton(page, "Make a New Key").click();
	await page.locator(".modal.show .btn-primary:visible", { hasText: "Make a New Key" }).click();
	await page.waitForFunction(() => cur_frm.doc.key_set_uri, null, { timeout: 60000 });
	await unfold(page);
	await page.waitForFunction(() =>
		document.querySelector('[data-fieldname="keys_html"]')?.innerText.includes("New, not used yet")
	);
	const made = await keysText(page);
	check(
		"a new key is shown with what a provider may want of it",
		["JWK", "SHA-256", "SHA-1", "Certificate ends on"].every((word) => made.includes(word)) &&
			!made.includes("PRIVATE"),
		made
	);
	await keyButton(page, "Use New Key").click();
	await page.locator(".modal.show .btn-primary:visible", { hasText: "Yes" }).click();
	await page.waitForFunction(
		() => document.querySelector('[data-fieldname="keys_html"]')?.innerText.includes("In use"),
		null,
		{ timeout: 60000 }
	);
	await unfold(page);
	await page.locator(".desk-alert").evaluateAll((alerts) => alerts.forEach((alert) => alert.remove()));
	// Frappe marks the field that it has scrolled to, for a while.
	await page.waitForTimeout(2500);
	await unfold(page);
	await picture(page, "keys");
	const wrong = await accessibility(page, ['[data-fieldname="keys_html"]']);
	check("axe finds nothing serious in the keys", wrong.length === 0, wrong.join("; "));

	await keyButton(page, "Bring a Key").click();
	const dialog = page.locator(".modal.show");
	await dialog.getByLabel("File").waitFor();
	await page.waitForTimeout(400);
	await shot(page, "bring-a-key");
	const unlabelled = await accessibility(page, ['.modal.show [data-fieldname="file_html"]']);
	check("axe finds nothing serious in what is ours of the dialog", unlabelled.length === 0, unlabelled.join("; "));
	const { privateKey } = generateKeyPairSync("ec", {
		namedCurve: "P-256",
		publicKeyEncoding: { type: "spki", format: "pem" },
		privateKeyEncoding: { type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "a passphrase" },
	});
	await dialog.getByLabel("File").setInputFiles({
		name: "key.pem",
		mimeType: "application/x-pem-file",
		buffer: Buffer.from(privateKey),
	});
	await dialog.locator('[data-fieldname="passphrase"] input').fill("a passphrase");
	await dialog.locator(".btn-primary:visible", { hasText: "Take This Key" }).click();
	await page.waitForSelector(".modal.show", { state: "detached", timeout: 60000 });
	await page.waitForFunction(() => JSON.parse(cur_frm.doc.published_keys || "{}").next_signing_key, null, {
		timeout: 60000,
	});
	const brought = await page.evaluate(() => JSON.parse(cur_frm.doc.published_keys).next_signing_key);
	check(
		"a file is taken, with its passphrase",
		brought.jwk.alg === "ES256" && !brought.certificate,
		JSON.stringify(brought)
	);
	check("and kept nowhere", (await call(page, "frappe.client.get_count", { doctype: "File", filters: { file_name: "key.pem" } })) === 0);
}

export async function postedCallback(page) {
	const values = {
		provider_name: "Posting",
		client_id: "client",
		client_secret: SECRET,
		scopes: [{ scope: "openid" }, { scope: "email" }],
		query_parameters: [{ key: "response_mode", value: "form_post" }],
	};
	const name = await makeApp(page, { issuer: "http://localhost:1" }, values);
	const get = (fieldname) => call(page, "frappe.client.get_value", { doctype: "Connected App", filters: name, fieldname }, "GET");
	const { redirect_uri } = await get("redirect_uri");
	// By this name the provider is another site than this one, so that browsers send no session along with what it posts.
	const provider = await startCertified({
		HOST: "localhost",
		CLIENT_ID: "client",
		CLIENT_SECRET: SECRET,
		REDIRECT_URI: redirect_uri,
	});
	if (!provider) return console.log("        (the certified provider is not installed: no callback was posted)");
	const { issuer } = provider;
	await call(page, "frappe.client.set_value", {
		doctype: "Connected App",
		name,
		fieldname: {
			issuer,
			openid_configuration: `${issuer}/.well-known/openid-configuration`,
			authorization_uri: `${issuer}/auth`,
			token_uri: `${issuer}/token`,
			userinfo_uri: `${issuer}/me`,
			jwks_uri: `${issuer}/jwks`,
			revocation_uri: `${issuer}/token/revocation`,
		},
	});
	await openForm(page, name);
	const [tab] = await Promise.all([
		page.context().waitForEvent("page"),
		headButton(page, "Connect to Posting").click(),
	]);
	const requests = [];
	tab.on("request", (request) => request.url().includes(".callback/") && requests.push(request));
	await tab.locator("input[name=login]").fill("alice", { timeout: 60000 });
	await tab.locator("input[name=password]").fill("x");
	await tab.locator("button[type=submit]").click();
	await tab.locator("button[type=submit]", { hasText: "Continue" }).click({ timeout: 60000 });
	await tab.waitForURL((url) => url.href.startsWith(base) && !url.href.includes(".callback/"), { timeout: 60000 });
	await tab.waitForSelector(".modal.show .modal-body", { timeout: 60000 });
	const landed = await tab.locator(".modal.show").innerText();
	check("who comes back by a form of another site is connected", landed.includes("alice@example.com"), landed);
	const headers = await Promise.all(requests.map((request) => request.allHeaders()));
	check(
		"the form came without the session, and what followed with it",
		requests.map((request) => request.method()).join(" ") === "POST GET" &&
			!headers[0].cookie?.includes("sid=") &&
			headers[1].cookie?.includes("sid="),
		requests.map((request, index) => `${request.method()} ${request.url()} ${headers[index].cookie}`).join("; ")
	);
	check(
		"no address has the code in it",
		requests.every((request) => !request.url().includes("code=")),
		requests.map((request) => request.url()).join("; ")
	);
	check("nobody was logged out", (await call(page, "frappe.auth.get_logged_user", {}, "GET")) === "Administrator");
	await tab.close();
	await waitForConnection(page, "Connected as alice@example.com");
	check("and the form shows it", (await connectionText(page)).includes("alice@example.com"));
	await settle(page);
}
