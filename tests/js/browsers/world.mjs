// The browser of a run, which BROWSER names, and the tests of pages in it.
//
// A file of tests for one more page needs nothing else than `pageTest`: each file of this folder runs in each browser.
import { after, test } from "node:test";
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { until } from "../lib.mjs";
import { launchChromium, launchFirefox } from "./puppeteer.mjs";
import { launchWebKit } from "./webkit.mjs";

const SCREENSHOTS = process.env.SCREENSHOTS ?? fileURLToPath(new URL("../../../target/screenshots", import.meta.url));
const LAUNCH = { chromium: launchChromium, firefox: launchFirefox, webkit: launchWebKit };

export const browser = await LAUNCH[process.env.BROWSER ?? "chromium"]();
after(() => browser.close());
console.log(`${browser.name} ${await browser.version()}`);

/**
 * A test of pages, which gets a function that opens tabs. It fails if a page has an error in the console or asks another host, unless `expects` has that.
 * Each tab of a test that fails is photographed.
 */
export function pageTest(title, body, { expects = [] } = {}) {
  test(title, async (t) => {
    const tabs = [];
    const openTab = async (url) => {
      const tab = await browser.openTab();
      tabs.push(tab);
      await tab.goto(url);
      return tab;
    };
    try {
      await body({ t, openTab });
      for (const tab of tabs.filter((tab) => !tab.closed)) {
        const foreign = (url) => !/^(data|blob):/.test(url) && new URL(url).hostname !== "127.0.0.1";
        const requests = (await tab.requests()).filter(foreign).map((url) => `request to ${url}`);
        const problems = [...(await tab.complaints()), ...requests].filter((problem) => !expects.some((known) => known.test(problem)));
        assert.deepEqual(problems, [], "no error in the console, no request to another host");
      }
    } catch (error) {
      mkdirSync(SCREENSHOTS, { recursive: true });
      for (const [i, tab] of tabs.entries()) {
        const path = join(SCREENSHOTS, `${`${browser.name} ${title}`.replace(/\W+/g, "-")}-${i + 1}.png`);
        await tab.screenshot(path).then(() => console.error(`screenshot: ${path}`), () => {});
      }
      throw error;
    } finally {
      for (const tab of tabs) await closeTab(tab).catch(() => {});
    }
  });
}

/** Closes a tab, once. */
export async function closeTab(tab) {
  if (tab.closed) return;
  tab.closed = true;
  await tab.close();
}

export const textOf = (tab, selector) => tab.run((selector) => document.querySelector(selector)?.innerText.trim(), selector);

/** Waits until an element's visible text is this. */
export async function showsExactly(tab, selector, text) {
  await shows(tab, selector, text, (shown) => shown === text);
}

/** Waits until an element's visible text contains this. */
export async function shows(tab, selector, text, fits = (shown) => shown?.includes(text)) {
  let shown;
  await until(async () => fits(shown = await textOf(tab, selector)), "the page shows it").catch(() => {
    assert.fail(`${selector} shows ${JSON.stringify(shown)}, not ${JSON.stringify(text)}`);
  });
}
