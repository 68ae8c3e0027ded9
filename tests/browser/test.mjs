// People set up a Connected App in Desk, connect, see the state of it on every screen, and disconnect.
// Real Chromium, the real site, real OpenID providers. Screenshots of all screens go to $CONNECTED_APP_SCREENSHOTS, those
// of the guides to $CONNECTED_APP_DOCS_IMAGES, if set.

import { existsSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { chromium } from "playwright-core";
import { severalAccounts } from "./accounts.mjs";
import { connectByAddress } from "./address.mjs";
import { connectWithCode } from "./code.mjs";
import { check, counts, errors, startProvider, stopProviders } from "./kit.mjs";
import { languages } from "./languages.mjs";
import { keys, postedCallback } from "./keys.mjs";
import { pickProvider } from "./provider.mjs";
import { setUp } from "./setup.mjs";
import { shareOne } from "./shared.mjs";
import { deskStates, disabling, gallery, makeStates, myConnections, onePage, operations, setUpEmail, workspace } from "./states.mjs";
import { makeVisitor, offerAccountDeletion, visit } from "./visitor.mjs";

// Debian's, or whatever is installed: nothing is downloaded.
const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(
	existsSync
);
let browser;
try {
	const provider = await startProvider();
	browser = await chromium.launch({
		executablePath,
		args: [
			"--no-sandbox",
			"--disable-gpu",
			"--disable-quic",
			"--no-first-run",
			"--disable-background-networking",
			"--disable-component-update",
			"--disable-sync",
		],
	});
	const { context, page, name } = await setUp(browser, provider);
	await pickProvider(page);
	const visitor = await makeVisitor(page);
	await offerAccountDeletion(page);
	const { names, brokenBefore } = await makeStates(page, provider);
	await workspace(page, brokenBefore);
	await gallery(page);
	await operations(page);
	await connectByAddress(page);
	await setUpEmail(page, provider);
	await connectWithCode(browser, page, visitor);
	await deskStates(page, names);
	await myConnections(page);
	await onePage(page, names.reconnect);
	await disabling(page, provider);
	await keys(page, provider);
	await postedCallback(page);
	await shareOne(browser, page, provider, visitor);
	await severalAccounts(browser, page, provider, visitor);
	await context.close();
	await visit(browser, visitor, name);
	await languages(browser, names.reconnect);
} catch (error) {
	check("the test ran to its end", false, error.stack);
	const pages = browser?.contexts().flatMap((context) => context.pages()) ?? [];
	const screenshots = mkdtempSync(path.join(tmpdir(), "connected-app-"));
	console.log(`as it looked then: ${screenshots}`);
	for (const [index, page] of pages.entries()) {
		await page.screenshot({ path: path.join(screenshots, `failure-${index}.png`) }).catch(() => {});
	}
} finally {
	check("no script of ours failed", errors.length === 0, errors.join("; "));
	await browser?.close();
	stopProviders();
}
console.log(`${counts.passed} passed, ${counts.failed} failed`);
process.exit(counts.failed ? 1 : 0);
