// Desk's scripts without a browser: what newer Frappe does with them, as far as no bench here has that Frappe.

import { readFileSync } from "node:fs";
import path from "node:path";
import vm from "node:vm";

const app = path.resolve(import.meta.dirname, "../../connected_app");

// Run one of the app's scripts. `boot` is what Desk has been given; events that are registered on the document are kept.
export function run(script, { boot = {}, calls = {} } = {}) {
	const events = {};
	const frappe = {
		boot,
		listview_settings: {},
		provide(name) {
			context[name] ??= {};
		},
		utils: { escape_html: String },
		call: async ({ method }) => ({ message: calls[method] }),
	};
	const context = vm.createContext({
		frappe,
		window: {},
		document: {},
		CSS: { escape: String },
		__: (text, values = []) => text.replace(/\{(\d)\}/g, (_all, index) => values[index]),
		$: () => ({ on: (event, handler) => (events[event] = handler) }),
	});
	for (const file of ["public/js/connected_app_desk.js", script]) {
		if (file) vm.runInContext(readFileSync(path.join(app, file), "utf8"), context, { filename: file });
	}
	return { frappe, events };
}
