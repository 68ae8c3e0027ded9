// Shows, once, the message that the OAuth callback left for the user. Runs in Desk and on the website. The cookie only says
// that there is a message; its text comes with the session.
(() => {
	const COOKIE = "connected_app_message";
	// Desk closes open dialogs while it draws its first page, so the message waits for that.
	const DESK_SETTLES = 800;

	function cookie(name) {
		const found = document.cookie.split("; ").find((part) => part.startsWith(`${name}=`));
		return found ? decodeURIComponent(found.slice(name.length + 1)) : "";
	}

	async function take_message() {
		const response = await fetch("/api/method/connected_app.api.take_message", {
			method: "POST",
			credentials: "same-origin",
			headers: {
				Accept: "application/json",
				"Content-Type": "application/json",
				"X-Frappe-CSRF-Token": frappe.csrf_token || "",
			},
			body: "{}",
		});
		return response.ok ? (await response.json()).message : null;
	}

	async function show() {
		const user = cookie("user_id");
		if (!cookie(COOKIE) || !user || user === "Guest") return;
		document.cookie = `${COOKIE}=; Max-Age=0; path=/; SameSite=Lax`;
		try {
			const message = await take_message();
			if (!message) return;
			// The tab in which the user clicked Connect updates at once, even in the background.
			if (window.BroadcastChannel) new BroadcastChannel("connected_app").postMessage("connected");
			if (frappe.router) await new Promise((resolve) => setTimeout(resolve, DESK_SETTLES));
			frappe.msgprint({
				title: message.title,
				message: message.message,
				indicator: message.indicator,
			});
		} catch (error) {
			// A lost message is no error: the page itself shows the state of the connection.
			return;
		}
	}

	if (document.readyState === "complete") show();
	else window.addEventListener("load", show, { once: true });
})();
