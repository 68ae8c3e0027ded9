// *Set Up E-mail*: an Email Account that uses the user's own connection.
(() => {
	const { form, call, safe, element } = connected_app;
	const LABEL = () => __("Set Up E-mail");

	form.email = {
		// Each of several accounts has its own button.
		view: (_frm, { connection }) =>
			Boolean(connection?.may_set_up_email && !connection.accounts?.length),

		draw(frm, is_offered) {
			frm.remove_custom_button(LABEL());
			if (is_offered) frm.add_custom_button(LABEL(), () => form.email.set_up(frm));
		},

		set_up,
	};

	// `which`: for several accounts, `account`.
	async function set_up(frm, which = {}) {
		const args = { connected_app: frm.doc.name, ...which };
		const offer = await call("email_account_offer", args, { type: "GET" });
		if (!offer) return;
		const dialog = new frappe.ui.Dialog({
			title: LABEL(),
			fields: [
				{
					fieldname: "email_id",
					fieldtype: "Data",
					options: "Email",
					reqd: 1,
					label: __("E-mail Address"),
					default: offer.email_id,
					description: __("That of the connected account, or another one whose mail arrives there."),
				},
				{ fieldname: "servers", fieldtype: "HTML" },
			],
			primary_action_label: __("Create Email Account"),
			primary_action: ({ email_id }) => make(args, dialog, email_id),
		});
		dialog.get_field("servers").$wrapper.append(...about(offer));
		dialog.show();
	}

	function about({ incoming, outgoing, email_account }) {
		const rows = [
			[__("Incoming mail"), incoming],
			[__("Outgoing mail"), outgoing || __("None: this provider's mail server takes no token from Frappe.")],
			[__("Logs in with"), __("the connection of {0} (XOAUTH2)", [frappe.session.user])],
		];
		const $table = element(
			"table",
			{ class: "table table-sm" },
			element(
				"tbody",
				{},
				...rows.map(([label, text]) =>
					element("tr", {}, element("th", { scope: "row", text: label }), element("td", { text }))
				)
			)
		);
		if (!email_account) return [$table];
		return [$table, element("p", { text: __("{0} has this address already.", [email_account]) })];
	}

	async function make(args, dialog, email_id, update = 0) {
		const made = await call(
			"set_up_email",
			{ ...args, email_id, update },
			{ freeze: true, freeze_message: __("Logging in to the mail servers…") }
		);
		if (!made) return;
		if (made.became === "exists") return offer_update(args, dialog, email_id, made.name);
		dialog.hide();
		frappe.set_route("Form", "Email Account", made.name);
		frappe.show_alert({
			message:
				made.became === "created"
					? __("Email Account created. It logs in with this connection.")
					: __("Email Account changed. It logs in with this connection now."),
			indicator: "green",
		});
	}

	function offer_update(args, dialog, email_id, name) {
		frappe.confirm(
			__(
				"The Email Account {0} has this address already. Let it log in with this connection? Its servers and all else stay as they are.",
				[`<b>${safe(name)}</b>`]
			),
			() => make(args, dialog, email_id, 1)
		);
	}
})();
