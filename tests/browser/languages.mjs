// The screens in German and, from right to left, in Arabic.

import { LOOKS, WIDE, base, call, check, listen, login, looks, openForm, picture, settle, shot, waitForConnection } from "./kit.mjs";

const SAID = {
	de: {
		form: ["Ihre Verbindung", "Neu verbinden nötig", "Wer ist verbunden", "Verbindung testen"],
		page: ["Meine Verbindungen", "Neu verbinden nötig", "Wissen, wer Sie sind", "Trennen"],
	},
	ar: {
		form: ["اتصالك", "إعادة الاتصال مطلوبة", "من المتصل", "اختبار الاتصال"],
		page: ["اتصالاتي", "إعادة الاتصال مطلوبة", "معرفة من أنت", "قطع الاتصال"],
	},
};

export async function languages(browser, name) {
	for (const [language, { form, page: words }] of Object.entries(SAID)) {
		const admin = await browser.newContext({ viewport: WIDE });
		await login(admin, "Administrator", "admin");
		const page = listen(await admin.newPage());
		await page.goto(`${base}/app/connected-app`);
		await page.waitForFunction(() => window.frappe?.boot?.user);
		const speak = (language) =>
			call(page, "frappe.client.set_value", {
				doctype: "User",
				name: "Administrator",
				fieldname: "language",
				value: language,
			});
		await speak(language);
		try {
			await openForm(page, name);
			await waitForConnection(page, form[1]);
			const said = await page.evaluate(() => document.body.innerText);
			check(
				`the form speaks ${language}`,
				form.every((text) => said.includes(text)),
				form.filter((text) => !said.includes(text)).join(", ")
			);
			const direction = await page.evaluate(() => getComputedStyle(document.querySelector(".connected-app-connection")).direction);
			check(`and reads in its direction (${language})`, direction === (language === "ar" ? "rtl" : "ltr"), direction);
			await settle(page);
			await shot(page, `form-${language}`);
			await page.goto(`${base}/app/connected-app/new`);
			await page.waitForSelector(".connected-app-steps");
			await settle(page);
			await shot(page, `form-new-${language}`);
			await page.goto(`${base}/my-connections`);
			await page.waitForSelector(".connected-app-card [data-action]:not([disabled])");
			await looks(page, `my connections ${language}`, { selectors: [".connected-app-page"], words, only: [LOOKS[0], LOOKS[3]] });
			if (language === "ar") await picture(page, "my-connections-arabic");
		} finally {
			await page.goto(`${base}/app/connected-app`);
			await page.waitForFunction(() => window.frappe?.boot?.user);
			await speak("en");
		}
		await admin.close();
	}
}
