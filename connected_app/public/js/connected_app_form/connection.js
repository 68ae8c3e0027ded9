// The user's own connection: its state and actions.
(() => {
	const { form, safe, local_time, element, button } = connected_app;

	form.connection = {
		view(frm, { connection }) {
			if (!connection) return null;
			const { enabled, provider_name, client_id, authorization_uri, grant_type } = frm.doc;
			// Missing fields first; only admins see these.
			const ready = Boolean(
				!form.may_write(frm) ||
					(client_id && (authorization_uri || (grant_type && grant_type !== "User Consent")))
			);
			return { connection, enabled, provider_name, ready };
		},

		draw(frm, view) {
			const $wrapper = frm.get_field("connection_html").$wrapper.empty();
			if (!view) return;
			const { connection, enabled } = view;
			const accounts = connection.accounts;
			if (accounts.length) form.accounts.draw(frm, connection, $wrapper);
			else {
				const html = [connected_app.pill(connection), ...details(connection).map(detail)].join("");
				$wrapper.append(
					element("div", { class: "connected-app-connection mb-3", role: "status", html }),
					buttons(frm, connection)
				);
			}
			if (!frm.is_dirty()) {
				const shown = accounts.length ? connected_app.worst(accounts) : connection;
				const said = accounts.length
					? connected_app.headline_of_all(accounts)
					: connected_app.headline(connection);
				const colour = enabled ? connected_app.COLOURS[shown.status] : "gray";
				frm.page.set_indicator(safe(enabled ? said : __("Disabled")), colour);
			}
			show_next(frm, view);
		},

		connect(frm, which) {
			if (frm.is_dirty()) {
				frappe.show_alert({ message: __("Please save your changes first."), indicator: "orange" });
				return;
			}
			connected_app.connect(frm.doc.name, which);
		},

		async connect_with_code(frm) {
			if (frm.is_dirty()) {
				frappe.show_alert({ message: __("Please save your changes first."), indicator: "orange" });
				return;
			}
			if (await connected_app.connect_with_code(frm.doc.name)) form.load(frm);
		},

		async disconnect(frm, user, account) {
			if (await connected_app.disconnect(frm.doc.name, frm.doc.provider_name, user, account)) form.load(frm);
		},

		async test(frm, which) {
			await connected_app.test(frm.doc.name, "test_connection", which);
			form.load(frm);
		},

		details,
		detail,
	};

	function detail(text) {
		return `<div class="small mt-2">${text}</div>`;
	}

	function details(connection) {
		if (connection.for_users === false) {
			return [__("The service account acts for itself: nobody has to connect.")];
		}
		const found = [];
		if (connection.shared) {
			found.push(__("Shared: one connection for all who may use it here, and not your own account."));
		}
		if (connection.status === "Not Connected" && connection.may_use && !connection.may_connect) {
			found.push(__("A System Manager has not connected it yet."));
		}
		if (connection.last_error && connection.status !== "Connected") {
			found.push(__("Reason: {0}", [safe(connection.last_error)]));
		}
		if (connection.connected_on) {
			found.push(__("Connected since {0}", [safe(local_time(connection.connected_on))]));
		}
		if (connection.scopes.length) {
			found.push(__("Granted: {0}", [safe(connection.scopes.join(", "))]));
		}
		if (connection.missing_scopes.length) {
			found.push(__("Asked for, but not granted: {0}", [safe(connection.missing_scopes.join(", "))]));
		}
		if (!connection.may_connect && !(connection.shared && connection.may_use)) {
			found.push(
				__(
					"You cannot connect at present: the app is disabled, or your roles are not among the allowed ones."
				)
			);
		}
		return found;
	}

	function buttons(frm, { status, may_connect, may_use, may_disconnect, offers_codes }) {
		const is_connected = status !== "Not Connected";
		const found = [];
		if (is_connected && may_connect) found.push(button(__("Reconnect"), () => form.connection.connect(frm)));
		if (may_connect && offers_codes) {
			found.push(button(__("Connect with a Code"), () => form.connection.connect_with_code(frm)));
		}
		if (is_connected) {
			if (may_use) found.push(button(__("Test Connection"), () => form.connection.test(frm)));
			if (may_disconnect) found.push(button(__("Disconnect"), () => form.connection.disconnect(frm)));
		}
		return found.length ? element("div", { class: "connected-app-buttons mb-3" }, ...found) : "";
	}

	// The next thing to do, at the top.
	function show_next(frm, { connection, enabled, provider_name, ready }) {
		remove_head_button(frm);
		const labels = {
			"Not Connected": __("Connect to {0}", [provider_name]),
			"Reconnect Required": __("Reconnect"),
		};
		const label = labels[connection.status];
		// Each of several accounts has its own button.
		if (connection.accounts.length) return;
		if (!label || !connection.may_connect || !enabled || !ready) return;
		// Frappe puts a label into the page as HTML.
		form.state(frm).head_button = safe(label);
		frm
			.add_custom_button(safe(label), () => form.connection.connect(frm))
			?.removeClass("btn-default")
			.addClass("btn-primary");
	}

	function remove_head_button(frm) {
		const state = form.state(frm);
		if (!state.head_button) return;
		frm.remove_custom_button(state.head_button);
		// Frappe 15 also leaves the button in the menu, which phones show instead.
		frm.page.menu
			.find(`[data-label="${encodeURIComponent(state.head_button)}"]`)
			.closest("li")
			.remove();
		state.head_button = "";
	}
})();
