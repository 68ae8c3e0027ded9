// The keys by which this site signs: what is copied to the provider, and the way from one key to the next.
(() => {
	const { form, call, element, button, local_time } = connected_app;
	const ALGORITHMS = ["ES256", "PS256", "RS256", "EdDSA"];

	form.keys = {
		view(frm) {
			let published = {};
			try {
				published = JSON.parse(frm.doc.published_keys || "{}");
			} catch (error) {
				// Nobody writes it by hand.
			}
			return { published, may_write: form.may_write(frm) && !frm.is_new() };
		},

		draw(frm, { published, may_write }) {
			const $wrapper = frm.get_field("keys_html").$wrapper.empty();
			const { signing_key, next_signing_key } = published;
			if (signing_key) $wrapper.append(about(__("In use"), signing_key));
			if (next_signing_key) $wrapper.append(about(__("New, not used yet"), next_signing_key));
			if (!signing_key && !next_signing_key) {
				$wrapper.append(element("p", { class: "text-muted", text: __("There is no key yet.") }));
			}
			if (!may_write) return;
			const $buttons = element("div", { class: "connected-app-buttons" }).appendTo($wrapper);
			$buttons.append(button(__("Make a New Key"), () => ask_for_key(frm, false)));
			$buttons.append(button(__("Paste a Key"), () => ask_for_key(frm, true)));
			if (next_signing_key) {
				$buttons.append(button(__("Use New Key"), () => use_new_key(frm), { look: "btn-primary btn-sm" }));
			}
		},
	};

	function about(title, { jwk, certificate, fingerprint, made_on }) {
		const rows = [
			[__("Algorithm"), jwk.alg],
			[__("Key ID"), jwk.kid, true],
			[__("Public Key (JWK)"), JSON.stringify(jwk), true],
			[__("Thumbprint of the certificate (SHA-256)"), fingerprint, true],
			[__("Certificate"), certificate, true],
			[__("Made on"), local_time(made_on)],
		];
		const $rows = rows
			.filter(([, value]) => value)
			.map(([label, value, is_copied]) =>
				element(
					"div",
					{ class: "connected-app-address" },
					element("span", { text: label }),
					element("code", { text: value.length > 60 ? `${value.slice(0, 60)}…` : value }),
					is_copied && form.redirect_uri.copy_button(value, __("Copy {0}", [label]))
				)
			);
		return element("div", {}, element("h6", { text: title }), ...$rows);
	}

	// A key that is new already gives way to another: nothing was signed with it.
	async function ask_for_key(frm, is_pasted) {
		await form.saved(frm);
		const fields = [
			{
				fieldname: "algorithm",
				fieldtype: "Select",
				label: __("Algorithm"),
				options: is_pasted ? ["", ...ALGORITHMS] : ALGORITHMS,
				default: is_pasted ? "" : "ES256",
				description: is_pasted
					? __("Leave it empty to take what fits the key.")
					: __(
							"ES256 suits most providers; PS256 or RS256 where a certificate is uploaded, as at Microsoft."
					  ),
			},
		];
		if (is_pasted) {
			fields.unshift({
				fieldname: "private_key",
				fieldtype: "Long Text",
				label: __("Private Key"),
				reqd: 1,
				description: __("In PEM, without a passphrase; with its certificate if there is one."),
			});
			fields.push({
				fieldname: "key_id",
				fieldtype: "Data",
				label: __("Key ID"),
				description: __("Only where the provider has given the key a name of its own, as Apple does."),
			});
		}
		const dialog = new frappe.ui.Dialog({
			title: is_pasted ? __("Paste a Key") : __("Make a New Key"),
			fields,
			primary_action_label: is_pasted ? __("Take This Key") : __("Make a New Key"),
			async primary_action(values) {
				const method = is_pasted ? "bring_key" : "make_key";
				try {
					await call(method, { connected_app: frm.doc.name, ...values }, { freeze: true });
				} catch (error) {
					// Frappe has shown the reason already, and the dialog stays.
					return;
				}
				dialog.hide();
				await frm.reload_doc();
				frm.scroll_to_field("keys_html");
				frappe.show_alert({
					message: __("Now register the new key at the provider, then click Use New Key."),
					indicator: "orange",
				});
			},
		});
		dialog.show();
	}

	function use_new_key(frm) {
		frappe.confirm(
			__(
				"Sign with the new key from now on? The provider must know it by now: otherwise nobody can connect, and connections are not renewed. One that reads the Key Set URI may take some hours."
			),
			async () => {
				await form.saved(frm);
				await call("use_new_key", { connected_app: frm.doc.name }, { freeze: true });
				await frm.reload_doc();
			}
		);
	}
})();
