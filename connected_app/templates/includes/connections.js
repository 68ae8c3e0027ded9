// The buttons of My Connections and /connect. The cards come from the server, and are fetched again after a change.
(() => {
	const page = document.getElementById("connected-app-page");
	if (!page) return;
	const { here, working, failed, revoked: saidRevoked, notRevoked } = page.dataset;
	const status = document.getElementById("connected-app-status");
	const question = document.getElementById("connected-app-question");
	const buttons = () => page.querySelectorAll("[data-action]");

	// Until this script runs, a tap would do nothing.
	function wake() {
		for (const time of page.querySelectorAll("time")) {
			const when = new Date(time.dateTime);
			if (isNaN(when)) continue;
			time.textContent = when.toLocaleString(document.documentElement.lang || [], {
				dateStyle: "medium",
				timeStyle: "short",
			});
		}
		for (const button of buttons()) button.disabled = false;
	}

	// Frappe sends messages as JSON within JSON, and as HTML.
	function reason(body) {
		try {
			const html = JSON.parse(JSON.parse(body._server_messages)[0]).message;
			return new DOMParser().parseFromString(html, "text/html").body.textContent || failed;
		} catch (error) {
			return failed;
		}
	}

	async function post(method, args) {
		const response = await fetch(`/api/method/connected_app.api.${method}`, {
			method: "POST",
			credentials: "same-origin",
			headers: {
				Accept: "application/json",
				"Content-Type": "application/json",
				"X-Frappe-CSRF-Token": frappe.csrf_token || "",
			},
			body: JSON.stringify(args),
		});
		const body = await response.json().catch(() => ({}));
		if (!response.ok) throw new Error(reason(body));
		return body.message;
	}

	async function refresh() {
		const response = await fetch(here, { credentials: "same-origin" });
		const fresh = new DOMParser()
			.parseFromString(await response.text(), "text/html")
			.getElementById("connected-app-cards");
		// Logged out, or no longer allowed: show the site's own page.
		if (!response.ok || !fresh) return window.location.replace(here);
		document.getElementById("connected-app-cards").replaceWith(fresh);
		wake();
	}

	// For one of several accounts its own element; if that is gone, the app's.
	function titleOf(app, account) {
		const card = `[data-app="${CSS.escape(app)}"]`;
		const found = account && page.querySelector(`${card} [data-account="${CSS.escape(account)}"] h3`);
		return found || page.querySelector(`${card} h2`);
	}

	async function attempt(action) {
		for (const button of buttons()) button.disabled = true;
		status.textContent = working;
		try {
			await action();
		} catch (error) {
			// A TypeError is the browser's own: there is no network, for one.
			status.textContent = error instanceof TypeError ? failed : error.message || failed;
			wake();
		}
	}

	// `which`: for several accounts, `account` or `another`.
	function connect(app, which = {}) {
		return attempt(async () => {
			window.location.assign(await post("authorize", { connected_app: app, success_uri: here, ...which }));
		});
	}

	function makeDefault(app, account, button) {
		return attempt(async () => {
			await post("make_default", { connected_app: app, account });
			changes?.postMessage("changed");
			await refresh();
			status.textContent = button.dataset.done;
			titleOf(app, account)?.focus();
		});
	}

	function connectWithCode(app, button) {
		return attempt(async () => {
			const message = await connected_app.enter_code(() => post("connect_with_code", { connected_app: app }));
			status.textContent = "";
			if (message === null) {
				wake();
				return button.focus();
			}
			changes?.postMessage("connected");
			const link = new DOMParser().parseFromString(message, "text/html").querySelector("a");
			// Another account than before: that page asks the user.
			if (link) return window.location.assign(link.getAttribute("href"));
			await refresh();
			// The card shows what was granted.
			const lines = new DOMParser().parseFromString(message.split("<br>")[0], "text/html");
			status.textContent = lines.body.textContent;
			titleOf(app)?.focus();
		});
	}

	// The account that was just connected, or the previous one.
	function choose(app, replace, account) {
		return attempt(async () => {
			const { location } = await post("choose_account", { connected_app: app, replace, account });
			changes?.postMessage("connected");
			window.location.assign(location);
		});
	}

	async function disconnect(app, which, button) {
		document.getElementById("connected-app-question-title").textContent = button.dataset.question;
		const warning = document.getElementById("connected-app-question-warning");
		warning.textContent = button.dataset.warning || "";
		warning.hidden = !warning.textContent;
		question.returnValue = "";
		question.showModal();
		await new Promise((resolve) => question.addEventListener("close", resolve, { once: true }));
		if (question.returnValue !== "yes") return button.focus();
		await attempt(async () => {
			const { revoked } = await post("disconnect", { connected_app: app, ...which });
			changes?.postMessage("disconnected");
			await refresh();
			status.textContent = revoked ? saidRevoked : notRevoked;
			titleOf(app)?.focus();
		});
	}

	page.addEventListener("click", (event) => {
		const button = event.target.closest("[data-action]");
		if (!button) return;
		const { app } = button.closest("[data-app]").dataset;
		const { account } = button.closest("[data-account]")?.dataset ?? {};
		const which = account ? { account } : {};
		const actions = {
			connect: () => connect(app, which),
			another: () => connect(app, { another: 1 }),
			default: () => makeDefault(app, account, button),
			disconnect: () => disconnect(app, which, button),
			code: () => connectWithCode(app, button),
			keep: () => choose(app, 0, account),
			replace: () => choose(app, 1, account),
		};
		actions[button.dataset.action]();
	});

	// Another tab has connected or disconnected something.
	const changes = window.BroadcastChannel ? new BroadcastChannel("connected_app") : null;
	changes?.addEventListener("message", () => {
		if (question && !question.open) refresh();
	});

	// The browser's Back button shows an old state of the page.
	window.addEventListener("pageshow", (event) => {
		if (event.persisted) window.location.reload();
	});

	wake();
})();
