// An admin picks a provider by name: search, an input, what is filled in, and where the settings differ later.

import { LOOKS, WIDE, base, check, field, looks, picture, save, settle, shot } from "./kit.mjs";

const suggestions = (page) => field(page, "provider").locator("[role=listbox] li:visible");
const doc = (page, ...names) => page.evaluate((names) => names.map((name) => cur_frm.doc[name]), names);
// Milliseconds from the click to a list that can be seen, as the page itself counts them: the best of three, since other
// tests run beside this one.
const openingTime = (page) =>
	page.evaluate(() => {
		const { input, awesomplete } = cur_frm.fields_dict.provider;
		const open = () => {
			awesomplete.close();
			const began = performance.now();
			for (const event of ["pointerdown", "focus", "click"]) input.dispatchEvent(new Event(event));
			const { height } = awesomplete.ul.getBoundingClientRect();
			return height ? performance.now() - began : Infinity;
		};
		return Math.min(open(), open(), open());
	});

// Inputs whose own example the form would call wrong, or an address right that leaves its host.
const wrongPatterns = (page) =>
	page.evaluate(async () => {
		const { mistake_in } = connected_app.form.provider;
		const templates = await connected_app.call("provider_templates", {}, { type: "GET" });
		const inputs = templates.flatMap((template) => template.inputs);
		const usual = ({ default: value, example, choices }) => value || example || Object.keys(choices)[0];
		const bad = ["evil.example/", "shop.example@evil", "a b", "a\n"];
		return inputs
			.filter((input) => mistake_in(input, usual(input)) || bad.some((value) => !mistake_in(input, value)))
			.map((input) => input.label);
	});

// Nobody consents, so that there is no Authorization URI, and the Client ID comes later, with the key file.
async function serviceAccount(page) {
	await page.goto(`${base}/app/connected-app/new`);
	await page.waitForFunction(() => window.cur_frm?.fields_dict?.provider?.connected_app_size > 200);
	const picker = field(page, "provider").locator("input");
	await picker.fill("google service account");
	await page.keyboard.press("Enter");
	await page.waitForFunction(() => cur_frm.doc.grant_type === "Service Account");
	await save(page);
	await field(page, "subject").locator("input").fill("alice@example.com");
	await save(page);
	check("a service account is saved before its key is there, as often as wanted", true);
	await page.waitForFunction(() => document.querySelector(".connected-app-connection"));
	const words = await page.evaluate(() => document.querySelector(".connected-app-connection").innerText);
	check(
		"and says that nobody has to connect",
		words.includes("nobody has to connect") && !words.includes("You cannot connect"),
		words
	);
	await shot(page, "service-account");
}

export async function pickProvider(page) {
	await page.goto(`${base}/app/connected-app/new`);
	await page.waitForFunction(() => window.cur_frm?.fields_dict?.provider?.connected_app_size > 200, null, {
		timeout: 60000,
	});
	const picker = field(page, "provider").locator("input");

	check("the list does not open by itself", (await suggestions(page).count()) === 0);
	const wrong = await wrongPatterns(page);
	check("the browser reads every input's pattern as the server does", wrong.length === 0, wrong.join(", "));
	const time = await openingTime(page);
	const count = await suggestions(page).count();
	check("the picker opens, with all templates", time < Infinity && count > 200, `${count}`);
	console.log(`        (in ${Math.round(time)} ms)`);
	await page.keyboard.press("Tab");
	check("passing through picks nothing", !(await doc(page, "provider"))[0]);
	await picker.fill("no such provider");
	await page.keyboard.press("Tab");
	await field(page, "provider").locator(".connected-app-finding.error").waitFor();
	const unknown = await field(page, "provider").innerText();
	check(
		"a name that is not in the list is not taken, and the form says so",
		unknown.includes("no provider template called no such provider") && !(await doc(page, "provider"))[0],
		unknown
	);
	await picker.fill("shops");
	// Not what is rendered: those out of sight are not, nor are any at the very first moment (content-visibility).
	const found = (await suggestions(page).allTextContents()).map((text) => text.trim());
	check(
		"it searches names and categories, and says how sure a template is",
		found.length > 1 &&
			found.some((text) => text.startsWith("Shopify")) &&
			found.every((text) => /confirmed|Cannot be connected: /.test(text)),
		found.join(" | ")
	);
	await settle(page);
	await picker.click();
	await picture(page, "provider-picker");

	await picker.fill("sevdesk");
	await page.keyboard.press("Enter");
	await field(page, "provider").locator(".connected-app-finding.error").waitFor();
	const reason = await field(page, "provider").innerText();
	const [refused, addresses] = await doc(page, "provider", "token_uri");
	check(
		"one that cannot be connected says why, and is not picked",
		reason.includes("cannot be connected") && !refused && !addresses,
		reason
	);

	await picker.fill("");
	await picker.pressSequentially("shopi");
	await page.keyboard.press("Enter");
	const shop = page.getByLabel("Shop", { exact: true });
	await shop.waitFor();
	await shop.fill("evil.example/");
	await shop.blur();
	const input = page.locator(".connected-app-input", { has: shop });
	await input.locator(".connected-app-finding.error").waitFor();
	const [inputs, token] = await doc(page, "provider_inputs", "token_uri");
	check(
		"an input that leaves the host is wrong beside its field, and fills in nothing",
		!token,
		`${inputs} ${token}`
	);
	await looks(page, "provider input", {
		selectors: [".connected-app-input", ".connected-app-steps"],
		words: ["does not have the form that the provider uses", "well confirmed"],
		pictures: { "light wide": "provider-input" },
	});
	await field(page, "client_id").locator("input").fill("mine");
	await shop.fill("acme");
	await shop.blur();
	await page.waitForFunction(() => cur_frm.doc.token_uri?.startsWith("https://acme."), null, {
		timeout: 60000,
	});
	check("what is right is no longer marked", (await input.locator(".connected-app-finding").count()) === 0);
	check("the rest is folded away", !(await field(page, "token_uri").isVisible()));
	const filled = (await doc(page, "provider_name", "scope_separator", "client_id", "provider_inputs")).join(
		" "
	);
	check(
		"the fields are filled in from the template",
		filled === 'Shopify Comma mine {"shop": "acme"}',
		filled
	);

	await field(page, "role_for_scripts").locator("input").focus();
	await page.keyboard.press("Tab");
	const focused = await page.evaluate(() => document.activeElement.dataset.label);
	check("Tab passes what is folded away", focused === "Save", focused);

	await page.getByLabel("Read customers").check();
	const scopes = await page.evaluate(() => cur_frm.doc.scopes.map((row) => row.scope).join(" "));
	check("a scope that is ticked is in the table", scopes === "read_products read_customers", scopes);
	await page.getByLabel("Read customers").scrollIntoViewIfNeeded();
	await shot(page, "provider-scopes");
	await save(page);
	await page.waitForFunction(() => cur_frm.connected_app.differences);
	const sections = await page.locator(".connected-app-origin:visible").allInnerTexts();
	check(
		"each section says that it comes from the template",
		sections.length > 3 && sections.every((text) => text === "from the template"),
		sections.join(" | ")
	);

	await page.evaluate(() => cur_frm.set_value("leeway", 60));
	await save(page);
	const differences = page.locator(".connected-app-differences");
	await differences.locator("summary").click({ timeout: 60000 });
	const words = await differences.innerText();
	check(
		"what an admin has changed stays, and is shown",
		words.includes("1 setting differs") && /60\s+30/.test(words),
		words
	);
	await page.setViewportSize(WIDE);
	await settle(page);
	await looks(page, "provider differences", {
		selectors: [".connected-app-differences", ".connected-app-scopes"],
		words: ["The template's", "from the template, 1 changed"],
		pictures: { "light wide": "provider-differences" },
		only: [LOOKS[0]],
	});
	await differences.getByRole("button", { name: "Use the Template's Values" }).click();
	await page.waitForFunction(() => cur_frm.doc.leeway === 30);
	await save(page);
	await page.waitForFunction(() => cur_frm.connected_app.differences?.length === 0, null, { timeout: 60000 });
	check("the template's values are taken over when asked for", (await differences.count()) === 0);
	await picker.fill("shopfy");
	await page.keyboard.press("Tab");
	await field(page, "provider").locator(".connected-app-finding.error").waitFor();
	check(
		"a slip does not take the provider away",
		(await doc(page, "provider"))[0] === "shopify" && (await picker.inputValue()) === "Shopify"
	);
	await serviceAccount(page);
}
