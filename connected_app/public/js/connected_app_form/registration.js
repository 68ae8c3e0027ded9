// The registration of this client.
(() => {
	const { form, element, local_time } = connected_app;

	form.registration = {
		view: (_frm, { registration }) => registration,

		draw(frm, registration) {
			const $field = frm.get_field("registration_html").$wrapper.empty();
			if (!registration) return;
			const texts = words(registration);
			if (!texts.length && !registration.shared_with.length) return;
			const $box = element("div", { class: "connected-app-registration small" });
			for (const text of texts) $box.append(element("p", { text, dir: "auto" }));
			if (registration.shared_with.length) $box.append(others(registration.shared_with));
			if (registration.kind) $box.append(details(registration.details));
			$field.append($box);
		},
	};

	function words({ kind, endpoint, registered_on, can_be_changed }) {
		if (kind === "Published") {
			return [
				__(
					"This site introduces itself by the document at its Client ID, which the server reads. It needs no secret, and follows what is set here."
				),
			];
		}
		if (kind !== "Registered") return [];
		return [
			__("This site registered itself on {0} at {1}", [local_time(registered_on), endpoint]),
			can_be_changed
				? __(
						"It is changed there when the Redirect URI is renewed, and deleted there with this Connected App."
				  )
				: __("The server does not let this site change or delete it: that is done there by hand."),
		];
	}

	function others(apps) {
		const links = apps.map(({ name, provider_name }) =>
			element("a", { href: frappe.utils.get_form_link("Connected App", name), text: provider_name })
		);
		const $line = element("p", { text: `${__("The same client is used by:")} ` });
		links.forEach(($link, index) => $line.append(index ? ", " : "", $link));
		return $line;
	}

	const details = (registered) =>
		element(
			"details",
			{},
			element("summary", { text: __("What Is Registered") }),
			element("pre", { dir: "ltr", text: JSON.stringify(registered, null, 2) })
		);
})();
