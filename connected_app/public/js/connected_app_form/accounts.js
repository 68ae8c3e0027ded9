// The user's own accounts, if several are possible: each with its state and actions.
(() => {
	const { form, safe, element, button } = connected_app;

	form.accounts = {
		// Of one of several accounts, or of a row of *Who Is Connected*.
		title: ({ account_name, account_id }, others = []) => {
			const same = others.filter((other) => other.account_name === account_name).length > 1;
			if (!account_name) return __("Unknown account");
			return same && account_id ? `${account_name} (${account_id})` : account_name;
		},

		draw(frm, connection, $wrapper) {
			const { accounts, may_connect } = connection;
			if (!accounts.some(({ is_default }) => is_default)) {
				$wrapper.append(
					element("p", {
						class: "mb-3",
						text: __(
							"None of these accounts is the default, so this site uses none unless it asks for it by name. Please choose one."
						),
					})
				);
			}
			$wrapper.append(
				element(
					"ul",
					{ class: "list-unstyled connected-app-accounts", role: "list" },
					...accounts.map((account) => row(frm, connection, account))
				)
			);
			if (!may_connect) return;
			const found = [
				button(__("Connect Another Account"), () => form.connection.connect(frm, { another: 1 })),
			];
			if (connection.offers_codes) {
				found.push(button(__("Connect with a Code"), () => form.connection.connect_with_code(frm)));
			}
			$wrapper.append(element("div", { class: "connected-app-buttons mb-3" }, ...found));
		},
	};

	function row(frm, connection, account) {
		const { accounts, may_use } = connection;
		const title = form.accounts.title(account, accounts);
		const state = { ...account, may_use, may_connect: connection.may_connect };
		const is_one_of_several = accounts.length > 1;
		const html = [
			`<strong><bdi>${safe(title)}</bdi></strong> `,
			connected_app.pill(account, connected_app.headline({ ...account, account_name: "", account_id: "" })),
			account.is_default && is_one_of_several ? ` ${default_pill()}` : "",
			...form.connection.details(state).map(form.connection.detail),
		].join("");
		return element(
			"li",
			{ class: "connected-app-account mb-3" },
			element("div", { class: "connected-app-connection mb-2", role: "status", html }),
			buttons(frm, connection, account, title)
		);
	}

	function default_pill() {
		const words = safe(__("Default account"));
		return `<span class="indicator-pill no-indicator-dot gray connected-app-pill"><span>${words}</span></span>`;
	}

	function buttons(frm, connection, account, title) {
		const { accounts, may_connect, may_use, may_disconnect, may_set_up_email } = connection;
		const which = account.account_id ? { account: account.account_id } : {};
		const is_broken = account.status === "Reconnect Required";
		const about = (label) => ({ "aria-label": `${label}: ${title}` });
		const add = (label, click, look = "btn-default btn-sm") =>
			button(label, click, { look, ...about(label) });
		const found = [];
		if (may_connect) {
			const look = is_broken ? "btn-primary btn-sm" : "btn-default btn-sm";
			found.push(add(__("Reconnect"), () => form.connection.connect(frm, which), look));
		}
		if (may_use) found.push(add(__("Test Connection"), () => form.connection.test(frm, which)));
		if (may_set_up_email) found.push(add(__("Set Up E-mail"), () => form.email.set_up(frm, which)));
		if (!account.is_default) found.push(add(__("Make Default"), () => make_default(frm, account)));
		if (may_disconnect) {
			const is_needed = account.is_default && accounts.length > 1;
			const what = { id: account.account_id, title, is_needed };
			found.push(add(__("Disconnect"), () => form.connection.disconnect(frm, null, what)));
		}
		return element("div", { class: "connected-app-buttons" }, ...found);
	}

	async function make_default(frm, { account_id, account }) {
		if (await connected_app.make_default(frm.doc.name, account_id || account)) form.load(frm);
	}
})();
