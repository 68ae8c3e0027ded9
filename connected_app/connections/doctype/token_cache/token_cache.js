// One connection: its state in words, and what its owner or a System Manager can do with it.
frappe.ui.form.on("Token Cache", {
	refresh(frm) {
		const { connected_app: app, provider_name, user, status, shared } = frm.doc;
		const reason = connected_app.safe((frm.doc.last_error || "").replace(/^[a-z_]+: /, ""));
		const provider = provider_name || app;
		const mine = user === frappe.session.user || (shared && frappe.user.has_role("System Manager"));
		frm.disable_save();
		// Frappe 15 adds to the introduction what it is given: it has to be emptied first.
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
			frm.add_custom_button(__("Reconnect"), () => connected_app.connect(app));
			frm.add_custom_button(__("Test Connection"), async () => {
				await connected_app.test(app);
				frm.reload_doc();
			});
		}
		if ((user || shared) && (mine || frappe.user.has_role("System Manager"))) {
			frm.add_custom_button(__("Disconnect"), async () => {
				if (await connected_app.disconnect(app, provider, user)) {
					frappe.set_route("List", "Token Cache");
				}
			});
		}
	},
});
