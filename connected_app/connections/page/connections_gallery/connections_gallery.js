// The gallery: the Connected Apps of this site with their state, and all providers that can be connected by name.
(() => {
	const { element, call, when_checked } = connected_app;

	// In the order in which they are shown.
	const CATEGORIES = () => ({
		mail: __("Mail"),
		files: __("Files"),
		calendar: __("Calendars"),
		office: __("Office"),
		crm: __("Customers (CRM)"),
		accounting: __("Accounting"),
		payments: __("Payments"),
		commerce: __("Shops"),
		marketplace: __("Marketplaces"),
		marketing: __("Marketing"),
		advertising: __("Advertising"),
		social: __("Social Media"),
		messaging: __("Messaging"),
		meetings: __("Meetings"),
		project: __("Projects"),
		developer: __("Developer Tools"),
		identity: __("Sign-In"),
		hr: __("Human Resources"),
		support: __("Customer Support"),
		logistics: __("Logistics"),
		health: __("Health and Fitness"),
		banking: __("Banking"),
		analytics: __("Analytics"),
		cms: __("Websites (CMS)"),
		signing: __("Signatures"),
		education: __("Education"),
		other: __("Others"),
	});

	frappe.pages["connections-gallery"].on_page_load = (wrapper) => {
		const page = frappe.ui.make_app_page({ parent: wrapper, title: __("Providers"), single_column: true });
		wrapper.gallery = new Gallery(page);
	};

	// New connections show without a reload.
	frappe.pages["connections-gallery"].on_page_show = (wrapper) => wrapper.gallery.load();

	class Gallery {
		constructor(page) {
			const [new_app, by_address] = [__("New Connected App"), __("Connect by Address")];
			// A phone shows the icons alone. Frappe 15 and 16 both have these.
			page
				.set_primary_action(new_app, () => frappe.new_doc("Connected App"), "add")
				.attr("title", new_app);
			page
				.set_secondary_action(by_address, () => new AddressDialog(), "link-url")
				.attr("title", by_address);
			this.$apps = element("div");
			this.$search = element("input", {
				type: "search",
				class: "form-control",
				placeholder: __("Search by name"),
				"aria-label": __("Search by name"),
			}).on("input", () => this.show_providers());
			this.$category = element("select", {
				class: "form-control",
				"aria-label": __("Category"),
			}).on("change", () => this.show_providers());
			this.$number = element("p", { class: "text-muted small mt-2", role: "status" });
			this.$providers = element("div");
			element(
				"div",
				{ class: "connections-gallery" },
				this.$apps,
				element("div", { class: "gallery-filters" }, this.$search, this.$category),
				this.$number,
				this.$providers
			).appendTo(page.main);
		}

		async load() {
			const found = await call("provider_gallery", {}, { type: "GET" });
			if (!found) return;
			Object.assign(this, found);
			this.show_apps();
			this.show_categories();
			this.show_providers();
		}

		show_apps() {
			this.$apps.empty();
			if (!this.apps.length) return;
			const cards = this.apps.map((app) => app_card(app));
			this.$apps.append(
				element("h4", { text: __("On this site") }),
				element("ul", { class: "gallery-cards" }, ...cards)
			);
		}

		show_categories() {
			const chosen = this.$category.val();
			const numbers = {};
			for (const { category } of this.providers) numbers[category] = (numbers[category] || 0) + 1;
			this.$category.empty().append(element("option", { value: "", text: __("All categories") }));
			for (const [category, words] of Object.entries(CATEGORIES())) {
				if (!numbers[category]) continue;
				const text = `${words} (${numbers[category]})`;
				this.$category.append(element("option", { value: category, text }));
			}
			this.$category.val(chosen || "");
		}

		show_providers() {
			const categories = CATEGORIES();
			const words = this.$search.val().toLocaleLowerCase().split(/\s+/).filter(Boolean);
			const category = this.$category.val();
			const found = this.providers.filter((provider) => {
				if (category && provider.category !== category) return false;
				const text = `${provider.name} ${provider.key} ${categories[provider.category]}`.toLocaleLowerCase();
				return words.every((word) => text.includes(word));
			});
			this.$number.text(found.length === 1 ? __("1 provider") : __("{0} providers", [found.length]));
			this.$providers.empty();
			if (!found.length) this.$providers.append(nothing_found());
			const of_site = {};
			for (const { provider } of this.apps) of_site[provider] = (of_site[provider] || 0) + 1;
			for (const [key, title] of Object.entries(categories)) {
				const cards = found.filter((provider) => provider.category === key);
				if (!cards.length) continue;
				this.$providers.append(
					element("h4", { text: title }),
					element("ul", { class: "gallery-cards" }, ...cards.map((each) => provider_card(each, of_site)))
				);
			}
		}
	}

	const nothing_found = () =>
		element("p", {
			text: __(
				"No provider of that name is known. Any service with OAuth 2.0 can be connected: choose Connect by Address, or New Connected App, and fill in its addresses."
			),
		});

	// The address of an API or a server: first show what is there, then make the Connected App.
	class AddressDialog {
		constructor() {
			this.dialog = new frappe.ui.Dialog({
				title: __("Connect by Address"),
				fields: [
					{
						fieldname: "address",
						fieldtype: "Data",
						label: __("Address"),
						reqd: 1,
						description: __(
							"Of an API or a server, for example: https://mcp.example.com/mcp. It is asked where tokens for it come from; nothing is stored yet."
						),
						// Frappe also says so when the cursor leaves the field.
						change: () => {
							if (this.offer && this.dialog.get_value("address") !== this.asked) this.show_offer(null);
						},
					},
					{ fieldname: "offer_html", fieldtype: "HTML" },
					{
						fieldname: "provider_name",
						fieldtype: "Data",
						label: __("Provider Name"),
						description: __("The name that people see on the button Connect to …"),
					},
				],
				primary_action_label: __("Look It Up"),
				primary_action: () => this.go_on(),
			});
			this.show_offer(null);
			this.dialog.show();
		}

		show_offer(offer) {
			this.offer = offer;
			const { dialog } = this;
			dialog.get_field("offer_html").$wrapper.empty();
			dialog.set_df_property("provider_name", "hidden", !offer || offer.exists ? 1 : 0);
			if (!offer) return dialog.set_primary_action(__("Look It Up"), () => this.go_on());
			dialog.get_field("offer_html").$wrapper.append(offer_summary(offer));
			dialog.set_value("provider_name", offer.name);
			dialog.set_primary_action(offer.exists ? __("Open") : __("Set Up"), () => this.go_on());
		}

		async go_on() {
			const address = this.dialog.get_value("address");
			if (!address) return;
			if (this.offer?.exists) return this.open(this.offer.exists);
			try {
				if (!this.offer) {
					const options = { freeze: true, freeze_message: __("Asking the server…") };
					this.asked = address;
					return this.show_offer(await call("address_offer", { address }, options));
				}
				const provider_name = this.dialog.get_value("provider_name") || "";
				const made = await call("set_up_address", { address, provider_name }, { freeze: true });
				this.open(made.name);
			} catch (error) {
				// Frappe has shown the reason already, and the dialog stays.
			}
		}

		open(name) {
			this.dialog.hide();
			frappe.set_route("Form", "Connected App", name);
		}
	}

	function offer_summary({ resource, issuer, scopes, exists, credentials, shared_with, endpoint }) {
		const rows = [];
		if (resource) rows.push([__("API"), resource]);
		rows.push([__("Authorization Server"), issuer]);
		if (scopes.length) rows.push([__("Scopes"), scopes.join(" ")]);
		const ways = {
			shared: __("The client that is registered there already, for {0}, is used here too.", [shared_with]),
			published: __("This site introduces itself by a document that it publishes. The server reads it."),
			registered: __("This site registers itself at {0}", [endpoint]),
			by_hand: __("This server does not register clients by itself. The form shows what to register there by hand."),
		};
		rows.push(
			exists ? [__("Connected App"), __("There is one for it already.")] : [__("Client"), ways[credentials]]
		);
		const list = element("dl", { class: "gallery-offer" });
		for (const [label, text] of rows)
			list.append(element("dt", { text: label }), element("dd", { text, dir: "auto" }));
		return list;
	}

	function app_card({ name, provider_name, enabled, total, broken, failing, ends_on }) {
		const facts = [];
		if (!enabled) facts.push(["gray", __("Disabled")]);
		else if (!total) facts.push(["gray", __("Nobody is connected")]);
		const working = total - broken - failing;
		if (working) facts.push(["green", __("{0} connected", [working])]);
		if (broken) facts.push(["red", __("{0} to reconnect", [broken])]);
		if (failing) facts.push(["orange", __("{0} failing", [failing])]);
		if (ends_on) facts.push(["orange", __("The first ends on {0}", [day(ends_on)])]);
		const href = frappe.utils.get_form_link("Connected App", name);
		const pills = facts.map(([colour, text]) =>
			element("span", { class: `indicator-pill ${colour} connected-app-pill` }, element("span", { text }))
		);
		return element(
			"li",
			{},
			element(
				"a",
				{ href, class: "gallery-card" },
				element("span", { class: "gallery-name", text: provider_name }),
				element("span", { class: "gallery-facts" }, ...pills)
			)
		);
	}

	function provider_card(template, of_site) {
		const { key, name, checked_on, checked_by, unsupported } = template;
		const parts = [element("span", { class: "gallery-name", text: name })];
		if (of_site[key]) {
			parts.push(element("span", { class: "small", text: __("Apps on this site: {0}", [of_site[key]]) }));
		}
		if (checked_on) {
			const [text, title] = [when_checked(template), checked_by.join(", ")];
			parts.push(element("span", { class: "small text-muted", text, title }));
		}
		if (unsupported) {
			parts.push(element("span", { class: "small", text: __("Cannot be connected: {0}", [unsupported]) }));
			return element("li", {}, element("div", { class: "gallery-card unsupported" }, ...parts));
		}
		const click = () => begin(key);
		return element("li", {}, element("button", { type: "button", class: "gallery-card", click }, ...parts));
	}

	// As frappe.new_doc does, which in Frappe 15 passes nothing to an Autocomplete field.
	function begin(provider) {
		frappe.model.with_doctype("Connected App", () => {
			const doc = frappe.model.get_new_doc("Connected App", null, null, true);
			doc.provider = provider;
			frappe.set_route("Form", "Connected App", doc.name);
		});
	}

	function day(date) {
		const language = (frappe.boot.lang || "en").replace("_", "-");
		return new Date(`${String(date).slice(0, 10)}T12:00:00`).toLocaleDateString(language, {
			dateStyle: "medium",
		});
	}
})();
