// An admin's actions on the saved settings: filling in the endpoints, and Check Configuration.
(() => {
	const { form, call, safe, element, button } = connected_app;
	const asking = () => ({ freeze: true, freeze_message: __("Asking the provider…") });

	form.configuration = {
		add_buttons(frm) {
			if (!form.may_write(frm)) return;
			const discover = () => form.configuration.discover(frm);
			// Always in the menu, since findings refer to it there.
			frm.page.add_menu_item(__("Get OpenID Configuration"), discover);
			if (!frm.doc.token_uri) frm.add_custom_button(__("Get OpenID Configuration"), discover);
			if (!frm.is_new()) frm.add_custom_button(__("Check Configuration"), () => check(frm));
		},

		async discover(frm) {
			if (!frm.doc.openid_configuration) {
				frm.scroll_to_field("openid_configuration");
				form.findings.show(frm, "openid_configuration", {
					level: "error",
					message: __("Enter the address of the provider's discovery document here first."),
				});
				return;
			}
			if (!form.findings.check_address(frm, "openid_configuration")) {
				frm.scroll_to_field("openid_configuration");
				return;
			}
			await form.saved(frm);
			const found = await call("get_openid_configuration", { connected_app: frm.doc.name }, asking());
			if (!found) return;
			await frm.set_value(found.values);
			report_discovery(frm, found);
		},
	};

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
		form.render(frm);
	}

	async function check(frm) {
		await form.saved(frm);
		form.findings.clear_all(frm);
		const findings = await call("check_configuration", { connected_app: frm.doc.name }, asking());
		if (!findings) return;
		for (const finding of findings) {
			if (finding.level !== "ok" && finding.field) form.findings.show(frm, finding.field, finding);
		}
		show_report(frm, findings);
	}

	function show_report(frm, findings) {
		const of = (level) => findings.filter((finding) => finding.level === level);
		const [errors, warnings, fine] = [of("error"), of("warning"), of("ok")];
		const dialog = new frappe.ui.Dialog({
			title: __("Check Configuration"),
			indicator: errors.length ? "red" : warnings.length ? "orange" : "green",
			fields: [{ fieldtype: "HTML", fieldname: "findings" }],
		});
		const $body = dialog.get_field("findings").$wrapper;
		if (!errors.length && !warnings.length) {
			$body.append(element("p", { text: __("Nothing is wrong, as far as can be seen without connecting.") }));
		}
		const groups = [
			[__("Must be fixed"), errors],
			[__("Worth a look"), warnings],
			[__("What works"), fine],
		];
		for (const [title, group] of groups) {
			if (!group.length) continue;
			const items = group.map((finding) => report_item(frm, dialog, finding));
			$body.append(
				element("h4", { text: title }),
				element("ul", { class: "connected-app-findings" }, ...items)
			);
		}
		dialog.show();
	}

	function report_item(frm, dialog, { field, message, action, level }) {
		const $item = element("li");
		if (level !== "ok" && frm.fields_dict[field]) {
			const go_there = () => {
				dialog.hide();
				frm.scroll_to_field(field);
			};
			$item.append(button(form.label(frm, field), go_there, { look: "btn-link" }));
		}
		$item.append(element("div", { text: message }));
		if (action) $item.append(element("div", { class: "text-muted", text: action }));
		return $item;
	}
})();
