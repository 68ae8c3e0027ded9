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
const screenshots = process.env.CONNECTED_APP_SCREENSHOTS || mkdtempSync(path.join(tmpdir(), "connected-app-"));
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
	const line = await new Promise((resolve) => readline.createInterface(child.stdout).once("line", resolve));
	return { child, issuer: JSON.parse(line).issuer };
}

async function login(context, user, password) {
	const answer = await context.request.post(`${base}/api/method/login`, { form: { usr: user, pwd: password } });
	if (!answer.ok()) throw new Error(`login as ${user}: HTTP ${answer.status()}`);
}

function listen(page, errors) {
	page.on("pageerror", (error) => {
		// Frappe's own scripts have errors of their own; the stack tells whose it is.
		if (/connected_app|connect\?/.test(error.stack)) errors.push(error.stack);
	});
}

const field = (page, name) => page.locator(`.frappe-control[data-fieldname="${name}"]`).first();
const shot = (page, name, options = {}) => page.screenshot({ path: path.join(screenshots, `${name}.png`), ...options });

async function save(page) {
	await page.keyboard.press("Escape");
	await page.evaluate(() => document.activeElement?.blur());
	await page.locator('.primary-action[data-label="Save"]:visible').first().click();
	await page.waitForFunction(() => !cur_frm.is_new() && !cur_frm.is_dirty(), null, { timeout: 20000 });
}

async function consent(page, decision) {
	await page.waitForSelector("button[value=allow], input[value=allow]", { timeout: 20000 });
	await page.locator(`button[value=${decision}], input[type=submit][value=${decision}]`).first().click();
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
	await field(page, "openid_configuration").locator("input").fill(`${provider.issuer}/.well-known/openid-configuration`);
	await save(page);
	const redirect = await page.evaluate(() => cur_frm.doc.redirect_uri);
	check("the Redirect URI ends in the app's name", redirect.endsWith(`/${await page.evaluate(() => cur_frm.doc.name)}`), redirect);
	check("the Redirect URI has a copy button", (await field(page, "redirect_uri").locator(".connected-app-copy").count()) === 1);

	await page.locator(".page-head button:visible", { hasText: "Get OpenID Configuration" }).click();
	await page.waitForSelector(".modal.show .modal-body", { timeout: 20000 });
	const report = await page.locator(".modal.show").innerText();
	check("Get OpenID Configuration says what it filled", report.includes("Token URI") && report.includes("JWKS URI"), report);
	await shot(page, "configuration");
	const uris = await page.evaluate(() => ["authorization_uri", "token_uri", "revocation_uri", "userinfo_uri", "introspection_uri", "jwks_uri", "issuer"].map((name) => cur_frm.doc[name]));
	check("every URI is filled", uris.every((uri) => uri && uri.startsWith(provider.issuer)), uris.join(" "));
	await page.locator(".modal.show .btn-modal-close:visible").first().click();
	await page.waitForSelector(".modal.show", { state: "detached" }).catch(() => {});

	await field(page, "client_id").locator("input").fill("demo");
	await field(page, "client_secret").locator("input").fill("demo-secret");
	for (const scope of SCOPES) {
		await field(page, "scopes").locator(".grid-add-row").click();
		const row = field(page, "scopes").locator(".grid-body .rows .grid-row").last();
		await row.locator('.grid-static-col[data-fieldname="scope"]').click();
		await row.locator('input[data-fieldname="scope"]').fill(scope);
	}
	await save(page);

	const denied = await connectInNewTab(page, context, "deny", "Connect to Demo");
	const refusal = await denied.locator("body").innerText();
	check("a declined consent says what happened and what to do", refusal.includes("consent_declined") && refusal.includes("Connect again"), refusal.slice(0, 300));
	await shot(denied, "consent-declined");
	await denied.close();

	const tab = await connectInNewTab(page, context, "allow", "Connect to Demo");
	listen(tab, errors);
	await tab.waitForSelector(".modal.show .modal-body", { timeout: 30000 });
	const landed = await tab.locator(".modal.show").innerText();
	check("the user lands in Desk, connected as alice", landed.includes("alice@example.com") && tab.url().includes("/app/connected-app/"), landed);
	await tab.waitForTimeout(500);
	await shot(tab, "landed");
	await tab.close();

	await page.bringToFront();
	await page.evaluate(() => window.dispatchEvent(new Event("focus")));
	await page.waitForFunction(() => document.querySelector(".connected-app-connection")?.innerText.includes("Connected as alice@example.com"), null, { timeout: 20000 });
	check("the form updates by itself", true);
	await page.evaluate(() => {
		document.querySelectorAll(".desk-alert").forEach((alert) => alert.remove());
		window.scrollTo(0, 0);
	});
	await page.waitForTimeout(500);
	await shot(page, "form");
	await shot(page, "form-whole", { fullPage: true });

	await page.locator(".page-head button:visible", { hasText: "Disconnect" }).click();
	await page.locator(".modal.show .btn-primary:visible", { hasText: "Yes" }).click();
	await page.waitForFunction(() => document.querySelector(".connected-app-connection")?.innerText.includes("Not Connected"), null, { timeout: 20000 });
	check("Disconnect forgets the connection", true);

	const name = await page.evaluate(() => cur_frm.doc.name);
	await page.evaluate(
		({ email, password }) =>
			frappe.call({
				method: "frappe.client.insert",
				args: { doc: { doctype: "User", email, first_name: "Phone", send_welcome_email: 0, new_password: password, user_type: "Website User" } },
			}),
		{ email: VISITOR, password: PASSWORD }
	);
	await context.close();
	return name;
}

async function phone(browser, name, errors) {
	const context = await browser.newContext({ viewport: { width: 390, height: 780 }, deviceScaleFactor: 2 });
	await login(context, VISITOR, PASSWORD);
	const page = await context.newPage();
	listen(page, errors);
	await page.goto(`${base}/connect?app=${name}`);
	await page.getByRole("button", { name: "Connect", exact: true }).click();
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
	await context.close();
}

const provider = await startProvider();
const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
const browser = await chromium.launch({
	executablePath,
	args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const errors = [];
try {
	const name = await desk(browser, provider, errors);
	await phone(browser, name, errors);
	check("no script of ours failed", errors.length === 0, errors.join("; "));
} catch (error) {
	check("the test ran to its end", false, error.stack);
	for (const [index, page] of browser.contexts().flatMap((context) => context.pages()).entries()) {
		await page.screenshot({ path: path.join(screenshots, `failure-${index}.png`) }).catch(() => {});
	}
} finally {
	await browser.close();
	provider.child.kill("SIGTERM");
}
console.log(`screenshots: ${screenshots}`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
