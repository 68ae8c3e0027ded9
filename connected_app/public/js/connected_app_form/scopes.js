// The template's scopes, in plain words, to tick. They are stored in the table below.
(() => {
	const { form, element } = connected_app;

	form.scopes = {
		view(frm) {
			const template = form.provider.template(frm);
			if (!template) return null;
			const chosen = new Set((frm.doc.scopes || []).map((row) => row.scope));
			const known = new Set([...template.scopes, ...Object.keys(template.scope_words)]);
			const offered = [...known].filter((scope) => !scope.includes("{"));
			return {
				editable: form.may_write(frm),
				offered: offered.map((scope) => ({
					scope,
					words: template.scope_words[scope] || "",
					chosen: chosen.has(scope),
				})),
			};
		},

		draw(frm, view) {
			const offered = view?.offered || [];
			frm.toggle_display("scopes_html", offered.length > 0);
			const { $wrapper } = frm.get_field("scopes_html");
			const $boxes = $wrapper.find("input[type=checkbox]");
			const shown = $boxes.get().map((box) => box.value);
			// Keep the box that was clicked on.
			if (!shown.length || shown.join(" ") !== offered.map(({ scope }) => scope).join(" ")) {
				$wrapper.empty();
				if (offered.length) $wrapper.append(boxes(frm, offered));
			}
			$wrapper.find("input[type=checkbox]").each((index, box) => {
				$(box).prop({ checked: offered[index].chosen, disabled: !view.editable });
			});
		},

		choose(frm, scope, chosen) {
			if (chosen) {
				const empty = (frm.doc.scopes || []).find((row) => !row.scope);
				if (empty) empty.scope = scope;
				else frm.add_child("scopes", { scope });
			} else {
				frm.doc.scopes = frm.doc.scopes.filter((row) => row.scope !== scope);
				frm.doc.scopes.forEach((row, index) => (row.idx = index + 1));
			}
			frm.refresh_field("scopes");
			frm.dirty();
			form.render(frm);
		},
	};

	const boxes = (frm, offered) =>
		element(
			"fieldset",
			{ class: "connected-app-scopes" },
			element("legend", { class: "control-label", text: __("What this site may do there") }),
			...offered.map((each) => box(frm, each)),
			element("p", {
				class: "help-box small text-muted",
				text: __("Other scopes can be added to the table."),
			})
		);

	function box(frm, { scope, words }) {
		const $box = element("input", { type: "checkbox", value: scope });
		$box.on("change", () => form.scopes.choose(frm, scope, $box.prop("checked")));
		const $label = element("label", {}, $box, element("span", { text: words || scope }));
		if (words) $label.append(element("code", { text: scope }));
		return $label;
	}
})();
