// The people who are connected, on the form of a Connected App: what is asked before their connections end.

import assert from "node:assert/strict";
import test from "node:test";
import { run_form } from "./desk.mjs";

test("a field is called as on the form, where its label has another translation than elsewhere in Frappe", () => {
	const { form } = run_form({ words: { "Client ID:Connected App": "Kennung" } });
	let asked = "";
	form.people.confirm = (text) => (asked = text);
	const frm = { doctype: "Connected App", fields_dict: { client_id: { df: { label: "Client ID" } } } };
	form.people.confirm_other(frm, 1, ["client_id"]);
	assert.match(asked, /^You have changed: Kennung\. Connections that were made before: 1\./);
});
