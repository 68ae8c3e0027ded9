// The screens in German and, from right to left, in Arabic.

import { LIGHT, WIDE, base, call, check, listen, login, looks, openForm, picture, settle, shot, waitForConnection } from "./kit.mjs";

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
	const context = await browser.newContext({ viewport: WIDE });
	await login(context, "Administrator", "admin");
	const settings = await context.newPage();
	await settings.goto(`${base}/app/connected-app`);
	await settings.waitForFunction(() => window.frappe?.boot?.user);
	const speak = (value) =>
		call(settings, "frappe.client.set_value", {
			doctype: "User",
			name: "Administrator",
			fieldname: "language",
			value,
		});
	try {
		for (const [language, said] of Object.entries(SAID)) {
			await speak(language);
			await screens(listen(await context.newPage()), name, language, said);
		}
	} finally {
		await speak("en");
	}
	await context.close();
}

async function screens(page, name, language, said) {
	await openForm(page, name);
	await waitForConnection(page, said.form[1]);
	const text = await page.evaluate(() => document.body.innerText);
	const missing = said.form.filter((words) => !text.includes(words));
	check(`the form speaks ${language}`, missing.length === 0, missing.join(", "));
	const direction = await page.evaluate(
		() => getComputedStyle(document.querySelector(".connected-app-connection")).direction
	);
	check(`and reads in its direction (${language})`, direction === (language === "ar" ? "rtl" : "ltr"), direction);
	await settle(page);
	await shot(page, `form-${language}`);
	await page.evaluate(() => frappe.new_doc("Connected App"));
	await page.waitForSelector(".connected-app-steps:visible");
	await settle(page);
	await shot(page, `form-new-${language}`);
	await page.goto(`${base}/my-connections`);
	await page.waitForSelector(".connected-app-card [data-action]:not([disabled])");
	await looks(page, `my connections ${language}`, {
		selectors: [".connected-app-page"],
		words: said.page,
		only: LIGHT,
	});
	if (language === "ar") await picture(page, "my-connections-arabic");
}
