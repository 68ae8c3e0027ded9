// The steps of the set-up, until somebody is connected: which are done, and which is next.
(() => {
	const { form, safe, element, button } = connected_app;
	const outside = { target: "_blank", rel: "noopener noreferrer" };

	form.steps = {
		// Null: hidden, until it is known that nobody is connected yet, and again once somebody is.
		view(frm, state) {
			const shown = form.may_write(frm) && (frm.is_new() || (state.connection && !form.is_in_use(state)));
			return shown ? steps(frm, state) : null;
		},

		draw(frm, view) {
			frm.toggle_display("setup_html", Boolean(view));
			const $wrapper = frm.get_field("setup_html").$wrapper.empty();
			// Frappe's links to related documents would be above the steps.
			if (view) frm.dashboard.hide();
			else if (!frm.is_new()) frm.dashboard.show();
			if (!view) return;
			const next = view.find((step) => !step.done);
			const $list = element("ol", { class: "connected-app-steps" }).appendTo($wrapper);
			for (const step of view) $list.append(item(frm, step, step === next));
		},
	};

	// `button`: the name of an action in `ACTIONS`.
	function steps(frm, state) {
		const { doc } = frm;
		const template = form.provider.template(frm);
		return [
			template ? filled_in(frm, template) : described(frm),
			register(frm, template),
			needs_consent(frm) ? credentials(frm) : key_file(frm),
			{
				title: __("Choose the scopes"),
				field: "scopes",
				done: (doc.scopes || []).some((row) => row.scope) || Boolean(template && !template.scopes.length),
				text: template
					? __("Tick what this site may do there.")
					: __(
							"What this site may do there, one scope a row. With openid and email, the connected account is shown by name."
					  ),
			},
			{
				title: __("Save"),
				field: "provider_name",
				done: !frm.is_new() && !frm.is_dirty(),
				text: __("Save. Check Configuration then finds mistakes without connecting."),
			},
			needs_consent(frm) || doc.acts_for_users ? connect(frm, state) : tried(frm, state),
		];
	}

	function credentials({ doc }) {
		return {
			title: __("Paste Client ID and Client Secret"),
			field: "client_id",
			done: Boolean(doc.client_id && (doc.client_secret || doc.signing_key || doc.client_authentication === "None")),
			text: __("The provider shows both when the client has been created, the secret often only once."),
		};
	}

	function key_file({ doc }) {
		return {
			title: __("Take the key file of the service account"),
			field: "grant_type",
			done: Boolean(doc.client_id && doc.signing_key),
			text: __(
				"The provider gives it when a key is made for the service account. Where it is a private key alone, enter Client ID, too."
			),
		};
	}

	function connect(frm, state) {
		const { doc } = frm;
		return {
			title: __("Connect"),
			field: "connection_html",
			done: form.is_in_use(state),
			text: how_to_connect(doc),
			button: state.connection?.may_connect && ["connect", __("Connect to {0}", [doc.provider_name])],
		};
	}

	function how_to_connect({ enabled, connection_is, grant_type }) {
		if (!enabled) return __("Nobody can connect while the app is disabled: tick Enabled, and save.");
		if (connection_is === "Shared" && (!grant_type || grant_type === "User Consent")) {
			return __(
				"Check Configuration finds mistakes without connecting. Then connect the account that is shared by all who may connect."
			);
		}
		return __(
			"Check Configuration finds mistakes without connecting. Then connect your own account to try it. Every user connects an account of their own."
		);
	}

	function tried(_frm, state) {
		return {
			title: __("Test Service Account"),
			field: "grant_type",
			done: form.is_in_use(state),
			text: __("The service account acts for itself: nobody has to connect."),
		};
	}

	const is_consent = ({ doc }) => !doc.grant_type || doc.grant_type === "User Consent";
	const needs_consent = ({ doc }) => doc.grant_type !== "Service Account";
	const is_described = (frm) =>
		Boolean(
			frm.doc.provider_name && frm.doc.token_uri && (frm.doc.authorization_uri || !is_consent(frm))
		);

	function filled_in(frm, template) {
		const name = safe(template.name);
		const is_complete = form.provider.is_complete(frm);
		const fill = is_complete && !is_described(frm);
		let text = __("Enter below Provider what {0} has to know. The template then fills in the rest.", [name]);
		if (fill) text = __("Fill in the form from the template of {0}.", [name]);
		else if (is_complete) text = __("The endpoints of {0} are filled in from its template. Save, to go on.", [name]);
		return {
			title: __("Pick the provider"),
			field: "provider",
			done: is_complete && is_described(frm) && !frm.is_new(),
			text,
			button: fill && ["fill", __("Fill In from the Template")],
		};
	}

	function described(frm) {
		const done = is_described(frm);
		const discover = !frm.is_new() && frm.doc.openid_configuration && !done;
		return {
			title: __("Describe the provider"),
			field: "provider",
			done: done && !frm.is_new(),
			text: discover
				? __("Let this site read the provider's endpoints from its OpenID Configuration.")
				: __(
						"Pick it under Provider. If it is not in the list, enter Provider Name and, under Endpoints, the address of its OpenID Configuration, or Authorization URI and Token URI. Then save."
				  ),
			button: discover && ["discover", __("Get OpenID Configuration")],
		};
	}

	function register(frm, template) {
		const { doc } = frm;
		const address = template?.register ? form.provider.address(frm, template.register) : "";
		return {
			title: __("Create credentials at the provider"),
			field: "redirect_uri",
			done: Boolean(doc.client_id),
			text: needs_consent(frm)
				? __(
						"In the developer console of {0}, create an OAuth client for a web application, with exactly these addresses:",
						[safe(doc.provider_name)]
				  )
				: __("In the developer console of {0}, make a service account and a key for it.", [
						safe(doc.provider_name),
				  ]),
			links: [
				[__("Open the developer console"), address],
				[
					__("The provider's documentation"),
					template?.guide ? form.provider.address(frm, template.guide) : "",
				],
			].filter(([, href]) => href),
			notes: template?.notes || [],
			addresses: needs_consent(frm) && [
				[__("Redirect URI"), doc.redirect_uri],
				[__("JavaScript Origin (only where it is asked for)"), form.redirect_uri.origin(frm)],
			],
		};
	}

	const ACTIONS = {
		fill: (frm) => form.provider.fill(frm),
		discover: (frm) => form.configuration.discover(frm),
		connect: (frm) => form.connection.connect(frm),
	};

	function item(frm, step, is_next) {
		const state = step.done ? __("Done") : is_next ? __("Next") : __("Later");
		const $body = element(
			"div",
			{ class: "step-body" },
			button(step.title, () => frm.scroll_to_field(step.field), { look: "btn-link step-title" }),
			element("span", { class: "sr-only", text: ` (${state})` })
		);
		const mark = step.done ? "✓" : is_next ? "→" : "";
		const $mark = element("span", { class: "step-mark", "aria-hidden": "true", text: mark });
		const $item = element("li", {}, $mark, $body).toggleClass("done", step.done).toggleClass("next", is_next);
		if (!is_next) return $item;
		$item.attr("aria-current", "step");
		$body.append(element("p", { html: step.text }));
		for (const [label, address] of step.addresses || []) {
			if (address) $body.append(address_row(label, address));
		}
		for (const text of step.notes || []) $body.append(element("p", { class: "text-muted", text }));
		if (step.links?.length) {
			const links = step.links.map(([text, href]) => element("a", { href, text, ...outside }));
			$body.append(element("p", { class: "connected-app-links" }, ...links));
		}
		if (step.button) {
			const [action, label] = step.button;
			const $button = button(label, () => ACTIONS[action](frm), { look: "btn-primary btn-sm" });
			$body.append(element("div", { class: "connected-app-buttons" }, $button));
		}
		return $item;
	}

	const address_row = (label, address) =>
		element(
			"div",
			{ class: "connected-app-address" },
			element("span", { text: label }),
			element("code", { text: address }),
			form.redirect_uri.copy_button(address, __("Copy {0}", [label]))
		);
})();
