// The list shows the account also where Frappe has no room for its column: a user may have several.
frappe.listview_settings["Token Cache"] = {
	add_fields: ["account_name", "account_id"],

	formatters: {
		user(user, _df, { account_name, account_id }) {
			const { safe } = connected_app;
			const account = account_name || account_id;
			const is_shown = window.cur_list?.columns?.some(({ df }) => df?.fieldname === "account_name");
			const line = (text, look = "") =>
				`<div class="ellipsis ${look}" title="${safe(text)}">${safe(text)}</div>`;
			const lines = [line(user || ""), account && !is_shown ? line(account, "small") : ""].join("");
			return `<div class="connected-app-two-lines">${lines}</div>`;
		},
	},
};
