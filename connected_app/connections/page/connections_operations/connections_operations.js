// The health of this site's connections, for operators: what to do, and the numbers behind it.
(() => {
	const { element, call, status_words } = connected_app;

	const STATES = ["Connected", "Reconnect Required", "Temporarily Failing"];
	const COLOURS = { ok: "green", warning: "orange", error: "red" };
	// Milliseconds, while connections are being removed.
	const PAUSE = 3000;

	frappe.pages["connections-operations"].on_page_load = (wrapper) => {
		const page = frappe.ui.make_app_page({ parent: wrapper, title: __("Operations"), single_column: true });
		wrapper.operations = new Operations(page);
	};

	frappe.pages["connections-operations"].on_page_show = (wrapper) => wrapper.operations.load();

	class Operations {
		constructor(page) {
			page.set_secondary_action(__("Refresh"), () => this.load(), "refresh").attr("title", __("Refresh"));
			this.$all = element("div", { class: "connections-operations" }).appendTo(page.main);
		}

		async load() {
			clearTimeout(this.timer);
			const health = await call("health", {}, { type: "GET" });
			if (!health) return;
			this.$all
				.empty()
				.append(findings(health), apps(health.apps), ...ending(health.ending), ...background(health));
			// Only while the page is visible.
			if (health.ending.length && this.$all.is(":visible")) {
				this.timer = setTimeout(() => this.load(), PAUSE);
			}
		}
	}

	const title = (text) => element("h4", { text });
	const pill = (colour, text) =>
		element("span", { class: `indicator-pill ${colour} connected-app-pill` }, element("span", { text }));

	function findings({ level, findings }) {
		const words = {
			ok: __("All is well"),
			warning: __("Something is not as it should be"),
			error: __("Somebody has to act"),
		};
		const items = findings.map(({ level, message, action, app }) => {
			const link = app && { href: frappe.utils.get_form_link("Connected App", app) };
			const $text = element(
				"div",
				{},
				element(link ? "a" : "span", { class: "health-message", text: message, ...link }),
				element("div", { class: "text-muted", text: action })
			);
			return element("li", {}, pill(COLOURS[level], level === "error" ? __("Error") : __("Warning")), $text);
		});
		return element(
			"div",
			{ role: "status" },
			element("p", {}, pill(COLOURS[level], words[level])),
			element("ul", { class: "health-findings" }, ...items)
		);
	}

	function apps(apps) {
		if (!apps.length) return element("p", { text: __("There is no Connected App on this site yet.") });
		const heads = [
			__("Provider"),
			...STATES.map(status_words),
			__("Why they fail"),
			__("Overdue"),
			__("Refreshes"),
			__("Failed refreshes"),
		];
		const rows = apps.map((app) => {
			const href = frappe.utils.get_form_link("Connected App", app.name);
			const { "": good, ...failed } = app.refreshes || {};
			const $name = element("th", { scope: "row" }, element("a", { href, text: app.provider_name }));
			if (!app.enabled) $name.append(" ", pill("gray", __("Disabled")));
			return element(
				"tr",
				{},
				$name,
				...STATES.map((status) => element("td", { text: app.connections[status] || 0 })),
				element("td", { text: by_code(app.failures) }),
				element("td", { text: app.overdue ? period(app.overdue) : "" }),
				element("td", { text: app.refreshes ? good || 0 : "?" }),
				element("td", { text: by_code(failed) })
			);
		});
		const $heads = heads.map((text) => element("th", { scope: "col", text }));
		return element(
			"div",
			{ class: "health-table" },
			// In German, what Frappe calls Connections on a form has another word.
			title(__("Connections", null, "Token Cache")),
			element(
				"div",
				{ class: "table-responsive" },
				element(
					"table",
					{ class: "table table-bordered table-sm" },
					element("thead", {}, element("tr", {}, ...$heads)),
					element("tbody", {}, ...rows)
				)
			),
			element("p", {
				class: "text-muted small",
				text: __("Refreshes are counted since the site's Redis was started."),
			})
		);
	}

	function ending(rows) {
		if (!rows.length) return [];
		const items = rows.map(({ name, provider_name, total, ended }) => {
			const href = frappe.utils.get_form_link("Offboarding", name);
			const text = __("{0} of {1} removed", [ended, total]);
			return element(
				"li",
				{},
				element("a", { href, text: provider_name }),
				element("progress", { max: total || 1, value: ended, "aria-label": text }),
				element("span", { text })
			);
		});
		return [title(__("Connections that are being removed")), element("ul", { class: "health-ending" }, ...items)];
	}

	function background({ revocations, jobs, scheduler, workers }) {
		const { waiting, due, oldest } = revocations;
		const facts = [
			[__("Waiting to be revoked"), waiting ? __("{0}, of these {1} now", [waiting, due]) : "0"],
			...(waiting ? [[__("The oldest has waited"), period(oldest)]] : []),
			[__("Scheduler"), scheduler ? __("On") : __("Off")],
			[__("Workers of the queue {0}", ["long"]), workers ?? "?"],
			...jobs.map(({ method, ago, stopped }) => {
				const ran = ago === null ? __("has not run yet") : __("{0} ago", [period(ago)]);
				return [method, stopped ? __("stopped") : ran];
			}),
		];
		const $facts = facts.flatMap(([name, value]) => [
			element("dt", { text: name }),
			element("dd", { text: value }),
		]);
		return [title(__("In the background")), element("dl", { class: "health-facts" }, ...$facts)];
	}

	const by_code = (numbers) =>
		Object.entries(numbers)
			.map(([code, number]) => `${code}: ${number}`)
			.join(", ");

	function period(seconds) {
		if (seconds < 60) return __("{0} s", [seconds]);
		if (seconds < 7200) return __("{0} min", [Math.floor(seconds / 60)]);
		if (seconds < 172800) return __("{0} h", [Math.floor(seconds / 3600)]);
		return __("{0} days", [Math.floor(seconds / 86400)]);
	}
})();
