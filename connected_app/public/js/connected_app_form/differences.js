// Where the settings differ from what the provider's template would set today. Nothing is changed automatically.
(() => {
	const { form, element, button } = connected_app;
	const FROM_TEMPLATE = [
		"sb_endpoints_section",
		"section_break_18",
		"advanced_section",
		"exceptions_section",
		"background_section",
	];

	form.differences = {
		view(frm, { differences }) {
			const template = form.provider.template(frm);
			if (!template) return null;
			const rows = (differences || []).map(({ field, label, is, offers }) => ({
				field,
				label,
				is: in_words(frm, field, is),
				offers: in_words(frm, field, offers),
			}));
			return { name: template.name, rows, editable: form.may_write(frm) };
		},

		draw(frm, view) {
			mark_sections(frm, view);
			const rows = view?.rows || [];
			frm.toggle_display("differences_html", rows.length > 0);
			const $wrapper = frm.get_field("differences_html").$wrapper.empty();
			if (!rows.length) return;
			const count =
				rows.length === 1
					? __("1 setting differs from the provider's template")
					: __("{0} settings differ from the provider's template", [rows.length]);
			const titles = [__("Setting"), __("Yours"), __("The template's")];
			const $table = element(
				"table",
				{ class: "table table-sm mb-2" },
				element(
					"thead",
					{},
					element("tr", {}, ...titles.map((text) => element("th", { scope: "col", text })))
				),
				element("tbody", {}, ...rows.map((row) => difference(frm, row)))
			);
			const $details = element(
				"details",
				{ class: "connected-app-differences" },
				element("summary", { text: count }),
				element("div", { class: "table-responsive" }, $table)
			);
			if (view.editable) {
				const take_over = () => form.differences.take_over(frm);
				$details.append(button(__("Use the Template's Values"), take_over, { look: "btn-default btn-xs" }));
			}
			$wrapper.append($details);
		},

		async take_over(frm) {
			const state = form.state(frm);
			const offered = (state.differences || []).map(({ field, offers }) => [field, offers]);
			state.differences = [];
			await frm.set_value(Object.fromEntries(offered));
			form.render(frm);
			frappe.show_alert({ message: __("Please review and save."), indicator: "green" });
		},
	};

	function in_words(frm, field, value) {
		if (Array.isArray(value)) value = value.map((row) => `${row.key} = ${row.value}`).join(", ");
		if (frm.fields_dict[field]?.df.fieldtype === "Check") return value ? __("Yes") : __("No");
		return value === null || value === undefined || value === "" ? "–" : String(value);
	}

	function difference(frm, { field, label, is, offers }) {
		const go_there = () => {
			frm.fields_dict[field]?.section?.collapse?.(false);
			frm.scroll_to_field(field);
		};
		return element(
			"tr",
			{},
			element("td", {}, button(label, go_there, { look: "btn-link btn-xs" })),
			element("td", { text: is }),
			element("td", { text: offers })
		);
	}

	// A collapsed section says where its settings come from.
	function mark_sections(frm, view) {
		for (const name of FROM_TEMPLATE) {
			const section = frm.fields_dict[name];
			section?.head?.find(".connected-app-origin").remove();
			if (!view || !section?.head) continue;
			const own = view.rows.filter(({ field }) => frm.fields_dict[field]?.section === section).length;
			const text = own ? __("from the template, {0} changed", [own]) : __("from the template");
			section.head.append(element("span", { class: "connected-app-origin small text-muted", text }));
		}
	}
})();
