// Desk's scripts without a browser: what newer Frappe does with them, as far as no bench here has that Frappe.

import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import vm from "node:vm";

const app = path.resolve(import.meta.dirname, "../../connected_app");

// Run one of the app's scripts. `boot` is what Desk has been given; events that are registered on the document are kept.
export function run(script, { boot = {}, calls = {} } = {}) {
	return run_all(script ? [script] : [], { boot, calls });
}

const FORM = "public/js/connected_app_form";

// The form of a Connected App: its parts, by name, for what they say. Nothing is drawn.
// `words` are translations, by source and context.
export function run_form({ calls = {}, words = {} } = {}) {
	const parts = readdirSync(path.join(app, FORM)).map((file) => `${FORM}/${file}`);
	const scripts = ["connections/doctype/connected_app/connected_app.js", ...parts];
	const { frappe, context } = run_all(scripts, { calls, words });
	const { form } = context.connected_app;
	form.render = () => {};
	return { frappe, form };
}

function run_all(scripts, { boot = {}, calls = {}, words = {} }) {
	const events = {};
	const alerts = [];
	const frappe = {
		boot,
		alerts,
		listview_settings: {},
		provide(name) {
			name.split(".").reduce((at, key) => (at[key] ??= {}), context);
		},
		utils: { escape_html: String },
		show_alert: ({ message }) => alerts.push(message),
		ui: { form: { on() {} } },
		call: async ({ method, args }) => {
			const answer = calls[method];
			return { message: typeof answer === "function" ? answer(args) : answer };
		},
	};
	const context = vm.createContext({
		frappe,
		URL,
		window: { location: { origin: "https://site.example" } },
		document: {},
		CSS: { escape: String },
		__: (text, values, context) =>
			(words[`${text}:${context}`] ?? text).replace(/\{(\d)\}/g, (_all, index) => values[index]),
		$: () => ({ on: (event, handler) => (events[event] = handler) }),
	});
	for (const file of ["public/js/connected_app_desk.js", ...scripts]) {
		vm.runInContext(readFileSync(path.join(app, file), "utf8"), context, { filename: file });
	}
	return { frappe, events, context };
}
