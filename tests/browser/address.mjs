// Connect by Address: from the address of an MCP server to a connection.

import {
	base,
	call,
	check,
	closeDialog,
	errors,
	field,
	looks,
	openForm,
	picture,
	startMCPServer,
} from "./kit.mjs";

export async function connectByAddress(page) {
	const server = await startMCPServer();
	const before = errors.length;
	await openDialog(page);
	await lookUp(page, "http://127.0.0.1:1/");
	await page.locator(".msgprint:visible").waitFor();
	// Frappe's request writes what was refused, on purpose here, to the console.
	errors.length = before;
	const said = await page.locator(".msgprint:visible").innerText();
	check("an address that does not answer is said", said.includes("could not be reached"), said);
	await page
		.locator(".modal.show", { has: page.locator(".msgprint") })
		.locator(".btn-modal-close:visible")
		.click();
	await page.locator(".msgprint:visible").waitFor({ state: "hidden" });
	await page.waitForTimeout(500);

	await openDialog(page);
	await lookUp(page, server.resource);
	await page.locator(".modal.show .gallery-offer").waitFor();
	await looks(page, "address offer", {
		selectors: [".modal.show .gallery-offer"],
		words: [server.resource, server.issuer, "notes", "registers itself"],
		pictures: { "light wide": "address-offer" },
	});
	await page.locator('.modal.show input[data-fieldname="provider_name"]').fill("Notes");
	await page.locator(".modal.show .btn-modal-primary:visible").click();
	await page.waitForFunction(() => window.cur_frm?.doc?.provider_name === "Notes" && !cur_frm.is_new());
	const name = await page.evaluate(() => cur_frm.doc.name);
	await openForm(page, name);
	await page.locator(".connected-app-registration").waitFor();
	const [tab] = await Promise.all([
		page.context().waitForEvent("page"),
		page
			.locator(".connected-app-connect:visible, button:visible", { hasText: "Connect to Notes" })
			.first()
			.click(),
	]);
	await tab.waitForURL((url) => url.href.startsWith(base), { timeout: 60000 });
	await page.waitForFunction(() => cur_frm.connected_app.connection?.status === "Connected", null, {
		timeout: 60000,
	});
	check("an MCP server is connected to by its address alone", true);
	await tab.close();
	await page.bringToFront();
	await page.locator(".connected-app-registration summary").click();
	await page.evaluate(() => cur_frm.scroll_to_field("client_id"));
	await looks(page, "address registered", {
		selectors: [".connected-app-registration"],
		words: ["This site registered itself on", "/register", "redirect_uris"],
	});
	await field(page, "registration_html").scrollIntoViewIfNeeded();
	await picture(page, "address-registered");

	await openDialog(page);
	await lookUp(page, server.resource);
	await page.locator(".modal.show .gallery-offer").waitFor();
	const offer = await page.locator(".modal.show").innerText();
	check(
		"an address that is set up already leads to its app",
		offer.includes("There is one for it already"),
		offer
	);
	await closeDialog(page);
	await call(page, "frappe.client.delete", { doctype: "Connected App", name });
	await server.stop();
}

async function openDialog(page) {
	if (!page.url().includes("connections-gallery")) await page.goto(`${base}/app/connections-gallery`);
	await page.locator(".gallery-card").first().waitFor({ timeout: 60000 });
	if (!(await page.locator(".modal.show").count())) {
		await page.locator(".page-head button:visible", { hasText: "Connect by Address" }).first().click();
	}
	await page.locator(".modal.show input[data-fieldname=address]").waitFor();
}

async function lookUp(page, address) {
	await page.locator(".modal.show input[data-fieldname=address]").fill(address);
	await page.locator(".modal.show .btn-modal-primary:visible").click();
}
