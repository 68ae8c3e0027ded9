// The list of Connected Apps in Frappe from 16 on, which asks for the label and the description of every row's button
// before it asks whether to show it, also at the first render, when the states are not loaded yet.

import assert from "node:assert/strict";
import test from "node:test";
import { run } from "./desk.mjs";

const LIST = "connections/doctype/connected_app/connected_app_list.js";
const ROWS = [
	{ name: "mail", provider_name: "Acme Mail", enabled: 1 },
	{ name: "files", provider_name: "Acme Files", enabled: 1 },
	{ name: "new", provider_name: "Acme New", enabled: 1 },
];
const STATES = [
	{ name: "mail", status: "Reconnect Required", may_connect: true },
	{ name: "files", status: "Connected", may_connect: true },
	{ name: "new", status: "Not Connected", may_connect: true },
];

function as_newer_frappe({ button }, row) {
	const [description, label] = [button.get_description(row), button.get_label(row)];
	return button.show(row) ? [label, description] : [];
}

test("before the states are loaded, every row can be drawn, without a button", () => {
	const settings = run(LIST).frappe.listview_settings["Connected App"];
	for (const row of ROWS) assert.deepEqual(as_newer_frappe(settings, row), []);
});

test("of several accounts, the one that fails says what can be done, and is the one that is reconnected", async () => {
	const mail = { name: "mail", may_connect: true };
	const states = [
		{ ...mail, account_id: "1", account_name: "info@acme.example", status: "Connected" },
		{ ...mail, account_id: "2", account_name: "sales@acme.example", status: "Reconnect Required" },
		{ name: "files", account_id: "1", status: "Connected", may_connect: true },
		{ name: "files", account_id: "2", status: "Connected", may_connect: true },
	];
	const authorized = [];
	const calls = {
		"connected_app.api.my_connections": states,
		"connected_app.api.authorize": (args) => authorized.push({ ...args }) && "",
	};
	const { frappe, context } = run(LIST, { calls });
	const settings = frappe.listview_settings["Connected App"];
	const nothing = { find: () => nothing, closest: () => nothing, attr: () => nothing };
	await settings.refresh({ render_list() {}, $result: nothing });
	assert.deepEqual(
		ROWS.slice(0, 2).map((row) => [...settings.get_indicator(row)].slice(0, 2)),
		[["Reconnect Required", "red"], ["2 accounts connected", "green"]]
	);
	context.window.open = () => null;
	await settings.button.action(ROWS[0]);
	assert.deepEqual(authorized, [{ connected_app: "mail", account: "2" }]);
});

test("once they are loaded, the buttons say what can be done", async () => {
	const calls = { "connected_app.api.my_connections": STATES };
	const settings = run(LIST, { calls }).frappe.listview_settings["Connected App"];
	let drawn = 0;
	const nothing = { find: () => nothing, closest: () => nothing, attr: () => nothing };
	await settings.refresh({ render_list: () => drawn++, $result: nothing });
	assert.equal(drawn, 1);
	assert.deepEqual(
		ROWS.map((row) => as_newer_frappe(settings, row)),
		[["Reconnect", "Reconnect to Acme Mail"], [], ["Connect", "Connect to Acme New"]]
	);
});
