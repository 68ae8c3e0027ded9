// The picker of providers on the form of a Connected App: what is shown, what is filled in, and what is left alone.

import assert from "node:assert/strict";
import test from "node:test";
import { run_form } from "./desk.mjs";

const NOTHING = {
	inputs: [],
	scopes: [],
	scope_words: {},
	notes: [],
	register: "",
	guide: "",
	unsupported: "",
};
const SHOP = {
	name: "shop",
	label: "Shop",
	example: "acme",
	pattern: "[a-z]([a-z-]*[a-z])?",
	choices: {},
	default: "",
};
const REGION = {
	name: "region",
	label: "Region",
	example: "eu",
	pattern: "",
	choices: { eu: "Europe", us: "America" },
	default: "eu",
};
const TEMPLATES = [
	{
		...NOTHING,
		key: "shops",
		name: "Shops",
		short_name: "Shops",
		inputs: [SHOP, REGION],
		register: "https://{shop}.shops.example/apps",
		guide: "https://shops.example/guide",
		notes: ["One token a shop."],
		scopes: ["read"],
		scope_words: { read: "Read products", write: "Change products", "{shop}/all": "All" },
	},
	{ ...NOTHING, key: "plain", name: "Plain (mail)", short_name: "Plain", scopes: ["openid", "mail"] },
	{ ...NOTHING, key: "bare", name: "Bare", short_name: "Bare" },
	{ ...NOTHING, key: "signed", name: "Signed", short_name: "Signed", unsupported: "Each request has to be signed." },
];
const VALUES = {
	provider: "shops",
	provider_inputs: '{"region": "eu", "shop": "acme"}',
	provider_name: "Shops",
	token_uri: "https://acme.shops.example/token",
	authorization_uri: "https://acme.shops.example/authorize",
	jwks_uri: "",
	leeway: 30,
	scopes: [{ scope: "read" }],
	query_parameters: [{ key: "access_type", value: "offline" }],
};

async function open(doc = {}, answer = VALUES) {
	const asked = [];
	const calls = {
		"connected_app.api.provider_templates": TEMPLATES,
		"connected_app.api.provider_settings": (args) => asked.push(args) && answer,
	};
	const { form, frappe } = run_form({ calls });
	const shown = [];
	form.findings.show = (_frm, field, finding) => shown.push([field, finding.message, finding.action]);
	const focused = { find: () => focused, first: () => focused, trigger: () => {} };
	const frm = {
		doc: { name: "new", ...doc },
		perm: [{ write: 1 }],
		fields_dict: { use_pkce: { df: { fieldtype: "Check" } } },
		is_new: () => true,
		get_field: () => ({ $wrapper: focused }),
		set_value: async (field, value) =>
			Object.assign(frm.doc, typeof field === "string" ? { [field]: value } : field),
	};
	await form.provider.load(frm);
	const state = form.state(frm);
	Object.assign(state, { provider: doc.provider || "", filled_for: doc.token_uri ? doc.provider : "" });
	const pick = async (provider) => {
		frm.doc.provider = provider;
		await form.provider.choose(frm);
	};
	const step = (index) => form.steps.view(frm, state)[index];
	return { form, frm, state, asked, shown, pick, step, alerts: frappe.alerts };
}

const plain = (value) => JSON.parse(JSON.stringify(value));

test("without a provider the form is as it was", async () => {
	const { form, frm, state, step } = await open();
	assert.deepEqual(
		[form.provider.view(frm).template, form.differences.view(frm, state), form.scopes.view(frm)],
		[null, null, null]
	);
	assert.equal(step(0).title, "Describe the provider");
	assert.deepEqual(plain([step(1).links, step(1).notes]), [[], []]);
});

test("a provider whose app is gone is like none", async () => {
	const { form, frm, step } = await open({ provider: "gone", token_uri: "https://x.example" });
	assert.deepEqual([form.provider.view(frm).template, step(0).title], [null, "Describe the provider"]);
});

test("it is found by name and category, names that begin so first", async () => {
	const { form } = await open();
	const template = { name: "Zoho CRM", key: "zoho-crm", category: "commerce", category_name: "Shops" };
	for (const text of ["zoho", "CRM", "crm zo", "shop", "commerce z", "", " "]) {
		assert.ok(form.provider.is_match(template, text), text);
	}
	assert.ok(!form.provider.is_match(template, "zoho mail"));
	assert.deepEqual(
		["Zoho", "CRM zoho", "Other"].map((name) => form.provider.rank(name, "ZO")),
		[0, 1, 2]
	);
});

test("templates that could not be loaded are asked for again", async () => {
	let asked = 0;
	const calls = {
		"connected_app.api.provider_templates": () => {
			if (!asked++) throw new Error("offline");
			return TEMPLATES;
		},
	};
	const { form } = run_form({ calls });
	const frm = { doc: { provider: "plain" } };
	await form.provider.load(frm);
	assert.equal(form.provider.template(frm), undefined);
	await form.provider.load(frm);
	await form.provider.load(frm);
	assert.deepEqual([form.provider.template(frm).name, asked], ["Plain (mail)", 2]);
});

test("one that needs nothing is filled in at once", async () => {
	const { frm, pick, asked, alerts } = await open(
		{ client_id: "mine", client_secret: "***" },
		{ ...VALUES, provider: "plain" }
	);
	await pick("plain");
	assert.deepEqual(plain(asked), [{ provider: "plain", inputs: "{}" }]);
	assert.deepEqual([frm.doc.token_uri, frm.doc.provider_name], [VALUES.token_uri, "Plain"]);
	assert.deepEqual([frm.doc.client_id, frm.doc.client_secret], ["mine", "***"]);
	assert.equal(alerts.length, 1);
});

test("one that needs to know something asks first, with its defaults", async () => {
	const { form, frm, pick, asked, step } = await open();
	await pick("shops");
	assert.deepEqual(asked, []);
	assert.deepEqual(plain(form.provider.inputs(frm)), { shop: "", region: "eu" });
	assert.match(step(0).text, /what Shops has to know/);
	assert.equal(form.provider.address(frm, "https://{shop}.shops.example/apps"), "");
	frm.doc.provider_inputs = '{"shop": "acme"}';
	assert.ok(form.provider.is_complete(frm));
	await form.provider.fill(frm);
	assert.deepEqual(JSON.parse(asked[0].inputs), { shop: "acme", region: "eu" });
	assert.equal(frm.doc.leeway, 30);
});

test("an input that leaves the host is wrong, and goes nowhere", async () => {
	const { form, frm, pick } = await open();
	await pick("shops");
	for (const value of ["evil.example/", "shop.example@evil", "Acme", "-", "a b", "acme\n"]) {
		assert.match(form.provider.mistake_in(SHOP, value).message, /^Shop does not have the form/, value);
		frm.doc.provider_inputs = JSON.stringify({ shop: value });
		assert.ok(!form.provider.is_complete(frm), value);
		assert.equal(form.provider.address(frm, "https://{shop}.shops.example/apps"), "");
	}
	assert.match(form.provider.mistake_in(REGION, "mars").action, /eu/);
	assert.equal(form.provider.mistake_in(SHOP, "acme-x"), null);
});

test("what is stored as inputs and cannot be read is like nothing", async () => {
	for (const text of ["{", "null", "[]", "7"]) {
		const { form, frm } = await open({ provider: "shops", provider_inputs: text });
		assert.ok(!form.provider.is_complete(frm), text);
	}
});

test("one that cannot be connected says why, and is not picked", async () => {
	const { frm, pick, shown, asked } = await open({ provider: "plain", token_uri: "https://x.example" });
	await pick("signed");
	assert.deepEqual(shown, [["provider", "Signed cannot be connected.", "Each request has to be signed."]]);
	assert.deepEqual([frm.doc.provider, frm.doc.token_uri, asked.length], ["plain", "https://x.example", 0]);
});

test("a new form that comes with a provider is filled in like one in which it was picked", async () => {
	const is_unfilled = async (doc, is_new = true) => {
		const { form, frm } = await open(doc);
		frm.is_new = () => is_new;
		return form.provider.is_unfilled(frm);
	};
	assert.ok(await is_unfilled({ provider: "plain" }));
	assert.ok(!(await is_unfilled({})));
	assert.ok(!(await is_unfilled({ provider: "plain" }, false)));
	assert.ok(!(await is_unfilled({ provider: "shops", provider_inputs: "{}" })), "an input may be entered already");
	assert.ok(!(await is_unfilled({ provider: "plain", token_uri: "https://x.example" })), "a copy of an app");
});

test("what the server refuses is not filled in", async () => {
	const { form, frm, pick } = await open({}, { wrong_inputs: {} });
	await pick("shops");
	frm.doc.provider_inputs = '{"shop": "acme"}';
	await form.provider.fill(frm);
	assert.equal(frm.doc.token_uri, undefined);
});

test("an answer that comes when another document is shown is dropped", async () => {
	const { form, frm } = await open({ provider: "plain" });
	const answered = form.provider.fill(frm);
	const shown = (frm.doc = { name: "other", provider: "plain" });
	await answered;
	assert.deepEqual(shown, { name: "other", provider: "plain" });
});

test("an answer for a provider that is no longer picked is dropped", async () => {
	const { form, frm, pick } = await open();
	await pick("shops");
	frm.doc.provider_inputs = '{"shop": "acme"}';
	const answered = form.provider.fill(frm);
	frm.doc.provider = "bare";
	await answered;
	assert.equal(frm.doc.token_uri, undefined);
});

const taken = (form, doc, state, previous) =>
	Object.keys(form.provider.taken_over(doc, VALUES, state, previous));

test("a name and scopes that an admin has entered stay", async () => {
	const { form } = await open();
	const doc = { provider_name: "Our shop", scopes: [{ scope: "special" }] };
	const fields = taken(form, doc, {}, undefined);
	assert.ok(!fields.includes("provider_name") && !fields.includes("scopes") && fields.includes("leeway"));
	assert.ok(taken(form, { scopes: [{ scope: "" }] }, {}, undefined).includes("scopes"));
});

test("the scopes of the provider before make room", async () => {
	const { form } = await open();
	const [, other] = TEMPLATES;
	assert.ok(taken(form, { scopes: [{ scope: "mail" }] }, {}, other).includes("scopes"));
	assert.ok(!taken(form, { scopes: [{ scope: "mail" }, { scope: "mine" }] }, {}, other).includes("scopes"));
});

test("another input changes what depends on it, and nothing that is the admin's own", async () => {
	const { form } = await open();
	const [shops] = TEMPLATES;
	const state = { differences: [{ field: "authorization_uri" }], filled: { scopes: [{ scope: "read" }] } };
	const fields = taken(form, { scopes: [{ scope: "read" }, { scope: "write" }] }, state, shops);
	assert.deepEqual(fields.sort(), ["jwks_uri", "provider_inputs", "query_parameters", "token_uri"]);
	assert.ok(taken(form, { scopes: [{ scope: "read" }] }, state, shops).includes("scopes"));
});

test("taking the provider away leaves the fields as they are", async () => {
	const { frm, pick } = await open({
		provider: "plain",
		provider_name: "Plain",
		token_uri: "https://x.example",
	});
	await pick("");
	assert.deepEqual([frm.doc.provider_inputs, frm.doc.token_uri], ["", "https://x.example"]);
});

test("scopes are offered in plain words, those in the table ticked", async () => {
	const { form, frm } = await open({ provider: "shops", scopes: [{ scope: "write" }, { scope: "special" }] });
	assert.deepEqual(plain(form.scopes.view(frm).offered), [
		{ scope: "read", words: "Read products", chosen: false },
		{ scope: "write", words: "Change products", chosen: true },
	]);
});

test("the steps say where to register, with the notes", async () => {
	const { frm, step } = await open({ provider: "shops", provider_inputs: '{"shop": "acme"}' });
	frm.doc.redirect_uri = "https://site.example/callback/x";
	assert.deepEqual(plain(step(1).links), [
		["Open the developer console", "https://acme.shops.example/apps"],
		["The provider's documentation", "https://shops.example/guide"],
	]);
	assert.deepEqual(plain(step(1).notes), ["One token a shop."]);
	assert.deepEqual(plain(step(1).addresses.map(([, address]) => address)), [
		"https://site.example/callback/x",
		"https://site.example",
	]);
	assert.ok(!step(3).done);
	frm.doc.provider = "bare";
	assert.ok(step(3).done, "there are no scopes to choose");
});

test("while the fields are empty, the first step can fill them in", async () => {
	const { step } = await open({ provider: "plain" });
	assert.deepEqual(plain(step(0).button), ["fill", "Fill In from the Template"]);
	assert.equal(step(0).text, "Fill in the form from the template of Plain (mail).");
});

test("differences are told in words, and taken over on demand only", async () => {
	const { form, frm, state } = await open({ provider: "plain", leeway: 60 });
	state.differences = [
		{ field: "leeway", label: "Leeway", is: 60, offers: 30 },
		{ field: "use_pkce", label: "Use PKCE", is: 0, offers: 1 },
		{ field: "query_parameters", label: "Parameters", is: [], offers: [{ key: "a", value: "b" }] },
		{ field: "issuer", label: "Issuer", is: null, offers: "https://x.example" },
	];
	assert.deepEqual(
		form.differences.view(frm, state).rows.map(({ is, offers }) => [is, offers]),
		[
			["60", "30"],
			["No", "Yes"],
			["–", "a = b"],
			["–", "https://x.example"],
		]
	);
	assert.equal(frm.doc.leeway, 60);
	await form.differences.take_over(frm);
	assert.deepEqual([frm.doc.leeway, frm.doc.use_pkce, state.differences.length], [30, 1, 0]);
});

test("a key takes the place of Client Secret", async () => {
	const { frm, step } = await open();
	frm.doc.client_id = "mine";
	assert.equal(step(2).done, false);
	frm.doc.signing_key = "***";
	assert.equal(step(2).done, true);
});

test("the last step says who connects, and whose account", async () => {
	const own = { name: "x", enabled: 1, connection_is: "Each User's Own" };
	const text = async (doc) => {
		const { form, frm, state } = await open(doc);
		return form.steps.view(frm, state).at(-1).text;
	};
	assert.match(await text(own), /Every user connects an account of their own/);
	assert.match(await text({ ...own, connection_is: "Shared" }), /connect the account that is shared/);
	assert.match(await text({ ...own, enabled: 0 }), /while the app is disabled/);
});
