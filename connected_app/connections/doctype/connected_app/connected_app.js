// The form of a Connected App: the settings, and the user's own connection.
//
// `connected_app.form` has one file for each subject, in public/js/connected_app_form. They show the document and one state.
// A part's `view` returns plain data; `draw` puts it on the page, and is called only if the view has changed, so that nothing
// is replaced while it is clicked on.
frappe.provide("connected_app.form");

(() => {
	const { form, call } = connected_app;
	const PARTS = [
		...["provider", "differences", "scopes", "steps", "connection", "people", "redirect_uri", "registration"],
		...["keys", "service_account", "email"],
	];
	const ADDRESSES = [
		"openid_configuration",
		"authorization_uri",
		"token_uri",
		"revocation_uri",
		"introspection_uri",
		"userinfo_uri",
		"issuer",
		"jwks_uri",
		"device_authorization_uri",
	];
	// A connection is good for this client at this server only.
	const MADE_WITH = ["client_id", "token_uri", "grant_type"];
	const SHOWN_IN_STEPS = ["provider_name", "client_id", "client_secret", "client_authentication", "grant_type"];

	Object.assign(form, {
		// `connection`: the user's own. For System Managers: `people` who are connected, `differences` from the provider's
		// template, and the client's `registration`. All null until they are loaded. `provider`: the key of the template that
		// was picked last; `filled_for`: the one that has filled in the form, and `filled`: its values.
		state(frm) {
			frm.connected_app ??= {
				connection: null,
				people: null,
				differences: null,
				registration: null,
				name: "",
				provider: "",
				filled_for: "",
				filled: null,
				question: 0,
				filling: 0,
				was: {},
				drawn: {},
			};
			return frm.connected_app;
		},

		// As the form itself calls the field: its translations come first, then those that all of Frappe has.
		label: (frm, field) => __(frm.fields_dict[field].df.label, null, frm.doctype),

		may_write: (frm) => Boolean(frm.perm[0]?.write),

		is_in_use(state) {
			const { status, accounts } = state.connection || { status: "Not Connected" };
			return Boolean(status !== "Not Connected" || accounts?.length || state.people?.total);
		},

		render(frm) {
			const state = form.state(frm);
			for (const part of PARTS) {
				const view = form[part].view(frm, state);
				const key = JSON.stringify(view);
				if (state.drawn[part] === key) continue;
				state.drawn[part] = key;
				form[part].draw(frm, view);
			}
		},

		async load(frm) {
			const [state, name] = [form.state(frm), frm.doc.name];
			// The form may have been refreshed, or show another document, by now: only the answer to the last request counts.
			const question = ++state.question;
			const ask = (method) => call(method, { connected_app: name }, { type: "GET" });
			const asked = [ask("connection")];
			if (frappe.user.has_role("System Manager")) {
				asked.push(ask("connections"), frm.doc.client_id ? ask("registration") : null);
				if (frm.doc.provider) asked.push(ask("provider_differences"));
			}
			const [connection, people, registration, differences] = await Promise.all(asked);
			if (!connection || frm.doc.name !== name || state.question !== question) return;
			Object.assign(state, { connection, people: people || null, registration: registration || null });
			// Findings are about the saved document.
			if (!frm.is_dirty()) state.differences = differences || null;
			form.render(frm);
		},

		// The server reads the saved document, never what the browser sends.
		async saved(frm) {
			if (frm.is_new() || frm.is_dirty()) await frm.save();
		},
	});

	const handlers = {
		setup(frm) {
			watch_for_changes(frm);
			pass_what_is_folded(frm);
		},

		refresh(frm) {
			const state = form.state(frm);
			if (!frm.is_dirty()) {
				state.was = { ...frm.doc };
			}
			// Frappe has emptied the page, so draw again.
			const unknown = { connection: null, people: null, registration: null, drawn: {} };
			const provider = form.provider.is_unfilled(frm) ? "" : frm.doc.provider || "";
			Object.assign(state, { ...unknown, provider });
			if (!frm.is_dirty() || state.name !== frm.doc.name) {
				const filled_for = frm.doc.authorization_uri ? state.provider : "";
				Object.assign(state, { name: frm.doc.name, differences: null, filled: null, filled_for });
			}
			form.render(frm);
			form.configuration.add_buttons(frm);
			if (form.may_write(frm) && frappe.user.has_role("System Manager")) form.provider.choose(frm);
			if (!frm.is_new()) form.load(frm);
		},

		before_save(frm) {
			const { was, people } = form.state(frm);
			if (!people?.total) return;
			if (was.enabled && !frm.doc.enabled) return form.people.confirm_disabling(frm, people.total);
			if (was.connection_is && was.connection_is !== frm.doc.connection_is) {
				return form.people.confirm_sharing(frm, people.total);
			}
			const changed = MADE_WITH.filter((name) => was[name] && was[name] !== frm.doc[name]);
			if (changed.length) return form.people.confirm_other(frm, people.total, changed);
		},

		provider: (frm) => form.provider.choose(frm),
		after_save: (frm) => form.findings.clear_all(frm),
		scopes_add: (frm) => form.render(frm),
		scopes_remove: (frm) => form.render(frm),
	};
	for (const fieldname of SHOWN_IN_STEPS) handlers[fieldname] = (frm) => form.render(frm);
	for (const fieldname of ADDRESSES) {
		handlers[fieldname] = (frm) => {
			form.findings.check_address(frm, fieldname);
			form.render(frm);
		};
	}
	frappe.ui.form.on("Connected App", handlers);
	// Other forms have this table, too.
	frappe.ui.form.on("OAuth Scope", {
		scope: (frm) => frm.doctype === "Connected App" && form.render(frm),
	});

	// Frappe's Tab key would go to the next field even if its section is folded away, and so never leave the field before.
	function pass_what_is_folded({ layout }) {
		const is_visible = layout.is_visible.bind(layout);
		layout.is_visible = (field) => is_visible(field) && !field.section?.is_collapsed();
	}

	// Consent happens in another tab, which notifies this one when it is done. If it cannot, the form looks when the user comes
	// back.
	function watch_for_changes(frm) {
		const look_again = () => {
			if (window.cur_frm !== frm || frm.is_new() || !form.state(frm).connection) return;
			form.load(frm);
		};
		document.addEventListener("visibilitychange", () => {
			if (document.visibilityState === "visible") look_again();
		});
		window.addEventListener("focus", look_again);
		connected_app.changes?.addEventListener("message", look_again);
	}
})();
