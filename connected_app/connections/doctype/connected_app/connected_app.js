// The form of a Connected App: what an admin sets up, and the connection of whoever is looking at it.
// In a function of its own, so that its names stay its own however Frappe evaluates form scripts.
(() => {
	const { call, safe, local_time } = connected_app;
	const ENDPOINTS = [
		"openid_configuration",
		"authorization_uri",
		"token_uri",
		"revocation_uri",
		"introspection_uri",
		"userinfo_uri",
		"issuer",
		"jwks_uri",
	];
	const SHAPES_THE_STEPS = ["provider_name", "client_id", "client_secret", "client_authentication"];

	const handlers = {
		setup(frm) {
			watch_for_changes(frm);
		},

		refresh(frm) {
			if (!frm.is_dirty()) frm.was_enabled = frm.doc.enabled;
			frm.connection = null;
			frm.people = null;
			show_people(frm);
			show_steps(frm);
			show_copy_buttons(frm);
			add_admin_buttons(frm);
			if (!frm.is_new()) refresh_connection(frm);
		},

		before_save(frm) {
			if (frm.was_enabled && !frm.doc.enabled && frm.people?.total) return confirm_disabling(frm);
		},

		after_save(frm) {
			clear_findings(frm);
		},

		scopes_add: (frm) => show_steps(frm),
		scopes_remove: (frm) => show_steps(frm),
	};
	for (const fieldname of SHAPES_THE_STEPS) handlers[fieldname] = (frm) => show_steps(frm);
	for (const fieldname of ENDPOINTS) {
		handlers[fieldname] = (frm) => {
			show_address_error(frm, fieldname);
			show_steps(frm);
		};
	}
	frappe.ui.form.on("Connected App", handlers);

	const may_write = (frm) => Boolean(frm.perm[0]?.write);

	// Consent happens in another tab, which tells when it has landed. Where it cannot, the form looks when the user
	// comes back.
	function watch_for_changes(frm) {
		const look_again = () => {
			if (window.cur_frm !== frm || frm.is_new() || !frm.connection) return;
			refresh_connection(frm);
		};
		document.addEventListener("visibilitychange", () => {
			if (document.visibilityState === "visible") look_again();
		});
		window.addEventListener("focus", look_again);
		connected_app.changes?.addEventListener("message", look_again);
	}

	// The steps of the set-up

	function steps(frm) {
		const { doc } = frm;
		const described = Boolean(doc.provider_name && doc.authorization_uri && doc.token_uri);
		const discover = !frm.is_new() && doc.openid_configuration && !described;
		return [
			{
				title: __("Describe the provider"),
				field: "provider_name",
				done: described && !frm.is_new(),
				text: discover
					? __("Let this site read the provider's endpoints from its OpenID Configuration.")
					: __(
							"Enter Provider Name and, where the provider has one, the address of its OpenID Configuration; otherwise Authorization URI and Token URI under Endpoints. Then save."
					  ),
				button: discover && [__("Get OpenID Configuration"), () => get_openid_configuration(frm)],
			},
			{
				title: __("Create credentials at the provider"),
				field: "redirect_uri",
				done: Boolean(doc.client_id),
				text: __(
					"In the developer console of {0}, create an OAuth client for a web application, with exactly these addresses:",
					[safe(doc.provider_name)]
				),
				addresses: [
					[__("Redirect URI"), doc.redirect_uri],
					[__("JavaScript Origin (only where it is asked for)"), site_origin(frm)],
				],
			},
			{
				title: __("Paste Client ID and Client Secret"),
				field: "client_id",
				done: Boolean(doc.client_id && (doc.client_secret || doc.client_authentication === "None")),
				text: __("The provider shows both when the client has been created, the secret often only once."),
			},
			{
				title: __("Choose the scopes"),
				field: "scopes",
				done: (doc.scopes || []).some((row) => row.scope),
				text: __(
					"What this site may do there, one scope a row. With openid and email, the connected account is shown by name."
				),
			},
			{
				title: __("Save and check"),
				field: "provider_name",
				done: !frm.is_new() && !frm.is_dirty(),
				text: __("Save. Check Configuration then tells, without connecting, whether anything is wrong."),
			},
			{
				title: __("Connect"),
				field: "connection_html",
				done: is_in_use(frm),
				text: __("Connect your own account to try it. Every user connects an account of their own."),
				button: frm.connection?.may_connect && [
					__("Connect to {0}", [doc.provider_name]),
					() => connect(frm),
				],
			},
		];
	}

	const is_in_use = (frm) =>
		Boolean((frm.connection && frm.connection.status !== "Not Connected") || frm.people?.total);

	function show_steps(frm) {
		// Hidden until it is known that nobody is connected yet, and again once somebody is.
		const shown = may_write(frm) && (frm.is_new() || (frm.connection && !is_in_use(frm)));
		frm.toggle_display("setup_html", Boolean(shown));
		const $wrapper = frm.get_field("setup_html").$wrapper.empty();
		// Frappe's links to what has happened so far would stand above the steps.
		if (shown) frm.dashboard.hide();
		else if (!frm.is_new()) frm.dashboard.show();
		if (!shown) return;
		const all = steps(frm);
		const next = all.find((step) => !step.done);
		const $list = $(`<ol class="connected-app-steps"></ol>`).appendTo($wrapper);
		for (const step of all) $list.append(step_item(frm, step, step === next));
	}

	function step_item(frm, step, is_next) {
		const state = step.done ? __("Done") : is_next ? __("Next") : __("Later");
		const $item = $(`<li><span class="step-mark" aria-hidden="true"></span><div class="step-body"></div></li>`);
		$item.toggleClass("done", step.done).toggleClass("next", is_next);
		if (is_next) $item.attr("aria-current", "step");
		$item.find(".step-mark").text(step.done ? "✓" : is_next ? "→" : "");
		const $body = $item.find(".step-body");
		$(`<button type="button" class="btn btn-link step-title"></button>`)
			.text(step.title)
			.on("click", () => frm.scroll_to_field(step.field))
			.appendTo($body);
		$(`<span class="sr-only"></span>`).text(` (${state})`).appendTo($body);
		if (!is_next) return $item;
		$(`<p></p>`).html(step.text).appendTo($body);
		for (const [label, address] of step.addresses || []) {
			if (address) $body.append(address_row(label, address));
		}
		if (step.button) {
			const [label, action] = step.button;
			$(`<div class="connected-app-buttons"></div>`)
				.append($(`<button type="button" class="btn btn-primary btn-sm"></button>`).text(label).on("click", action))
				.appendTo($body);
		}
		return $item;
	}

	function address_row(label, address) {
		return $(`<div class="connected-app-address"></div>`)
			.append($(`<span></span>`).text(label))
			.append($(`<code></code>`).text(address))
			.append(copy_button(address, __("Copy {0}", [label])));
	}

	// Buttons for admins

	function add_admin_buttons(frm) {
		if (!may_write(frm)) return;
		const discover = () => get_openid_configuration(frm);
		if (frm.doc.token_uri) frm.page.add_menu_item(__("Get OpenID Configuration"), discover);
		else frm.add_custom_button(__("Get OpenID Configuration"), discover);
		if (!frm.is_new()) frm.add_custom_button(__("Check Configuration"), () => check_configuration(frm));
	}

	// The server reads the saved document, never what the browser sends.
	async function saved(frm) {
		if (frm.is_new() || frm.is_dirty()) await frm.save();
	}

	async function get_openid_configuration(frm) {
		if (!frm.doc.openid_configuration) {
			frm.scroll_to_field("openid_configuration");
			show_finding(frm, "openid_configuration", {
				level: "error",
				message: __("Enter the address of the provider's discovery document here first."),
			});
			return;
		}
		await saved(frm);
		const found = await call(
			"get_openid_configuration",
			{ connected_app: frm.doc.name },
			{ freeze: true, freeze_message: __("Asking the provider…") }
		);
		if (!found) return;
		await frm.set_value(found.values);
		report_discovery(frm, found);
	}

	function report_discovery(frm, { filled, missing }) {
		const paragraphs = [];
		if (filled.length) {
			paragraphs.push(__("Filled in: {0}", [safe(filled.join(", "))]));
		}
		if (missing.length) {
			paragraphs.push(__("Not published by this provider: {0}", [safe(missing.join(", "))]));
		}
		paragraphs.push(
			frm.is_dirty()
				? __("Please review the endpoints and save.")
				: __("Nothing changed: the endpoints were up to date.")
		);
		frappe.msgprint({
			title: __("OpenID Configuration"),
			message: paragraphs.map((text) => `<p>${text}</p>`).join(""),
			indicator: missing.length ? "orange" : "green",
		});
		frm.fields_dict.sb_endpoints_section?.collapse?.(false);
		show_steps(frm);
	}

	// Findings, in a dialog and beside the fields that cause them

	async function check_configuration(frm) {
		await saved(frm);
		clear_findings(frm);
		const findings = await call(
			"check_configuration",
			{ connected_app: frm.doc.name },
			{ freeze: true, freeze_message: __("Asking the provider…") }
		);
		if (!findings) return;
		for (const finding of findings) {
			if (finding.level !== "ok" && finding.field) show_finding(frm, finding.field, finding);
		}
		show_report(frm, findings);
	}

	function show_report(frm, findings) {
		const of = (level) => findings.filter((finding) => finding.level === level);
		const [errors, warnings, fine] = [of("error"), of("warning"), of("ok")];
		const dialog = new frappe.ui.Dialog({
			title: __("Check Configuration"),
			indicator: errors.length ? "red" : warnings.length ? "orange" : "green",
			fields: [{ fieldtype: "HTML", fieldname: "findings" }],
		});
		const $body = dialog.get_field("findings").$wrapper;
		if (!errors.length && !warnings.length) {
			$(`<p></p>`).text(__("Nothing is wrong, as far as can be seen without connecting.")).appendTo($body);
		}
		add_group(__("Must be fixed"), errors);
		add_group(__("Worth a look"), warnings);
		add_group(__("What works"), fine);
		dialog.show();

		function add_group(title, group) {
			if (!group.length) return;
			$(`<h4></h4>`).text(title).appendTo($body);
			const $list = $(`<ul class="connected-app-findings"></ul>`).appendTo($body);
			for (const finding of group) $list.append(item(finding));
		}

		function item({ field, message, action, level }) {
			const $item = $(`<li></li>`);
			if (level !== "ok" && frm.fields_dict[field]) {
				$(`<button type="button" class="btn btn-link"></button>`)
					.text(__(frm.fields_dict[field].df.label))
					.on("click", () => {
						dialog.hide();
						frm.scroll_to_field(field);
					})
					.appendTo($item);
			}
			$(`<div></div>`).text(message).appendTo($item);
			if (action) $(`<div class="text-muted"></div>`).text(action).appendTo($item);
			return $item;
		}
	}

	function show_finding(frm, fieldname, { level, message, action }) {
		const field = frm.fields_dict[fieldname];
		if (!field) return;
		clear_finding(field);
		const $wrapper = $(field.wrapper);
		const $text = $(`<div class="connected-app-finding" role="note"></div>`).addClass(level);
		$(`<div></div>`).text(message).appendTo($text);
		if (action) $(`<div class="text-muted"></div>`).text(action).appendTo($text);
		// In a table it would redden every row.
		$wrapper.toggleClass("has-error", level === "error" && field.df.fieldtype !== "Table").append($text);
		// What is folded away would hide it.
		field.section?.collapse?.(false);
		const $input = $wrapper.find("input, textarea, select").first();
		$input.one("input change", () => clear_finding(field));
	}

	function clear_finding(field) {
		$(field.wrapper).removeClass("has-error").children(".connected-app-finding").remove();
	}

	function clear_findings(frm) {
		for (const field of frm.fields) {
			if ($(field.wrapper).children(".connected-app-finding").length) clear_finding(field);
		}
	}

	function show_address_error(frm, fieldname) {
		const value = (frm.doc[fieldname] || "").trim();
		let message = "";
		try {
			const { protocol, hostname } = new URL(value || "https://empty.example");
			const local = ["localhost", "127.0.0.1", "[::1]"].includes(hostname);
			if (protocol === "http:" && !local) message = __("This address must begin with https://");
			else if (!["http:", "https:"].includes(protocol)) message = __("This is not a web address.");
		} catch (error) {
			message = __("This is not a web address. A web address begins with https://");
		}
		if (message) show_finding(frm, fieldname, { level: "error", message });
		else clear_finding(frm.fields_dict[fieldname]);
	}

	// The connection of the person looking

	async function refresh_connection(frm) {
		const name = frm.doc.name;
		// The form may have been refreshed, or have moved on, while the answer was under way: the last question counts.
		const question = (frm.connection_question = (frm.connection_question || 0) + 1);
		const asked = [call("connection", { connected_app: name }, { type: "GET" })];
		if (frappe.user.has_role("System Manager")) {
			asked.push(call("connections", { connected_app: name }, { type: "GET" }));
		}
		const [connection, people] = await Promise.all(asked);
		if (!connection || frm.doc.name !== name || frm.connection_question !== question) return;
		frm.connection = connection;
		frm.people = people || null;
		show_connection(frm);
		show_people(frm);
		show_steps(frm);
		show_copy_buttons(frm);
		show_redirect_uri_notice(frm);
	}

	function show_connection(frm) {
		const { connection } = frm;
		const $wrapper = frm.get_field("connection_html").$wrapper.empty();
		const $state = $(`<div class="connected-app-connection mb-3" role="status"></div>`).appendTo($wrapper);
		$state.html(describe(connection));
		$wrapper.append(connection_buttons(frm));
		if (!frm.is_dirty()) {
			const colour = frm.doc.enabled ? connected_app.COLOURS[connection.status] : "gray";
			const words = frm.doc.enabled ? connected_app.headline(connection) : __("Disabled");
			frm.page.set_indicator(safe(words), colour);
		}
		show_connect_button(frm);
	}

	function describe(connection) {
		const details = [];
		if (connection.last_error && connection.status !== "Connected") {
			details.push(__("Reason: {0}", [safe(connection.last_error)]));
		}
		if (connection.connected_on) {
			details.push(__("Connected since {0}", [safe(local_time(connection.connected_on))]));
		}
		if (connection.scopes.length) {
			details.push(__("Granted: {0}", [safe(connection.scopes.join(", "))]));
		}
		if (connection.missing_scopes.length) {
			details.push(__("Asked for, but not granted: {0}", [safe(connection.missing_scopes.join(", "))]));
		}
		if (!connection.may_connect) {
			details.push(
				__(
					"You cannot connect at present: the app is disabled, or your roles are not among the allowed ones."
				)
			);
		}
		const rows = details.map((text) => `<div class="small mt-2">${text}</div>`);
		return [connected_app.pill(connection), ...rows].join("");
	}

	function connection_buttons(frm) {
		const { status, may_connect } = frm.connection;
		const $buttons = $(`<div class="connected-app-buttons mb-3"></div>`);
		const add = (label, action) =>
			$(`<button type="button" class="btn btn-default btn-sm"></button>`)
				.text(label)
				.on("click", action)
				.appendTo($buttons);
		if (status === "Not Connected") return "";
		if (may_connect) add(__("Reconnect"), () => connect(frm));
		add(__("Test Connection"), () => test(frm));
		add(__("Disconnect"), () => disconnect(frm));
		return $buttons;
	}

	// The next thing to do, at the top.
	function show_connect_button(frm) {
		for (const label of frm.connection_labels || []) remove_button(frm, label);
		frm.connection_labels = [];
		const { status, may_connect } = frm.connection;
		const provider = frm.doc.provider_name;
		// What is not filled in yet comes first; others than admins do not see these fields.
		const ready = !may_write(frm) || (frm.doc.client_id && frm.doc.authorization_uri);
		if (!may_connect || !frm.doc.enabled || !ready) return;
		if (status === "Not Connected") add_button(frm, __("Connect to {0}", [provider]));
		else if (status === "Reconnect Required") add_button(frm, __("Reconnect"));

		function add_button(frm, label) {
			// Frappe puts a label into the page as HTML.
			const button = frm.add_custom_button(safe(label), () => connect(frm));
			button?.removeClass("btn-default").addClass("btn-primary");
			frm.connection_labels.push(safe(label));
		}
	}

	function remove_button(frm, label) {
		frm.remove_custom_button(label);
		// Frappe 15 leaves the button's twin in the menu, which is what phones show.
		frm.page.menu
			.find(`[data-label="${encodeURIComponent(label)}"]`)
			.closest("li")
			.remove();
	}

	function connect(frm) {
		if (frm.is_dirty()) {
			frappe.show_alert({ message: __("Please save your changes first."), indicator: "orange" });
			return;
		}
		connected_app.connect(frm.doc.name);
	}

	async function disconnect(frm, user) {
		if (await connected_app.disconnect(frm.doc.name, frm.doc.provider_name, user)) refresh_connection(frm);
	}

	async function test(frm) {
		await connected_app.test(frm.doc.name);
		refresh_connection(frm);
	}

	function confirm_disabling(frm) {
		const question = __(
			"Disable {0}? All {1} connections end. The tokens are deleted here and, where the provider offers it, revoked there.",
			[safe(frm.doc.provider_name), frm.people.total]
		);
		return new Promise((resolve) => {
			frappe.confirm(question, resolve, () => {
				frappe.validated = false;
				resolve();
			});
		});
	}

	// Who is connected, for System Managers

	function show_people(frm) {
		const { people } = frm;
		frm.toggle_display("people_html", Boolean(people?.total));
		const $wrapper = frm.get_field("people_html").$wrapper.empty();
		if (!people?.total) return;
		const $table = $(`<table class="table table-sm mb-2"><thead><tr></tr></thead><tbody></tbody></table>`);
		for (const title of [
			__("User"),
			__("Status"),
			__("Account"),
			__("Connected since"),
			__("Last refreshed"),
			"",
		]) {
			$(`<th scope="col"></th>`).text(title).appendTo($table.find("thead tr"));
		}
		for (const row of people.rows) $table.find("tbody").append(person(frm, row));
		$(`<div class="connected-app-people table-responsive"></div>`).append($table).appendTo($wrapper);
		const $more = $(`<p class="mb-3"></p>`).appendTo($wrapper);
		$(`<button type="button" class="btn btn-default btn-xs"></button>`)
			.text(__("Open in Token Cache ({0})", [people.total]))
			.on("click", () => frappe.set_route("List", "Token Cache", { connected_app: frm.doc.name }))
			.appendTo($more);
	}

	function person(frm, row) {
		const $row = $(`<tr></tr>`);
		const cell = (html) => $(`<td></td>`).html(html).appendTo($row);
		const name = safe(row.full_name || row.user || __("The service principal"));
		cell(`<a href="${frappe.utils.get_form_link("Token Cache", row.name)}">${name}</a>`);
		const reason = row.status !== "Connected" && row.last_error;
		cell(
			connected_app.pill(row, row.failing_since ? connected_app.headline(row) : connected_app.status_words(row.status)) +
				(reason ? `<div class="small mt-1">${safe(reason)}</div>` : "")
		);
		cell(safe(row.account_name || ""));
		cell(row.connected_on ? safe(local_time(row.connected_on)) : "");
		cell(row.last_refreshed_on ? safe(local_time(row.last_refreshed_on)) : "");
		const $action = cell("");
		if (row.user) {
			$(`<button type="button" class="btn btn-default btn-xs"></button>`)
				.text(__("Disconnect"))
				.attr("aria-label", __("Disconnect {0}", [row.full_name || row.user]))
				.on("click", () => disconnect(frm, row.user))
				.appendTo($action);
		}
		return $row;
	}

	// Redirect URI and JavaScript origin

	function site_origin(frm) {
		try {
			return new URL(frm.doc.redirect_uri).origin;
		} catch (error) {
			return window.location.origin;
		}
	}

	function copy_button(text, label) {
		return $(`<button type="button" class="btn btn-xs btn-default connected-app-copy"></button>`)
			.text(__("Copy"))
			.attr("aria-label", label)
			.on("click", () => frappe.utils.copy_to_clipboard(text));
	}

	function show_copy_buttons(frm) {
		if (!frm.doc.redirect_uri) return;
		const redirect_uri = frm.get_field("redirect_uri").$wrapper;
		redirect_uri.find(".connected-app-copy").remove();
		redirect_uri
			.find(".control-label")
			.first()
			.after(copy_button(frm.doc.redirect_uri, __("Copy the Redirect URI")));

		const origin = site_origin(frm);
		const field = frm.get_field("javascript_origin_html");
		field.$wrapper
			.empty()
			.append($(`<label class="control-label"></label>`).text(__("JavaScript Origin")))
			.append(copy_button(origin, __("Copy the JavaScript Origin")))
			.append($(`<div class="control-value like-disabled-input" dir="ltr"></div>`).text(origin))
			.append($(`<p class="help-box small text-muted"></p>`).text(__(field.df.description)));
	}

	function show_redirect_uri_notice(frm) {
		// Frappe 15 adds to the introduction what it is given: it has to be emptied first.
		frm.set_intro();
		if (!frm.connection.redirect_uri_outdated) return;
		frm.set_intro(
			__("The Redirect URI does not match this site's present address. It would be {0}", [
				`<code>${safe(frm.connection.suggested_redirect_uri)}</code>`,
			]),
			"orange"
		);
		if (may_write(frm)) {
			frm.remove_custom_button(__("Renew Redirect URI"));
			frm.add_custom_button(__("Renew Redirect URI"), () => renew_redirect_uri(frm));
		}
	}

	function renew_redirect_uri(frm) {
		frappe.confirm(
			__(
				"Change the Redirect URI to {0}? Register it at the provider too: until then nobody can connect. Existing connections go on working.",
				[`<code>${safe(frm.connection.suggested_redirect_uri)}</code>`]
			),
			async () => {
				const renewed = await call("renew_redirect_uri", { connected_app: frm.doc.name }, { freeze: true });
				if (!renewed) return;
				await frm.reload_doc();
				frappe.show_alert({
					message: __("Redirect URI renewed. Now register it at the provider."),
					indicator: "orange",
				});
			}
		);
	}
})();
