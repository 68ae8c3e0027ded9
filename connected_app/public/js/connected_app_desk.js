// Shared by the forms and lists of Connected App and Token Cache: words for a state, and the actions.
frappe.provide("connected_app");

Object.assign(connected_app, {
	COLOURS: {
		Connected: "green",
		"Not Connected": "gray",
		"Reconnect Required": "red",
		"Temporarily Failing": "orange",
	},

	safe: (value) => frappe.utils.escape_html(String(value ?? "")),

	// A jQuery element. `text` is text, `html` is safe HTML, the rest are attributes.
	element(tag, { text, html, click, ...attributes } = {}, ...children) {
		const $element = $(document.createElement(tag)).attr(attributes);
		if (text !== undefined) $element.text(text);
		if (html !== undefined) $element.html(html);
		if (click) $element.on("click", click);
		return $element.append(...children);
	},

	button(text, click, { look = "btn-default btn-sm", ...attributes } = {}) {
		return connected_app.element("button", { type: "button", class: `btn ${look}`, text, click, ...attributes });
	},

	async call(method, args, options = {}) {
		const response = await frappe.call({ method: `connected_app.api.${method}`, args, ...options });
		return response.message;
	},

	// Notify other tabs, and this one, that a connection was made or ended.
	changes: window.BroadcastChannel ? new BroadcastChannel("connected_app") : null,

	tell_change() {
		connected_app.changes?.postMessage("changed");
	},

	// Times are UTC without a zone.
	local_time(utc) {
		const time = new Date(`${String(utc).slice(0, 19).replace(" ", "T")}Z`);
		if (isNaN(time)) return String(utc);
		const language = (frappe.boot.lang || "en").replace("_", "-");
		return time.toLocaleString(language, { dateStyle: "medium", timeStyle: "short" });
	},

	// When a provider template was last checked, and whether its sources agree.
	when_checked({ checked_on, confidence }) {
		if (!checked_on) return __("Never checked");
		const day = frappe.datetime.str_to_user(checked_on);
		const sentences = {
			high: __("Checked on {0}, well confirmed", [day]),
			medium: __("Checked on {0}, partly confirmed", [day]),
			low: __("Checked on {0}, unconfirmed", [day]),
		};
		return sentences[confidence] || __("Checked on {0}", [day]);
	},

	status_words(status) {
		const words = {
			Connected: __("Connected"),
			"Not Connected": __("Not Connected"),
			"Reconnect Required": __("Reconnect Required"),
			"Temporarily Failing": __("Temporarily Failing"),
		};
		return words[status] || status;
	},

	headline({ status, account_name, account_id, failing_since }) {
		const account = account_name || account_id;
		if (status === "Connected" && account) return __("Connected as {0}", [account]);
		if (status === "Temporarily Failing" && failing_since) {
			return __("Temporarily Failing since {0}", [connected_app.local_time(failing_since)]);
		}
		return connected_app.status_words(status);
	},

	// A summary of several accounts, in one line.
	headline_of_all(accounts) {
		const worst = connected_app.worst(accounts);
		if (accounts.length === 1 || worst.status !== "Connected") return connected_app.headline(worst);
		return __("{0} accounts connected", [accounts.length]);
	},

	worst(accounts) {
		const order = ["Reconnect Required", "Temporarily Failing", "Connected", "Not Connected"];
		const rank = ({ status }) => order.indexOf(status);
		return accounts.reduce((worst, each) => (rank(each) < rank(worst) ? each : worst));
	},

	pill(connection, text) {
		const colour = connected_app.COLOURS[connection.status] || "gray";
		const words = connected_app.safe(text || connected_app.headline(connection));
		return `<span class="indicator-pill ${colour} connected-app-pill"><span>${words}</span></span>`;
	},

	// Call this within the click: popup blockers refuse a tab that is opened later.
	// `which`: for several accounts, `account` or `another`.
	async connect(name, which = {}) {
		const tab = window.open("", "_blank");
		if (tab) tab.opener = null;
		try {
			const url = await connected_app.call("authorize", { connected_app: name, ...which });
			if (!url) throw new Error("no consent URL");
			if (tab) tab.location.replace(url);
			else window.location.assign(url);
		} catch (error) {
			// Frappe has shown the reason already.
			tab?.close();
		}
	},

	// For sites to which no browser can be sent back. Resolves to whether there is a new connection.
	async connect_with_code(name) {
		const begin = async () => {
			const begun = await connected_app.call("connect_with_code", { connected_app: name }, { freeze: true });
			if (!begun) throw new Error("no code");
			return begun;
		};
		let message;
		try {
			message = await connected_app.enter_code(begin);
		} catch (error) {
			// Frappe has shown the reason already.
			return false;
		}
		if (message === null) return false;
		frappe.msgprint({ title: __("Connected"), message, indicator: "green" });
		connected_app.tell_change();
		return true;
	},

	async make_default(name, account, user) {
		const args = { connected_app: name, account, ...(user && { user }) };
		// Frappe shows the reason of a refusal.
		const done = await connected_app.call("make_default", args, { freeze: true }).then(
			() => true,
			() => false
		);
		if (done) connected_app.tell_change();
		return done;
	},

	// `account`: of several, the `id`, the `title`, and `is_needed` if it is the default one and there are others.
	disconnect(name, provider, user, account) {
		const whose = user && user !== frappe.session.user ? user : null;
		let question = whose
			? __(
					"Disconnect {0} from {1}? The tokens are deleted here and, where the provider offers it, revoked there.",
					[connected_app.safe(whose), connected_app.safe(provider)]
			  )
			: __(
					"Disconnect from {0}? The tokens are deleted here and, where the provider offers it, revoked there.",
					[connected_app.safe(provider)]
			  );
		if (account?.title) {
			const title = `<b>${connected_app.safe(account.title)}</b>`;
			question = `<p>${question}</p><p>${__("Account: {0}", [title])}</p>`;
			if (account.is_needed) {
				question += `<p>${__("It is the default account, and no other takes its place by itself.")}</p>`;
			}
		}
		return new Promise((resolve) => {
			frappe.confirm(
				question,
				async () => {
					const args = {
						connected_app: name,
						...(whose && { user: whose }),
						...(account?.id && { account: account.id }),
					};
					const answer = await connected_app.call("disconnect", args, { freeze: true });
					if (answer) {
						const message = answer.revoked
							? __("Disconnected, and revoked at the provider.")
							: __(
									"Disconnected here. The provider did not confirm that it revoked the access: you can remove it in your account there."
							  );
						frappe.show_alert({ message, indicator: answer.revoked ? "green" : "orange" });
						connected_app.tell_change();
					}
					resolve(Boolean(answer));
				},
				() => resolve(false)
			);
		});
	},

	async test(name, method = "test_connection", which = {}) {
		const result = await connected_app.call(
			method,
			{ connected_app: name, ...which },
			{ freeze: true, freeze_message: __("Asking the provider…") }
		);
		if (!result) return;
		const { safe } = connected_app;
		const lines = [safe(result.message)];
		if (result.account) lines.push(__("Account: {0}", [`<b>${safe(result.account)}</b>`]));
		if (result.action) lines.push(safe(result.action));
		if (result.code) lines.push(`<code>${safe(result.code)}</code>`);
		frappe.msgprint({
			title: __("Test Connection"),
			message: lines.map((line) => `<p>${line}</p>`).join(""),
			indicator: result.ok ? "green" : "red",
		});
		connected_app.tell_change();
	},
});

// Desk's user menus. The navigation bar of Frappe 15 and the sidebar of 16 are made from the same list, after this script has
// run; the desktop of Frappe 16 has its own entries.
(() => {
	const route = "/my-connections";
	const menu = frappe.boot?.navbar_settings?.settings_dropdown;
	const label = __("My Connections");
	if (menu && !menu.some((item) => item.route === route)) {
		menu.splice(1, 0, { item_label: label, item_type: "Route", route, url: route, icon: "link" });
	}
	$(document).on("desktop_screen", (_event, { desktop }) => {
		desktop?.add_menu_item?.({ label, url: route, icon: "link" });
	});
})();
