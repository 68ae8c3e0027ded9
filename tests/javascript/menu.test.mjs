// The entry in Desk's user menu. No version of Frappe is asked for by number: two of the three menus have one list in
// common, and the third announces itself.

import assert from "node:assert/strict";
import test from "node:test";
import { run } from "./desk.mjs";

const standard = () => [
	{ item_label: "My Profile", route: "/app/user-profile" },
	{ item_label: "Log out", action: "frappe.app.logout()" },
];

test("the list that navigation bar and sidebar are made of has the entry, after the first", () => {
	const settings_dropdown = standard();
	run("", { boot: { navbar_settings: { settings_dropdown } } });
	assert.deepEqual(settings_dropdown.map((item) => item.item_label), ["My Profile", "My Connections", "Log out"]);
	// Frappe 15 and 16-dev read `route`, released 16 reads `url`.
	assert.deepEqual([settings_dropdown[1].route, settings_dropdown[1].url], ["/my-connections", "/my-connections"]);
});

test("an entry that the site has itself is not repeated", () => {
	const settings_dropdown = [...standard(), { item_label: "Accounts", route: "/my-connections" }];
	run("", { boot: { navbar_settings: { settings_dropdown } } });
	assert.equal(settings_dropdown.length, 3);
});

test("the desktop of Frappe 16 takes the entry", () => {
	const { events } = run("");
	const added = [];
	events.desktop_screen({}, { desktop: { add_menu_item: (item) => added.push([item.label, item.url]) } });
	assert.deepEqual(added, [["My Connections", "/my-connections"]]);
});

test("no menu at all is no error", () => {
	for (const boot of [undefined, {}, { navbar_settings: {} }]) run("", { boot });
	run("").events.desktop_screen({}, {});
});
