// The form of a Connected App: what an admin sets up, and the connection of whoever is looking at it.
// In a function of its own, so that its names stay its own however Frappe evaluates form scripts.
(() => {
	const API = "connected_app.api.";

	const COLOURS = {
		Connected: "green",
		"Not Connected": "gray",
		"Reconnect Required": "red",
		"Temporarily Failing": "orange",
	};

	const safe = (value) => frappe.utils.escape_html(String(value ?? ""));

	frappe.ui.form.on("Connected App", {
		setup(frm) {
			frm.trigger("watch_for_return");
		},

		refresh(frm) {
			frm.connection = null;
			add_discovery_button(frm);
			show_copy_buttons(frm);
			if (frm.is_new()) {
				frm.set_intro(
					__("Save first: the Redirect URI to register at the provider then appears here."),
					"blue"
				);
				return;
			}
			refresh_connection(frm);
		},

		// Consent happens in another tab: when the user comes back from it, the state may have changed.
		watch_for_return(frm) {
			const look_again = () => {
				if (document.visibilityState !== "visible") return;
				if (window.cur_frm !== frm || frm.is_new() || !frm.connection) return;
				refresh_connection(frm);
			};
			document.addEventListener("visibilitychange", look_again);
			window.addEventListener("focus", look_again);
		},
	});

	async function call(method, args, options = {}) {
		const response = await frappe.call({ method: API + method, args, ...options });
		return response.message;
	}

	// Discovery

	function add_discovery_button(frm) {
		if (!frm.perm[0]?.write) return;
		frm.add_custom_button(__("Get OpenID Configuration"), () => get_openid_configuration(frm));
	}

	async function get_openid_configuration(frm) {
		if (!frm.doc.openid_configuration) {
			frm.scroll_to_field("openid_configuration");
			frappe.msgprint({
				title: __("OpenID Configuration is empty"),
				message: __("Enter the address of the provider's discovery document, for example {0}", [
					"<code>https://accounts.google.com/.well-known/openid-configuration</code>",
				]),
				indicator: "orange",
			});
			return;
		}
		// The server reads the address from the saved document, never from the browser.
		if (frm.is_new() || frm.is_dirty()) await frm.save();
		const found = await call(
			"get_openid_configuration",
			{ connected_app: frm.doc.name },
			{ freeze: true, freeze_message: __("Asking the provider…") }
		);
		if (!found) return;
		await frm.set_value(found.values);
		report_discovery(frm, found);
	}

	function report_discovery(frm, { filled, missing }) {
		const paragraphs = [];
		if (filled.length) {
			paragraphs.push(__("Filled in: {0}", [safe(filled.join(", "))]));
		}
		if (missing.length) {
			paragraphs.push(__("Not published by this provider: {0}", [safe(missing.join(", "))]));
		}
		paragraphs.push(
			frm.is_dirty()
				? __("Please review the endpoints and save.")
				: __("Nothing changed: the endpoints were up to date.")
		);
		frappe.msgprint({
			title: __("OpenID Configuration"),
			message: paragraphs.map((text) => `<p>${text}</p>`).join(""),
			indicator: missing.length ? "orange" : "green",
		});
		frm.fields_dict.sb_endpoints_section?.collapse?.(false);
	}

	// The connection of the person looking

	async function refresh_connection(frm) {
		const name = frm.doc.name;
		// The form may have been refreshed, or have moved on, while the answer was under way: the last question counts.
		const question = (frm.connection_question = (frm.connection_question || 0) + 1);
		const connection = await call("connection", { connected_app: name }, { type: "GET" });
		if (!connection || frm.doc.name !== name || frm.connection_question !== question) return;
		frm.connection = connection;
		show_connection(frm);
		show_connection_buttons(frm);
		show_copy_buttons(frm);
		show_redirect_uri_notice(frm);
	}

	function show_connection(frm) {
		frm
			.get_field("connection_html")
			.$wrapper.html(
				`<div class="connected-app-connection mb-3" role="status">${describe(frm.connection)}</div>`
			);
	}

	function describe(connection) {
		const lines = [
			`<span class="indicator-pill ${COLOURS[connection.status] || "gray"}">${headline(connection)}</span>`,
		];
		const details = [];
		if (connection.connected_on) {
			details.push(__("Connected since {0}", [safe(local_time(connection.connected_on))]));
		}
		if (connection.scopes.length) {
			details.push(__("Granted: {0}", [safe(connection.scopes.join(", "))]));
		}
		if (connection.missing_scopes.length) {
			details.push(__("Asked for, but not granted: {0}", [safe(connection.missing_scopes.join(", "))]));
		}
		if (connection.last_error && connection.status !== "Connected") {
			details.push(__("Reason: {0}", [safe(connection.last_error)]));
		}
		if (!connection.may_connect) {
			details.push(
				__(
					"You cannot connect at present: the app is disabled, or your roles are not among the allowed ones."
				)
			);
		}
		const rows = details.map((text) => `<div class="text-muted small mt-2">${text}</div>`);
		return lines.concat(rows).join("");
	}

	function headline({ status, account_name, account_id }) {
		if (status === "Not Connected") return __("Not Connected");
		if (status === "Reconnect Required") return __("Reconnect Required");
		if (status === "Temporarily Failing") return __("Temporarily Failing");
		const account = account_name || account_id;
		return account ? __("Connected as {0}", [safe(account)]) : __("Connected");
	}

	// Times come as UTC without saying so.
	function local_time(utc) {
		const time = new Date(`${String(utc).slice(0, 19).replace(" ", "T")}Z`);
		return isNaN(time) ? utc : time.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
	}

	function show_connection_buttons(frm) {
		for (const label of frm.connection_labels || []) remove_button(frm, label);
		frm.connection_labels = [];
		const { status, may_connect } = frm.connection;
		const provider = frm.doc.provider_name;

		if (status !== "Not Connected") {
			add_button(frm, __("Disconnect"), () => disconnect(frm));
		}
		if (may_connect && frm.doc.enabled) {
			const label =
				status === "Reconnect Required"
					? __("Reconnect to {0}", [provider])
					: __("Connect to {0}", [provider]);
			add_button(frm, label, () => connect(frm), status === "Connected" ? null : "primary");
		}
	}

	// Frappe puts a label into the page as HTML.
	function add_button(frm, label, action, type) {
		label = safe(label);
		const button = frm.add_custom_button(label, action);
		if (type && button) button.removeClass("btn-default").addClass(`btn-${type}`);
		frm.connection_labels.push(label);
	}

	function remove_button(frm, label) {
		frm.remove_custom_button(label);
		// Frappe 15 leaves the button's twin in the menu, which is what phones show.
		frm.page.menu
			.find(`[data-label="${encodeURIComponent(label)}"]`)
			.closest("li")
			.remove();
	}

	async function connect(frm) {
		if (frm.is_dirty()) {
			frappe.show_alert({ message: __("Please save your changes first."), indicator: "orange" });
			return;
		}
		// Opened within the click, before anything is awaited: later, a popup blocker would refuse it.
		const tab = window.open("", "_blank");
		if (tab) tab.opener = null;
		try {
			const url = await call("authorize", { connected_app: frm.doc.name });
			if (!url) throw new Error("no consent URL");
			if (tab) tab.location.replace(url);
			else window.location.assign(url);
		} catch (error) {
			// Frappe has shown the reason already.
			tab?.close();
		}
	}

	function disconnect(frm) {
		frappe.confirm(
			__(
				"Disconnect from {0}? The tokens are deleted here and, where the provider offers it, revoked there.",
				[safe(frm.doc.provider_name)]
			),
			async () => {
				const answer = await call("disconnect", { connected_app: frm.doc.name }, { freeze: true });
				if (!answer) return;
				frappe.show_alert(
					answer.revoked
						? { message: __("Disconnected, and revoked at the provider."), indicator: "green" }
						: {
								message: __(
									"Disconnected here. The provider did not confirm that it revoked the access: you can remove it in your account there."
								),
								indicator: "orange",
						  }
				);
				refresh_connection(frm);
			}
		);
	}

	// Redirect URI and JavaScript origin

	function site_origin(frm) {
		try {
			return new URL(frm.doc.redirect_uri).origin;
		} catch (error) {
			return window.location.origin;
		}
	}

	function copy_button(text) {
		return $(`<button type="button" class="btn btn-xs btn-default ml-2 connected-app-copy"></button>`)
			.text(__("Copy"))
			.on("click", () => frappe.utils.copy_to_clipboard(text));
	}

	function show_copy_buttons(frm) {
		if (!frm.doc.redirect_uri) return;
		const redirect_uri = frm.get_field("redirect_uri").$wrapper;
		redirect_uri.find(".connected-app-copy").remove();
		redirect_uri
			.find(".control-label")
			.first()
			.after(copy_button(frm.doc.redirect_uri).attr("aria-label", __("Copy the Redirect URI")));

		const origin = site_origin(frm);
		const field = frm.get_field("javascript_origin_html");
		field.$wrapper
			.empty()
			.append($(`<label class="control-label"></label>`).text(__("JavaScript Origin")))
			.append(copy_button(origin).attr("aria-label", __("Copy the JavaScript Origin")))
			.append($(`<div class="control-value like-disabled-input"></div>`).text(origin))
			.append($(`<p class="help-box small text-muted"></p>`).text(__(field.df.description)));
	}

	function show_redirect_uri_notice(frm) {
		// Frappe 15 adds to the introduction what it is given: it has to be emptied first.
		frm.set_intro();
		if (!frm.connection.redirect_uri_outdated) return;
		frm.set_intro(
			__("The Redirect URI does not match this site's present address. It would be {0}", [
				`<code>${safe(frm.connection.suggested_redirect_uri)}</code>`,
			]),
			"orange"
		);
		if (frm.perm[0]?.write) {
			add_button(frm, __("Renew Redirect URI"), () => renew_redirect_uri(frm));
		}
	}

	function renew_redirect_uri(frm) {
		frappe.confirm(
			__(
				"Change the Redirect URI to {0}? Register it at the provider too: until then nobody can connect. Existing connections go on working.",
				[`<code>${safe(frm.connection.suggested_redirect_uri)}</code>`]
			),
			async () => {
				const renewed = await call("renew_redirect_uri", { connected_app: frm.doc.name }, { freeze: true });
				if (!renewed) return;
				await frm.reload_doc();
				frappe.show_alert({
					message: __("Redirect URI renewed. Now register it at the provider."),
					indicator: "orange",
				});
			}
		);
	}
})();
