// The buttons of /connect. Frappe puts this file into the page.
(() => {
	const page = document.getElementById("connected-app-page");
	if (!page) return;
	const { app, here, working, failed, confirm: question, notRevoked } = page.dataset;
	const status = document.getElementById("connected-app-status");
	const connect = document.getElementById("connected-app-connect");
	const disconnect = document.getElementById("connected-app-disconnect");
	const buttons = [connect, disconnect].filter(Boolean);

	for (const time of page.querySelectorAll("time")) {
		const when = new Date(time.dateTime);
		if (!isNaN(when)) time.textContent = when.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
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

	async function attempt(action) {
		for (const button of buttons) button.disabled = true;
		status.textContent = working;
		try {
			await action();
		} catch (error) {
			status.textContent = error.message || failed;
			for (const button of buttons) button.disabled = false;
		}
	}

	connect?.addEventListener("click", () =>
		attempt(async () => {
			window.location.assign(await post("authorize", { connected_app: app, success_uri: here }));
		})
	);

	disconnect?.addEventListener("click", () => {
		if (!window.confirm(question)) return;
		attempt(async () => {
			const { revoked } = await post("disconnect", { connected_app: app });
			if (!revoked) window.alert(notRevoked);
			window.location.replace(here);
		});
	});

	// Until here a tap would have done nothing.
	for (const button of buttons) button.disabled = false;

	// Coming back with the browser's Back button shows the page as it was left.
	window.addEventListener("pageshow", (event) => {
		if (event.persisted) window.location.reload();
	});
})();
