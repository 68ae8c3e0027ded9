// The signing keys of this client: what to copy to the provider, and how to replace a key.
(() => {
	const { form, call, element, button, local_time } = connected_app;
	const ALGORITHMS = ["ES256", "PS256", "RS256", "EdDSA"];

	form.keys = {
		view(frm) {
			let published = {};
			try {
				published = JSON.parse(frm.doc.published_keys || "{}");
			} catch (error) {
				// It is not typed by hand.
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
			$buttons.append(button(__("Bring a Key"), () => ask_for_key(frm, true)));
			if (next_signing_key) {
				$buttons.append(button(__("Use New Key"), () => use_new_key(frm), { look: "btn-primary btn-sm" }));
			}
		},
	};

	function about(title, { jwk, certificate, fingerprint, thumbprint, made_on, ends_on }) {
		const rows = [
			[__("Algorithm"), jwk.alg],
			[__("Key ID"), jwk.kid, true],
			[__("Public Key (JWK)"), JSON.stringify(jwk), true],
			[__("Certificate"), certificate, true],
			[__("Thumbprint of the certificate (SHA-256)"), fingerprint, true],
			[__("Thumbprint of the certificate (SHA-1), as Microsoft shows it"), thumbprint, true],
			[__("Made on"), local_time(made_on)],
			[__("Certificate ends on"), ends_on && local_time(ends_on)],
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

	// Another key replaces one that is still new, which has signed nothing.
	async function ask_for_key(frm, is_brought) {
		await form.saved(frm);
		const fields = [
			{
				fieldname: "algorithm",
				fieldtype: "Select",
				label: __("Algorithm"),
				options: is_brought ? ["", ...ALGORITHMS] : ALGORITHMS,
				default: is_brought ? "" : "ES256",
				description: is_brought
					? __("Leave it empty to take what fits the key.")
					: __(
							"ES256 suits most providers; PS256 or RS256 where a certificate is uploaded, as at Microsoft."
					  ),
			},
		];
		if (is_brought) {
			fields.unshift(
				{ fieldname: "file_html", fieldtype: "HTML" },
				{
					fieldname: "private_key",
					fieldtype: "Small Text",
					label: __("Private Key"),
					description: __("Or as text, in PEM; with its certificate if there is one."),
				},
				{
					fieldname: "passphrase",
					fieldtype: "Password",
					label: __("Passphrase"),
					description: __("Only if the key is encrypted. It is used once, and not stored."),
				}
			);
			fields.push({
				fieldname: "key_id",
				fieldtype: "Data",
				label: __("Key ID"),
				description: __("Only where the provider has given the key a name of its own, as Apple does."),
			});
		}
		const dialog = new frappe.ui.Dialog({
			title: is_brought ? __("Bring a Key") : __("Make a New Key"),
			fields,
			primary_action_label: is_brought ? __("Take This Key") : __("Make a New Key"),
			async primary_action(values) {
				const method = is_brought ? "bring_key" : "make_key";
				const [file] = $file ? $file.find("input")[0].files : [];
				if (file) values = { ...values, private_key: await in_base64(file), is_file: 1 };
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
		const $file = is_brought && file_field().appendTo(dialog.get_field("file_html").$wrapper);
		dialog.show();
	}

	// Not Frappe's uploader, which stores files.
	function file_field() {
		const input = element("input", {
			type: "file",
			accept: ".pem,.key,.crt,.p12,.pfx",
			style: "display: block; width: 100%",
			"aria-describedby": "connected-app-key-file",
		});
		return element(
			"label",
			{ class: "form-group", style: "display: block" },
			element("span", { class: "control-label", text: __("File") }),
			input,
			element("span", {
				id: "connected-app-key-file",
				class: "help-box small text-muted",
				text: __("PKCS#12 (.p12, .pfx) or PEM. The file itself is not stored."),
			})
		);
	}

	function in_base64(file) {
		return new Promise((resolve, reject) => {
			const reader = new FileReader();
			reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
			reader.onerror = () => reject(reader.error);
			reader.readAsDataURL(file);
		});
	}

	function use_new_key(frm) {
		frappe.confirm(
			__(
				"Use the new key from now on? The provider must know it by now: otherwise nobody can connect, and connections are not renewed. One that reads the Key Set URI may take some hours."
			),
			async () => {
				await form.saved(frm);
				await call("use_new_key", { connected_app: frm.doc.name }, { freeze: true });
				await frm.reload_doc();
			}
		);
	}
})();
