// Findings about a field, shown next to it.
(() => {
	const { form, element } = connected_app;

	form.findings = {
		show(frm, fieldname, { level, message, action }) {
			const field = frm.fields_dict[fieldname];
			if (!field) return;
			clear(field);
			const $text = element(
				"div",
				{ class: `connected-app-finding ${level}`, role: "note" },
				element("div", { text: message })
			);
			if (action) $text.append(element("div", { class: "text-muted", text: action }));
			const $wrapper = $(field.wrapper);
			// In a table, every row would turn red.
			$wrapper.toggleClass("has-error", level === "error" && field.df.fieldtype !== "Table").append($text);
			// A collapsed section would hide it.
			field.section?.collapse?.(false);
			const $input = $wrapper.find("input, textarea, select").first();
			$input.one("input change", () => clear(field));
		},

		clear_all(frm) {
			for (const field of frm.fields) {
				if ($(field.wrapper).children(".connected-app-finding").length) clear(field);
			}
		},

		check_address(frm, fieldname) {
			const message = mistake_in((frm.doc[fieldname] || "").trim());
			if (message) form.findings.show(frm, fieldname, { level: "error", message });
			else clear(frm.fields_dict[fieldname]);
			return !message;
		},
	};

	function clear(field) {
		$(field.wrapper).removeClass("has-error").children(".connected-app-finding").remove();
	}

	function mistake_in(address) {
		if (!address) return "";
		try {
			const { protocol, hostname } = new URL(address);
			const local = ["localhost", "127.0.0.1", "[::1]"].includes(hostname);
			if (protocol === "http:" && !local) return __("This address must begin with https://");
			if (!["http:", "https:"].includes(protocol)) return __("This is not a web address.");
			return "";
		} catch (error) {
			return __("This is not a web address. A web address begins with https://");
		}
	}
})();
