// What the journeys share: counting checks, a provider, logging in, filling Desk's form, screenshots, axe.

import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import readline from "node:readline";

export const [base] = process.argv.slice(2);
export const repo = process.env.CONNECTED_APP_REPO || path.resolve(import.meta.dirname, "../..");
const python = process.env.CONNECTED_APP_TEST_PYTHON || `${repo}/.venvs/newest/bin/python`;
const screenshots = process.env.CONNECTED_APP_SCREENSHOTS;
if (screenshots) mkdirSync(screenshots, { recursive: true });
// Set, the pictures of the guides are written too. As seen from the checkout, not from here.
const images = process.env.CONNECTED_APP_DOCS_IMAGES;
const docs = images && path.resolve(repo, images);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const PASSWORD = "correct-horse-battery";
export const SCOPES = ["openid", "email", "profile", "offline_access", "read"];
export const WIDE = { width: 1280, height: 950 };
export const PHONE = { width: 390, height: 780 };
export const LOOKS = [
	["light", "wide", WIDE],
	["dark", "wide", WIDE],
	["light", "phone", PHONE],
	["dark", "phone", PHONE],
];
// Frappe's website, unlike its Desk, has no dark look of its own.
export const LIGHT = LOOKS.filter(([colours]) => colours === "light");

export const counts = { passed: 0, failed: 0 };
// Minutes without a check after which something hangs.
const LONGEST = 5;
let watch = setTimeout(hangs, LONGEST * 60_000, "its beginning").unref();
export function check(what, truth, found = "") {
	clearTimeout(watch);
	watch = setTimeout(hangs, LONGEST * 60_000, what).unref();
	truth ? counts.passed++ : counts.failed++;
	console.log(`${truth ? "ok    " : "FAILED"}  ${what}${truth ? "" : `: ${found}`}`);
}

function hangs(last) {
	check("the test goes on", false, `nothing for ${LONGEST} minutes after: ${last}`);
	console.log(`${counts.passed} passed, ${counts.failed} failed`);
	// They would keep the output open.
	stopProviders();
	process.exit(1);
}

const providers = [];
// What the provider says when it is ready.
async function ready(child) {
	providers.push(child);
	const line = await new Promise((resolve, reject) => {
		readline.createInterface(child.stdout).once("line", resolve);
		child.once("error", reject);
		child.once("exit", (code) => reject(new Error(`the provider ended with exit code ${code}`)));
	});
	return JSON.parse(line);
}

// The certified provider, where its packages are installed. As tests/node.py starts it, and for the same reason.
export async function startCertified(settings) {
	const cwd = path.join(repo, "tests", "certified");
	if (!existsSync(path.join(cwd, "node_modules", "oidc-provider"))) return null;
	for (const seconds of [15, 30, 60]) {
		const child = spawn("node", ["--single-threaded", "server.mjs"], {
			cwd,
			env: { ...process.env, ...settings },
			stdio: ["ignore", "pipe", "ignore"],
		});
		const late = setTimeout(() => child.kill("SIGKILL"), seconds * 1000);
		try {
			return await ready(child);
		} catch (error) {
			if (child.signalCode !== "SIGKILL") throw error;
		} finally {
			clearTimeout(late);
		}
	}
	throw new Error("the certified provider does not begin");
}

export const startProvider = (...options) => start("demo.provider", ...options);
export const startMCPServer = (...options) => start("demo.mcp_server", ...options);
async function start(module, ...options) {
	const child = spawn(python, ["-m", module, ...options], {
		cwd: repo,
		stdio: ["ignore", "pipe", "inherit"],
	});
	const { issuer, resource } = await ready(child);
	return {
		issuer,
		resource,
		command: (name) => fetch(`${issuer}/_${name}`, { method: "POST" }),
		stats: async () => (await fetch(`${issuer}/_stats`)).json(),
		async stop() {
			const gone = new Promise((resolve) => child.once("close", resolve));
			child.kill("SIGTERM");
			await gone;
		},
	};
}
export const stopProviders = () => providers.forEach((child) => child.kill("SIGTERM"));

export async function login(context, user, password = PASSWORD) {
	const answer = await context.request.post(`${base}/api/method/login`, {
		form: { usr: user, pwd: password },
	});
	if (!answer.ok()) throw new Error(`login as ${user}: HTTP ${answer.status()}`);
}

// Frappe's own scripts have errors of their own: the stack, or the address, tells whose it is.
const OURS = /connected_app|\/connect\?|\/my-connections/;
export const errors = [];
export function listen(page) {
	page.on("pageerror", (error) => {
		if (OURS.test(error.stack)) errors.push(error.stack);
		else console.log(`        (not ours: ${error.message})`);
	});
	page.on("console", (message) => {
		const { url } = message.location();
		// Chromium says this of a page that is refused, and of a network that is cut, on purpose.
		if (message.type() !== "error" || url.includes(".callback/") || message.text().includes("ERR_FAILED")) return;
		if (OURS.test(`${url} ${message.text()}`)) errors.push(`${message.text()} (${url})`);
	});
	return page;
}

// Within Desk, as its own scripts do it.
export const call = (page, method, args = {}, type = "POST") =>
	page.evaluate(
		async ([method, args, type]) => (await frappe.call({ method, args, type })).message,
		[method.includes(".") ? method : `connected_app.api.${method}`, args, type]
	);

export const field = (page, name) => page.locator(`.frappe-control[data-fieldname="${name}"]`).first();
export const headButton = (page, label) =>
	page.locator(".page-head button:visible", { hasText: label }).first();
export const connectionText = (page) =>
	page.evaluate(() => document.querySelector(".connected-app-connection")?.innerText || "");
export const waitForConnection = (page, words, timeout = 60000) =>
	page.waitForFunction(
		(words) => document.querySelector(".connected-app-connection")?.innerText.includes(words),
		words,
		{ timeout }
	);

export async function openForm(page, name) {
	await page.goto(`${base}/app/connected-app/${name}`);
	await page.waitForFunction((name) => window.cur_frm?.doc?.name === name && cur_frm.connected_app?.connection, name, {
		timeout: 60000,
	});
	await page.waitForFunction(() => document.querySelector(".connected-app-connection"));
}

export async function addScope(page, scope) {
	const grid = field(page, "scopes");
	const count = await page.evaluate(() => (cur_frm.doc.scopes || []).length);
	await grid.locator(".grid-add-row").click();
	const row = grid.locator(`.grid-body .rows .grid-row[data-idx="${count + 1}"]`);
	const input = row.locator('input[data-fieldname="scope"]');
	// Adding a row puts the cursor into it, a moment later; a click before that makes Frappe's grid stumble.
	await input
		.waitFor({ state: "visible", timeout: 10000 })
		.catch(() => row.locator('.grid-static-col[data-fieldname="scope"]').click());
	await input.fill(scope);
	await input.blur();
	await page.waitForFunction(
		([index, value]) => cur_frm.doc.scopes?.[index]?.scope === value,
		[count, scope],
		{ timeout: 10000 }
	);
}

export async function save(page) {
	await page.evaluate(() => document.activeElement?.blur());
	await page.locator('.primary-action[data-label="Save"]:visible').first().click();
	await page.waitForFunction(() => !cur_frm.is_new() && !cur_frm.is_dirty(), null, { timeout: 60000 });
}

export async function closeDialog(page) {
	await page.locator(".modal.show .btn-modal-close:visible, .modal.show .close:visible").first().click();
	await page.waitForSelector(".modal.show", { state: "detached" }).catch(() => {});
	await page.waitForTimeout(400);
}

export async function consent(page, decision, account = "alice") {
	await page.locator(`input[name=account][value=${account}]`).check({ timeout: 60000 });
	await page.locator(`button[value=${decision}]`).click();
}

export async function connectInNewTab(page, decision, button) {
	const [tab] = await Promise.all([page.context().waitForEvent("page"), button.click()]);
	await consent(tab, decision);
	await tab.waitForURL((url) => url.href.startsWith(base), { timeout: 60000 });
	return tab;
}

// An app and a connection to it without clicking through Desk: the clicks are tried once, in setup.mjs.
export async function makeApp(page, provider, values = {}) {
	const doc = {
		doctype: "Connected App",
		openid_configuration: `${provider.issuer}/.well-known/openid-configuration`,
		client_id: "demo",
		client_secret: "demo-secret",
		issuer: provider.issuer,
		authorization_uri: `${provider.issuer}/authorize`,
		token_uri: `${provider.issuer}/token`,
		revocation_uri: `${provider.issuer}/revoke`,
		userinfo_uri: `${provider.issuer}/userinfo`,
		jwks_uri: `${provider.issuer}/jwks`,
		scopes: SCOPES.map((scope) => ({ scope })),
		...values,
	};
	return (await call(page, "frappe.client.insert", { doc })).name;
}

export async function connectQuickly(page, name, account = "alice", which = {}) {
	const url = await call(page, "authorize", { connected_app: name, success_uri: "/me", ...which });
	const answer = await page.context().request.post(url, {
		form: { account, decision: "allow" },
		maxRedirects: 0,
	});
	await page.context().request.get(answer.headers().location, { maxRedirects: 0 });
}

export async function settle(page) {
	await page.evaluate(() => document.querySelectorAll(".desk-alert").forEach((alert) => alert.remove()));
	// In Frappe 16 it is not the window that scrolls.
	await page.evaluate(() => {
		for (const element of document.querySelectorAll("*")) element.scrollTop = 0;
	});
	await page.mouse.move(2, 2);
	await page.waitForTimeout(350);
}

// For people only.
export async function shot(page, name, options = {}) {
	await page.mouse.move(2, 2);
	if (!screenshots) return;
	await page.screenshot({ path: path.join(screenshots, `${name}.png`), animations: "disabled", ...options });
}

// A picture of the guides.
export async function picture(page, name, options = {}) {
	await shot(page, name, options);
	if (docs) await page.screenshot({ path: path.join(docs, `${name}.png`), animations: "disabled", ...options });
}

export const theme = (page, name) =>
	page.evaluate((name) => document.documentElement.setAttribute("data-theme", name), name);

// Icons on the page that are empty: this Frappe has none of that name.
export const emptyIcons = (page, selector) =>
	page.evaluate((selector) => {
		const uses = [...document.querySelectorAll(`${selector} use`)].map((use) => use.getAttribute("href"));
		return uses.filter((href) => !document.querySelector(href));
	}, selector);

// Serious and critical findings of axe-core within `selectors`.
export async function accessibility(page, selectors) {
	if (!(await page.evaluate(() => Boolean(window.axe)))) await page.evaluate(axe);
	return page.evaluate(async (selectors) => {
		const include = selectors.filter((selector) => document.querySelector(selector));
		if (!include.length) return ["nothing to look at"];
		const { violations } = await window.axe.run({ include }, { resultTypes: ["violations"] });
		return violations
			.filter(({ impact }) => ["serious", "critical"].includes(impact))
			.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target.join(" ")).join(", ")}`);
	}, selectors);
}

// One screen in its four looks, or `only` some of them: nothing is wider than the window, what has to be there is seen, axe finds nothing
// within `selectors`, which are what is ours on the screen.
export async function looks(page, name, { selectors = [], words = [], pictures = {}, only = LOOKS }) {
	for (const [colours, size, viewport] of only) {
		await page.setViewportSize(viewport);
		// Frappe 16 leaves the sidebar open over what is made narrow.
		if (viewport === PHONE) await page.evaluate(() => window.frappe?.app?.sidebar?.close_sidebar?.());
		await theme(page, colours);
		await settle(page);
		const what = `${name}, ${colours}, ${size}`;
		const width = await page.evaluate(() => document.documentElement.scrollWidth);
		const text = await page.evaluate(() => document.body.innerText);
		const missing = words.filter((word) => !text.includes(word));
		const wrong = selectors.length ? await accessibility(page, selectors) : [];
		check(
			`${what}: fits, says what it has to, no serious finding of axe`,
			width <= viewport.width && !missing.length && !wrong.length,
			`width ${width}; missing: ${missing.join(", ")}; axe: ${wrong.join("; ")}`
		);
		const file = `${name}-${colours}-${size}`.replaceAll(" ", "-");
		await shot(page, file);
		if (pictures[`${colours} ${size}`]) await picture(page, pictures[`${colours} ${size}`]);
	}
	await page.setViewportSize(WIDE);
	await page.evaluate(() => window.frappe?.app?.sidebar?.open_sidebar?.());
	await theme(page, "light");
}
