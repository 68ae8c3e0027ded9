// The list shows the state of the user's own connection to each app; for several accounts, a summary.
(() => {
	let states = {};

	async function load(listview) {
		const mine = await connected_app.call("my_connections", {}, { type: "GET" });
		const by_app = {};
		for (const state of mine || []) (by_app[state.name] ??= []).push(state);
		states = Object.fromEntries(
			Object.entries(by_app).map(([name, accounts]) => {
				const headline = connected_app.headline_of_all(accounts);
				return [name, { ...connected_app.worst(accounts), headline, is_one: accounts.length === 1 }];
			})
		);
		listview.render_list();
		explain(listview);
	}

	const is_connected_before = (name) => Boolean(states[name]) && states[name].status !== "Not Connected";

	// A column is narrow, and Frappe's own tooltip is about drafts.
	function explain(listview) {
		for (const { name } of Object.values(states)) {
			const { status, last_error } = states[name];
			const words = [states[name].headline, status !== "Connected" && last_error];
			listview.$result
				.find(`.list-row-checkbox[data-name="${CSS.escape(name)}"]`)
				.closest(".list-row-container")
				.find(".indicator-pill")
				.attr("title", words.filter(Boolean).join(": "));
		}
	}

	frappe.listview_settings["Connected App"] = {
		add_fields: ["enabled", "provider_name"],

		onload(listview) {
			listview.page.add_inner_button(__("My Connections"), () => window.open("/my-connections"));
			connected_app.changes?.addEventListener("message", () => {
				if (window.cur_list === listview) load(listview);
			});
		},

		refresh: load,

		get_indicator(doc) {
			if (!doc.enabled) return [__("Disabled"), "gray", "enabled,=,0"];
			const state = states[doc.name];
			if (!state) return [__("Enabled"), "blue", "enabled,=,1"];
			return [state.headline, connected_app.COLOURS[state.status], "enabled,=,1"];
		},

		button: {
			// Since 16, Frappe asks for label and description of every row, shown or not, loaded or not.
			show: ({ name }) => Boolean(states[name]?.may_connect) && states[name].status !== "Connected",
			get_label: ({ name }) => (is_connected_before(name) ? __("Reconnect") : __("Connect")),
			get_description: ({ name, provider_name }) =>
				is_connected_before(name)
					? __("Reconnect to {0}", [connected_app.safe(provider_name)])
					: __("Connect to {0}", [connected_app.safe(provider_name)]),
			action: ({ name }) => {
				const { is_one, account_id } = states[name];
				return connected_app.connect(name, is_one || !account_id ? {} : { account: account_id });
			},
		},
	};
})();
