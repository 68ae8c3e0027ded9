// The dialog of *Connect with a Code*, in Desk and on the pages for users: the code, where to enter it, and the state of the
// attempt. Its words come from the server, with the code.
window.connected_app ??= {};

(() => {
	// If the site does not answer, it is asked again until so many seconds after the code has expired.
	const GRACE = 10;

	function element(tag, { text, click, ...attributes } = {}, ...children) {
		const made = document.createElement(tag);
		for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
		if (text !== undefined) made.textContent = text;
		if (click) made.addEventListener("click", click);
		made.append(...children.filter(Boolean));
		return made;
	}

	const button = (text, click, look = "btn-default", attributes = {}) =>
		element("button", { type: "button", class: `btn btn-sm ${look}`, text, click, ...attributes });

	// Not by frappe.call: a failure in the background must not open a dialog.
	async function post(method, args, options = {}) {
		const response = await fetch(`/api/method/connected_app.api.${method}`, {
			method: "POST",
			credentials: "same-origin",
			headers: {
				Accept: "application/json",
				"Content-Type": "application/json",
				"X-Frappe-CSRF-Token": window.frappe?.csrf_token || "",
			},
			body: JSON.stringify(args),
			...options,
		});
		if (!response.ok) throw new Error(`HTTP ${response.status}`);
		return (await response.json()).message;
	}

	const clock_time = (moment) =>
		moment.toLocaleTimeString(document.documentElement.lang || [], { hour: "numeric", minute: "2-digit" });

	// `begin` resolves to the answer of `api.connect_with_code`, or rejects. Resolves to the success message, as HTML, or null.
	connected_app.enter_code = async (begin) => {
		const first = await begin();
		return new Promise((resolve) => new Attempt(begin, resolve).show(first));
	};

	class Attempt {
		constructor(begin, resolve) {
			this.begin = begin;
			this.resolve = resolve;
			this.dialog = element("dialog", {
				class: "connected-app-code",
				"aria-labelledby": "connected-app-code-title",
			});
			this.dialog.addEventListener("close", () => this.end(null));
			this.on_return = () => document.visibilityState === "visible" && this.look();
			this.on_leave = () => this.cancel();
			document.addEventListener("visibilitychange", this.on_return);
			window.addEventListener("pagehide", this.on_leave);
			document.body.append(this.dialog);
		}

		show(begun) {
			Object.assign(this, { begun, is_over: false, ends: Date.now() + begun.expires_in * 1000 });
			const { words, code, address, link, qr_code } = begun;
			this.status = element("p", { role: "status", class: "connected-app-code-status" });
			this.actions = element("div", { class: "connected-app-code-actions" });
			const outside = { target: "_blank", rel: "noopener noreferrer" };
			const steps = element(
				"ol",
				{},
				element(
					"li",
					{ text: `${words.open} ` },
					element("a", { href: link || address, text: address, dir: "ltr", ...outside })
				),
				element(
					"li",
					{ text: words.enter },
					element(
						"div",
						{ class: "connected-app-code-line" },
						element("output", { text: code, dir: "ltr" }),
						button(words.copy, (event) => this.copy(event.target), "btn-default", {
							"aria-label": words.copy_code,
						})
					)
				)
			);
			const picture =
				qr_code &&
				element(
					"figure",
					{},
					element("img", { src: qr_code, alt: words.picture }),
					element("figcaption", { text: words.scan })
				);
			this.dialog.replaceChildren(
				element("h2", { id: "connected-app-code-title", text: words.title }),
				element("div", { class: "connected-app-code-body" }, steps, picture),
				this.status,
				element("p", { class: "connected-app-code-warning", text: words.warning }),
				this.actions
			);
			this.say(`${words.waiting} ${words.until.replace("{0}", clock_time(new Date(this.ends)))}`);
			this.offer(button(words.cancel, () => this.dialog.close()));
			if (!this.dialog.open) this.dialog.showModal();
			this.wait(begun.wait);
		}

		say(text, kind = "waiting") {
			this.status.textContent = text;
			this.status.dataset.kind = kind;
		}

		offer(...buttons) {
			this.actions.replaceChildren(...buttons);
		}

		async copy(copied) {
			const { words, code } = this.begun;
			try {
				await navigator.clipboard.writeText(code);
				copied.textContent = words.copied;
				copied.removeAttribute("aria-label");
			} catch (error) {
				// Without HTTPS there is no clipboard; the code can still be selected.
				window.getSelection().selectAllChildren(this.dialog.querySelector("output"));
			}
		}

		wait(seconds) {
			clearTimeout(this.timer);
			this.timer = setTimeout(() => this.look(), seconds * 1000);
		}

		async look() {
			const { begun } = this;
			if (this.is_over || this.is_looking) return;
			this.is_looking = true;
			let seen;
			try {
				seen = await post("look_at_code", { attempt: begun.attempt });
			} catch (error) {
				const is_late = Date.now() > this.ends + GRACE * 1000;
				seen = is_late
					? { state: "failed", message: begun.words.failed }
					: { state: "waiting", wait: begun.wait };
			} finally {
				this.is_looking = false;
			}
			if (this.is_over || this.begun !== begun) return;
			if (seen.state === "waiting") this.wait(seen.wait);
			else if (seen.state === "connected") this.end(seen.message);
			else this.fail(seen);
		}

		fail({ message, action = "" }) {
			const { words } = this.begun;
			this.is_over = true;
			this.say(`${message} ${action}`.trim(), "failed");
			// The code no longer works.
			for (const part of [".connected-app-code-body", ".connected-app-code-warning"]) {
				this.dialog.querySelector(part).remove();
			}
			const again = button(words.again, () => this.start_again(again), "btn-primary");
			this.offer(
				button(words.close, () => this.dialog.close()),
				again
			);
			again.focus();
		}

		async start_again(again) {
			again.disabled = true;
			try {
				this.show(await this.begin());
			} catch (error) {
				// The page has shown the reason.
				this.dialog.close();
			}
		}

		cancel() {
			if (this.is_over) return;
			this.is_over = true;
			post("cancel_code", { attempt: this.begun.attempt }, { keepalive: true }).catch(() => {});
		}

		end(message) {
			if (message === null) this.cancel();
			this.is_over = true;
			clearTimeout(this.timer);
			document.removeEventListener("visibilitychange", this.on_return);
			window.removeEventListener("pagehide", this.on_leave);
			this.dialog.remove();
			this.resolve(message);
		}
	}
})();
