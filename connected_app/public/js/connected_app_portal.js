// Frappe 16's My Account has no menu that an app can add to: it gets its link to My Connections here.
window.addEventListener("load", () => {
	const items = document.querySelector(".portal-container .portal-items");
	const label = frappe.boot?.connected_app_menu;
	if (location.pathname !== "/me" || !items || !label) return;
	if (document.querySelector('main a[href$="/my-connections"]')) return;
	const section = document.createElement("div");
	section.className = "portal-section";
	const link = document.createElement("a");
	link.href = "/my-connections";
	link.textContent = label;
	section.append(link);
	items.append(section);
});
