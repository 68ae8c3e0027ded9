// A service account: its key file, and whether the provider accepts it.
(() => {
	const { form, call, element, button } = connected_app;

	form.service_account = {
		view(frm) {
			let account = "";
			try {
				account = JSON.parse(frm.doc.published_keys || "{}").signing_key?.jwk.kid || "";
			} catch (error) {
				// It is not typed by hand.
			}
			return {
				key_id: account,
				client_id: frm.doc.client_id || "",
				is_shown: frm.doc.grant_type === "Service Account",
				may_write: form.may_write(frm) && !frm.is_new(),
			};
		},

		draw(frm, { key_id, client_id, is_shown, may_write }) {
			const $wrapper = frm.get_field("service_account_html").$wrapper.empty();
			if (!is_shown) return;
			const rows = [
				[__("Client ID"), client_id],
				[__("Key ID"), key_id],
			];
			$wrapper.append(
				key_id
					? rows.map(([label, value]) =>
							element(
								"div",
								{ class: "connected-app-address" },
								element("span", { text: label }),
								element("code", { text: value })
							)
					  )
					: element("p", { class: "text-muted", text: __("There is no key file yet.") })
			);
			if (!may_write) return;
			const $buttons = element("div", { class: "connected-app-buttons" }).appendTo($wrapper);
			const look = key_id ? "btn-default btn-sm" : "btn-primary btn-sm";
			$buttons.append(button(__("Take a Key File"), () => take_key_file(frm), { look }));
			if (key_id) $buttons.append(button(__("Test Service Account"), () => test(frm)));
		},
	};

	async function take_key_file(frm) {
		await form.saved(frm);
		let uploaded = "";
		const dialog = new frappe.ui.Dialog({
			title: __("Take a Key File"),
			fields: [
				{ fieldname: "file_html", fieldtype: "HTML" },
				{
					fieldname: "key_file",
					fieldtype: "Long Text",
					label: __("Or paste what is in it"),
					description: __(
						"The JSON file of Google or Box, or a private key in PEM. It replaces the key in use at once."
					),
				},
			],
			primary_action_label: __("Take This Key"),
			async primary_action({ key_file: pasted }) {
				const key_file = uploaded || pasted;
				if (!key_file) return;
				try {
					await call("take_key_file", { connected_app: frm.doc.name, key_file }, { freeze: true });
				} catch (error) {
					// Frappe has shown the reason already, and the dialog stays.
					return;
				}
				dialog.hide();
				await frm.reload_doc();
				frm.scroll_to_field("grant_type");
			},
		});
		const id = frappe.dom.get_unique_id();
		const $file = element("input", { type: "file", id, accept: ".json,.pem,.key,.txt" });
		// Read in the browser: as an attachment, the file would stay on the site. Its content is not shown.
		$file.on("change", async () => {
			const [file] = $file.get(0).files;
			uploaded = file ? await file.text() : "";
		});
		dialog
			.get_field("file_html")
			.$wrapper.append(element("label", { for: id, text: __("Key File") }), element("div", {}, $file));
		dialog.show();
	}

	async function test(frm) {
		await form.saved(frm);
		await connected_app.test(frm.doc.name, "test_service_account");
		form.load(frm);
	}
})();
