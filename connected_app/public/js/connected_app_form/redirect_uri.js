// The redirect URI and JavaScript origin to register at the provider, and whether they are out of date.
(() => {
	const { form, call, safe, element, button } = connected_app;

	form.redirect_uri = {
		origin(frm) {
			try {
				return new URL(frm.doc.redirect_uri).origin;
			} catch (error) {
				return window.location.origin;
			}
		},

		copy_button: (text, label) =>
			button(__("Copy"), () => frappe.utils.copy_to_clipboard(text), {
				look: "btn-xs btn-default connected-app-copy",
				"aria-label": label,
			}),

		view(frm, { connection }) {
			return {
				redirect_uri: frm.doc.redirect_uri,
				suggested: connection?.redirect_uri_outdated ? connection.suggested_redirect_uri : "",
				is_loaded: Boolean(connection),
			};
		},

		draw(frm, { redirect_uri, suggested, is_loaded }) {
			if (redirect_uri) show_copy_buttons(frm, redirect_uri);
			if (is_loaded) show_notice(frm, suggested);
		},
	};

	function show_copy_buttons(frm, redirect_uri) {
		const { copy_button, origin } = form.redirect_uri;
		const $field = frm.get_field("redirect_uri").$wrapper;
		$field.find(".connected-app-copy").remove();
		$field
			.find(".control-label")
			.first()
			.after(copy_button(redirect_uri, __("Copy the Redirect URI")));

		const { $wrapper, df } = frm.get_field("javascript_origin_html");
		$wrapper
			.empty()
			.append(
				element("label", { class: "control-label", text: __("JavaScript Origin") }),
				copy_button(origin(frm), __("Copy the JavaScript Origin")),
				element("div", { class: "control-value like-disabled-input", dir: "ltr", text: origin(frm) }),
				element("p", { class: "help-box small text-muted", text: __(df.description) })
			);
	}

	function show_notice(frm, suggested) {
		// Frappe 15 appends to the introduction, so empty it first.
		frm.set_intro();
		if (!suggested) return;
		const address = `<code>${safe(suggested)}</code>`;
		frm.set_intro(
			__("The Redirect URI does not match this site's present address. It would be {0}", [address]),
			"orange"
		);
		if (form.may_write(frm)) {
			frm.remove_custom_button(__("Renew Redirect URI"));
			frm.add_custom_button(__("Renew Redirect URI"), () => renew(frm, address));
		}
	}

	function renew(frm, address) {
		frappe.confirm(
			__(
				"Change the Redirect URI to {0}? Register it at the provider too: until then nobody can connect. Existing connections go on working.",
				[address]
			),
			async () => {
				const renewed = await call("renew_redirect_uri", { connected_app: frm.doc.name }, { freeze: true });
				if (!renewed) return;
				const is_registered = form.state(frm).registration?.can_be_changed;
				await frm.reload_doc();
				frappe.show_alert({
					message: is_registered
						? __("Redirect URI renewed, here and at the provider.")
						: __("Redirect URI renewed. Now register it at the provider."),
					indicator: is_registered ? "green" : "orange",
				});
			}
		);
	}
})();
