// One connection: its state in words, and the actions for its owner or a System Manager.
frappe.ui.form.on("Token Cache", {
	refresh(frm) {
		const { connected_app: app, provider_name, user, status, shared } = frm.doc;
		const reason = connected_app.safe((frm.doc.last_error || "").replace(/^[a-z_]+: /, ""));
		const provider = provider_name || app;
		// A further account, besides the default one.
		const further = frm.doc.account ? frm.doc.account_id || frm.doc.account : "";
		const which = further ? { account: further } : {};
		// By its ID: the default account may have changed since this was opened.
		const account = {
			id: shared ? "" : frm.doc.account_id,
			title: further && (frm.doc.account_name || further),
		};
		const is_admin = frappe.user.has_role("System Manager");
		const mine = user === frappe.session.user || (shared && is_admin);
		frm.disable_save();
		// Frappe 15 appends to the introduction, so empty it first.
		frm.set_intro();
		if (status === "Reconnect Required") {
			frm.set_intro(
				__("This connection no longer works: {0}", [reason]),
				"red"
			);
		} else if (status === "Temporarily Failing") {
			frm.set_intro(
				__("Renewing fails at present, and this site tries again by itself: {0}", [reason]),
				"orange"
			);
		}
		if (mine) {
			frm.add_custom_button(__("Reconnect"), () => connected_app.connect(app, which));
			frm.add_custom_button(__("Test Connection"), async () => {
				await connected_app.test(app, "test_connection", which);
				frm.reload_doc();
			});
		}
		if (further && (mine || is_admin)) {
			frm.add_custom_button(__("Make Default"), async () => {
				// The default account has the usual name, which this row gets.
				if (await connected_app.make_default(app, further, user)) frappe.set_route("List", "Token Cache");
			});
		}
		if ((user || shared) && (mine || is_admin)) {
			frm.add_custom_button(__("Disconnect"), async () => {
				if (await connected_app.disconnect(app, provider, user, account)) {
					frappe.set_route("List", "Token Cache");
				}
			});
		}
	},
});
