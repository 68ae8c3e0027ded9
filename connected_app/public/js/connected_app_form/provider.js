// The provider: a picker over the templates, the provider's inputs, and filling in the form from a template.
(() => {
	const { form, call, element, when_checked } = connected_app;
	// Fields that may depend on an input. The others are filled in once, when the provider is picked.
	const WITH_INPUTS = [
		"openid_configuration",
		"issuer",
		"authorization_uri",
		"token_uri",
		"jwks_uri",
		"device_authorization_uri",
		"userinfo_uri",
		"revocation_uri",
		"introspection_uri",
		"provider_metadata",
		"provider_inputs",
		"query_parameters",
		"scopes",
	];
	const FOLDED = ["sb_endpoints_section", "section_break_18", "advanced_section", "exceptions_section"];
	const PLACEHOLDER = /\{(\w+)\}/g;

	// By key, in the order of the list. Loaded once for each page: templates are files of the installed apps.
	let templates = new Map();
	let asked;

	form.provider = {
		async load(frm) {
			asked ??= call("provider_templates", {}, { type: "GET" });
			let found = null;
			try {
				found = await asked;
			} catch (error) {
				// The next form asks again.
				asked = null;
			}
			if (!found || templates.size) return;
			templates = new Map(found.map((template) => [template.key, template]));
			form.render(frm);
		},

		template: (frm) => templates.get(frm.doc.provider),

		view(frm) {
			const template = form.provider.template(frm) || null;
			return { template, known: templates.size, editable: form.may_write(frm) };
		},

		draw(frm, { template, known, editable }) {
			if (known && editable) fill_picker(frm);
			const $wrapper = frm.get_field("provider_html").$wrapper.empty();
			frm.toggle_display("provider_html", Boolean(template));
			if (!template) return;
			const inputs = form.provider.inputs(frm);
			for (const input of template.inputs) {
				$wrapper.append(input_row(frm, template, input, inputs[input.name] || "", editable));
			}
			const [text, title] = [when_checked(template), template.checked_by.join(", ")];
			$wrapper.append(element("p", { class: "help-box small text-muted", text, title }));
		},

		// The admin's entries, with the defaults.
		inputs(frm) {
			const template = form.provider.template(frm);
			const defaults = (template?.inputs || []).map((input) => [input.name, input.default]);
			return { ...Object.fromEntries(defaults), ...parsed(frm.doc.provider_inputs) };
		},

		// Whether the template can fill in the form.
		is_complete(frm) {
			const template = form.provider.template(frm);
			const inputs = form.provider.inputs(frm);
			const is_right = (input) => inputs[input.name] && !mistake_in(input, inputs[input.name]);
			return Boolean(template && template.inputs.every(is_right));
		},

		// An address of the template; empty while one of its inputs is missing.
		address(frm, address) {
			const inputs = form.provider.inputs(frm);
			const names = [...address.matchAll(PLACEHOLDER)].map(([, name]) => name);
			if (names.length && (!form.provider.is_complete(frm) || names.some((name) => !inputs[name]))) return "";
			const encoded = (name) => encodeURIComponent(inputs[name]).replace("%3A", ":");
			return address.replace(PLACEHOLDER, (_all, name) => encoded(name));
		},

		mistake_in: (input, value) => mistake_in(input, value),

		is_match(template, text) {
			const { name, key, category, category_name } = template;
			const about = `${name} ${key} ${category} ${category_name}`.toLowerCase();
			return text
				.toLowerCase()
				.split(/\s+/)
				.every((word) => about.includes(word));
		},

		// Names that begin with the text come first, matches in the category only come last.
		rank(name, text) {
			const at = name.toLowerCase().indexOf(text.trim().toLowerCase());
			return at < 0 ? 2 : Math.min(at, 1);
		},

		// A new form that came with a provider, as from the gallery: nothing was filled in yet.
		is_unfilled(frm) {
			const { provider, provider_inputs, token_uri } = frm.doc;
			return Boolean(frm.is_new() && provider && !provider_inputs && !token_uri);
		},

		// A provider was picked, or removed.
		async choose(frm) {
			const state = form.state(frm);
			await form.provider.load(frm);
			if ((frm.doc.provider || "") === state.provider) return;
			const template = form.provider.template(frm);
			if (template?.unsupported) {
				const { name, unsupported } = template;
				await frm.set_value("provider", state.provider);
				const message = __("{0} cannot be connected.", [name]);
				form.findings.show(frm, "provider", { level: "error", message, action: unsupported });
				return;
			}
			const previous = templates.get(state.provider);
			state.provider = frm.doc.provider || "";
			const defaults = (template?.inputs || []).filter((input) => input.default);
			const inputs = Object.fromEntries(defaults.map((input) => [input.name, input.default]));
			await frm.set_value("provider_inputs", template ? JSON.stringify(inputs) : "");
			state.differences = [];
			const { provider_name } = frm.doc;
			if (template && (!provider_name || provider_name === previous?.short_name)) {
				await frm.set_value("provider_name", template.short_name);
			}
			form.render(frm);
			if (form.provider.is_complete(frm)) await form.provider.fill(frm);
			else if (template)
				frm.get_field("provider_html").$wrapper.find("input, select").first().trigger("focus");
		},

		// Fill in the form from the template.
		async fill(frm) {
			const state = form.state(frm);
			const { doc } = frm;
			const { provider } = doc;
			const question = ++state.filling;
			const inputs = JSON.stringify(form.provider.inputs(frm));
			let values;
			try {
				values = await call("provider_settings", { provider, inputs });
			} catch (error) {
				// Frappe has shown the reason already.
				return;
			}
			if (!values || state.filling !== question || frm.doc !== doc || doc.provider !== provider) return;
			if (values.wrong_inputs) {
				for (const [name, finding] of Object.entries(values.wrong_inputs)) show_finding(frm, name, finding);
				return;
			}
			await frm.set_value(form.provider.taken_over(frm.doc, values, state, templates.get(state.filled_for)));
			Object.assign(state, { filled: values, filled_for: provider });
			for (const name of FOLDED) frm.fields_dict[name]?.collapse?.(true);
			form.render(frm);
			const { name } = form.provider.template(frm);
			frappe.show_alert({
				message: __("Filled in from the template of {0}. Please save.", [connected_app.safe(name)]),
				indicator: "green",
			});
		},

		// The template's values that go into the form; an admin's own entries stay. `previous`: the template that filled in the
		// form before.
		taken_over(doc, values, { filled, differences }, previous) {
			const is_same = previous?.key === values.provider;
			const own = new Set(["provider", ...(is_same ? (differences || []).map(({ field }) => field) : [])]);
			if (doc.provider_name) own.add("provider_name");
			const scopes = (doc.scopes || []).map((row) => row.scope).filter(Boolean);
			const offered = (filled?.scopes || []).map((row) => row.scope);
			const known = [...offered, ...(previous?.scopes || []), ...Object.keys(previous?.scope_words || {})];
			const untouched = is_same
				? scopes.join(" ") === offered.join(" ")
				: scopes.every((scope) => known.includes(scope));
			if (scopes.length && !untouched) own.add("scopes");
			const wanted = (field) => !own.has(field) && (!is_same || WITH_INPUTS.includes(field));
			return Object.fromEntries(Object.entries(values).filter(([field]) => wanted(field)));
		},
	};

	function parsed(text) {
		try {
			const inputs = JSON.parse(text || "{}");
			return inputs && typeof inputs === "object" ? inputs : {};
		} catch (error) {
			return {};
		}
	}

	function fill_picker(frm) {
		const picker = frm.fields_dict.provider;
		if (!picker?.awesomplete || picker.connected_app_size === templates.size) return;
		picker.connected_app_size = templates.size;
		const { awesomplete } = picker;
		awesomplete.maxItems = templates.size;
		awesomplete.filter = ({ value }, text) => form.provider.is_match(templates.get(value), text);
		const text = () => picker.$input.val();
		awesomplete.sort = (one, other) =>
			form.provider.rank(one.label, text()) - form.provider.rank(other.label, text());
		// Made in advance, so that the list opens at once.
		const items = new Map([...templates.values()].map((template) => [template.key, list_item(template)]));
		awesomplete.item = ({ value }) => items.get(value).attr("aria-selected", "false")[0];
		be_quiet(frm, picker);
		refuse_unknown(frm, picker);
		picker.set_data([...templates.values()].map(({ key, name }) => ({ value: key, label: name })));
		picker.set_formatted_input(frm.doc.provider);
	}

	// A new form has the cursor in its first field. The list opens only on a click or a key, also one from before this was
	// loaded, and leaving the field picks nothing.
	function be_quiet(frm, { $input, awesomplete }) {
		const [input] = $input;
		let is_wanted = false;
		const want = () => (is_wanted = true);
		input.addEventListener("pointerdown", want, true);
		input.addEventListener("keydown", want, true);
		input.addEventListener("blur", () => (is_wanted = false), true);
		const look = () => {
			awesomplete.autoFirst = Boolean(input.value.trim());
			is_wanted ||= awesomplete.autoFirst;
		};
		input.addEventListener("input", look, true);
		awesomplete.autoFirst = false;
		if (input.value.trim() !== (frm.doc.provider || "")) look();
		$input.on("awesomplete-open", () => {
			if (!is_wanted) awesomplete.close();
		});
		const open = () => {
			if (!awesomplete.opened) awesomplete.evaluate();
		};
		$input.on("click", open);
		$input.on("keydown", ({ key }) => {
			if (key === "ArrowDown") open();
		});
	}

	// Frappe would empty the field without a word. Before it looks, the provider that was there is put back.
	function refuse_unknown(frm, picker) {
		const [input] = picker.$input;
		const refuse = () => {
			const text = input.value.trim();
			const known = (template) => [template.key, template.name].includes(text);
			if (!text || !templates.size || [...templates.values()].some(known)) return;
			picker.set_formatted_input(frm.doc.provider);
			const message = __("There is no provider template called {0}.", [text]);
			const action = __("Choose one of the list, or leave Provider empty and fill in the fields.");
			// What is said goes with the next change, and this one is not over.
			setTimeout(() => form.findings.show(frm, "provider", { level: "error", message, action }));
		};
		input.addEventListener("change", refuse, true);
		// To Frappe, an empty field that was never filled in would be another one once somebody has passed through it.
		input.addEventListener("focus", () => (picker.last_value ??= ""), true);
	}

	function list_item(template) {
		const { name, category_name, unsupported } = template;
		const about = unsupported ? __("Cannot be connected: {0}", [unsupported]) : when_checked(template);
		const $about = element("span", { class: "small", text: `${category_name} · ${about}` });
		const $text = element("p", {}, element("strong", { text: name }), element("br"), $about);
		return element("li", {}, element("a", {}, $text));
	}

	function mistake_in({ label, example, pattern, choices }, value) {
		const options = Object.keys(choices);
		const is_right = options.length
			? options.includes(value)
			: new RegExp(`^(?:${pattern || ".+"})$`).test(value);
		if (is_right) return null;
		return {
			message: __("{0} does not have the form that the provider uses.", [label]),
			action: __("Enter it, for example: {0}", [example || options.join(", ")]),
		};
	}

	function input_row(frm, template, input, value, editable) {
		const id = `connected-app-input-${input.name}`;
		const $input = control(input, value).attr({
			id,
			"data-input": input.name,
			"aria-describedby": `${id}-help`,
		});
		$input.prop("disabled", !editable).addClass("form-control");
		$input.on("input", () => {
			if (!mistake_in(input, entered($input))) clear_finding(frm, input.name);
		});
		$input.on("change", () => changed(frm, template));
		const help =
			input.example && !Object.keys(input.choices).length ? __("For example: {0}", [input.example]) : "";
		return element(
			"div",
			{ class: "form-group connected-app-input" },
			element("label", { class: "control-label reqd", for: id, text: input.label }),
			$input,
			element("p", { class: "help-box small text-muted", id: `${id}-help`, text: help })
		);
	}

	function control({ choices }, value) {
		const options = Object.entries(choices);
		if (!options.length) {
			return element("input", { type: "text", autocomplete: "off", spellcheck: "false", dir: "ltr" }).val(
				value
			);
		}
		const $select = element("select", {}, element("option", { value: "" }));
		for (const [key, text] of options) $select.append(element("option", { value: key, text }));
		return $select.val(value);
	}

	const entered = ($input) => ($input.val() || "").trim();
	const input_of = (frm, name) => frm.get_field("provider_html").$wrapper.find(`[data-input="${name}"]`);

	async function changed(frm, template) {
		const inputs = {};
		for (const input of template.inputs) {
			const value = entered(input_of(frm, input.name));
			if (value) inputs[input.name] = value;
			const mistake = value && mistake_in(input, value);
			if (mistake) show_finding(frm, input.name, mistake);
			else clear_finding(frm, input.name);
		}
		await frm.set_value("provider_inputs", JSON.stringify(inputs));
		form.render(frm);
		if (form.provider.is_complete(frm)) await form.provider.fill(frm);
	}

	function show_finding(frm, name, { message, action }) {
		clear_finding(frm, name);
		input_of(frm, name)
			.attr("aria-invalid", "true")
			.closest(".connected-app-input")
			.addClass("has-error")
			.append(
				element(
					"div",
					{ class: "connected-app-finding error", role: "alert" },
					element("div", { text: message }),
					element("div", { class: "text-muted", text: action })
				)
			);
	}

	function clear_finding(frm, name) {
		const $input = input_of(frm, name).removeAttr("aria-invalid");
		$input
			.closest(".connected-app-input")
			.removeClass("has-error")
			.children(".connected-app-finding")
			.remove();
	}
})();
