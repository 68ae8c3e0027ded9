// Who is connected, for System Managers.
(() => {
	const { form, safe, local_time, element, button } = connected_app;

	form.people = {
		view: (_frm, { people }) => (people?.total ? people : null),

		draw(frm, view) {
			frm.toggle_display("people_html", Boolean(view));
			const $wrapper = frm.get_field("people_html").$wrapper.empty();
			if (!view) return;
			const titles = [
				__("User"),
				__("Status"),
				__("Account"),
				__("Connected since"),
				__("Last refreshed"),
				"",
			];
			const $table = element(
				"table",
				{ class: "table table-sm mb-2" },
				element("thead", {}, element("tr", {}, ...titles.map((text) => element("th", { scope: "col", text })))),
				element("tbody", {}, ...view.rows.map((row) => person(frm, row)))
			);
			const open_all = () => frappe.set_route("List", "Token Cache", { connected_app: frm.doc.name });
			const $all = button(__("Open in Token Cache ({0})", [view.total]), open_all, {
				look: "btn-default btn-xs",
			});
			$wrapper.append(
				element("div", { class: "connected-app-people table-responsive" }, $table),
				element("p", { class: "mb-3" }, $all)
			);
		},

		// If saving is refused, the form stays as it is.
		confirm_disabling(frm, total) {
			const question = __(
				"Disable {0}? All its connections ({1}) end. The tokens are deleted here and, where the provider offers it, revoked there.",
				[safe(frm.doc.provider_name), total]
			);
			return form.people.confirm(question);
		},

		confirm_sharing(frm, total) {
			const what =
				frm.doc.connection_is === "Shared"
					? __("From now on, all who may use {0} share one account, which a System Manager connects.", [
							safe(frm.doc.provider_name),
					  ])
					: __("From now on, each user of {0} connects an account of their own.", [
							safe(frm.doc.provider_name),
					  ]);
			const ends = __(
				"This ends all existing connections ({0}). The tokens are deleted here and, where the provider offers it, revoked there. Email Accounts that use them stop until somebody has connected again.",
				[total]
			);
			return form.people.confirm(`<p>${what}</p><p>${ends}</p>`);
		},

		confirm_other(frm, total, changed) {
			const labels = changed.map((name) => form.label(frm, name));
			return form.people.confirm(
				__(
					"You have changed: {0}. Connections that were made before: {1}. They will probably stop working, and people then have to connect again. Save all the same?",
					[safe(labels.join(", ")), total]
				)
			);
		},

		confirm(question) {
			return new Promise((resolve) => {
				frappe.confirm(question, resolve, () => {
					frappe.validated = false;
					resolve();
				});
			});
		},
	};

	function person(frm, row) {
		const nobody = row.shared ? __("Shared, connected by {0}", [row.connected_by]) : __("The service principal");
		const name = row.full_name || row.user || nobody;
		const words = row.failing_since
			? connected_app.headline(row)
			: connected_app.status_words(row.status);
		const reason = row.status !== "Connected" && row.last_error;
		const when = (utc) => (utc ? local_time(utc) : "");
		const $status = element("td", { html: connected_app.pill(row, words) });
		if (reason) $status.append(element("div", { class: "small mt-1", text: reason }));
		const href = frappe.utils.get_form_link("Token Cache", row.name);
		return element(
			"tr",
			{},
			element("td", {}, element("a", { href, text: name })),
			$status,
			element("td", {}, account_of(frm, row)),
			element("td", { text: when(row.connected_on) }),
			element("td", { text: when(row.last_refreshed_on) }),
			element("td", {}, row.user || row.shared ? disconnect_button(frm, row) : "")
		);
	}

	const has_several = (frm) => Boolean(form.state(frm).connection?.several_accounts);

	function account_of(frm, row) {
		const $name = element("span", { text: row.account_name || "" });
		// If users may have several accounts, each is a row of its own.
		if (!has_several(frm) || !row.is_default) return $name;
		return element("span", {}, $name, element("div", { class: "small", text: __("Default account") }));
	}

	function disconnect_button(frm, row) {
		const who = row.full_name || row.user || __("Shared");
		const title = has_several(frm) ? row.account_name : "";
		const { rows } = form.state(frm).people;
		const is_needed = row.is_default && rows.filter(({ user }) => user === row.user).length > 1;
		const account = title && { id: row.account_id || row.account, title, is_needed };
		return button(__("Disconnect"), () => form.connection.disconnect(frm, row.user, account), {
			look: "btn-default btn-xs",
			"aria-label": __("Disconnect {0}", [title ? `${who} (${title})` : who]),
		});
	}
})();
