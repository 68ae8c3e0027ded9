// Frappe 16's My Account has no menu that an app can extend, so its link to My Connections is added here.
window.addEventListener("load", () => {
	const items = document.querySelector(".portal-container .portal-items");
	const label = frappe.boot?.connected_app_menu;
	if (location.pathname !== "/me" || !items || !label) return;
	if (document.querySelector('main a[href$="/my-connections"]')) return;
	// Looks like the entry above it.
	const section = [...items.querySelectorAll(".portal-section")].at(-1)?.cloneNode(true);
	const link = section?.querySelector("a");
	if (!link) return;
	link.href = "/my-connections";
	(link.querySelector(".item-link-text") || link).textContent = label;
	link.querySelector("use")?.setAttribute("href", "#icon-link-url");
	items.append(section);
});
