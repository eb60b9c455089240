// Chromium and Firefox, both driven by Puppeteer: Chromium over the DevTools protocol, Firefox over WebDriver BiDi.
import puppeteer from "puppeteer-core";
import { PATIENCE } from "../lib.mjs";
import { descendants, resume, stop } from "./processes.mjs";

/** No connection to this port is ever accepted: what a browser asks of other hosts goes nowhere. */
export const NOWHERE = "127.0.0.1:9";

export async function launchChromium() {
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    protocolTimeout: 2 * PATIENCE,
    // Tests run as root in containers, where the sandbox can't start. The rest keeps the browser from calling home.
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
      "--disable-sync", "--disable-dev-shm-usage", `--proxy-server=${NOWHERE}`,
    ],
    // Hidden tabs are throttled, as those of users are.
    ignoreDefaultArgs: ["--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding"],
  });
  return new PuppeteerBrowser("Chromium", browser, ChromiumTab);
}

export async function launchFirefox() {
  const [host, port] = NOWHERE.split(":");
  const browser = await puppeteer.launch({
    browser: "firefox",
    executablePath: process.env.FIREFOX ?? "/usr/bin/firefox-esr",
    headless: true,
    protocolTimeout: 2 * PATIENCE,
    extraPrefsFirefox: {
      "network.proxy.type": 1,
      "network.proxy.http": host, "network.proxy.http_port": Number(port),
      "network.proxy.ssl": host, "network.proxy.ssl_port": Number(port),
      // Loopback needs no proxy.
      "network.proxy.no_proxies_on": "127.0.0.1",
    },
  });
  return new PuppeteerBrowser("Firefox", browser, FirefoxTab);
}

class PuppeteerBrowser {
  constructor(name, browser, Tab) {
    this.name = name;
    this.browser = browser;
    this.Tab = Tab;
  }

  async version() {
    return (await this.browser.version()).split("/").pop();
  }

  async openTab() {
    return new this.Tab(this.browser, await this.browser.newPage());
  }

  async close() {
    await this.browser.close();
  }
}

class PuppeteerTab {
  #complaints = [];
  #requests = [];
  #front;

  constructor(browser, page) {
    this.browser = browser;
    this.page = page;
    page.setDefaultTimeout(PATIENCE);
    page.on("console", (message) => ["error", "warn"].includes(message.type()) && this.#complaints.push(`console: ${message.text()}`));
    page.on("pageerror", (error) => this.#complaints.push(`error: ${error.message}`));
    page.on("request", (request) => this.noteRequest(request.url()));
  }

  async goto(url) {
    await this.page.goto(url);
  }

  async reload() {
    await this.page.reload();
  }

  /** Closes the tab as a user does: `beforeunload` is fired. */
  async close() {
    await this.#front?.close();
    await this.page.close({ runBeforeUnload: true });
  }

  async run(script, ...args) {
    return await this.page.evaluate(script, ...args);
  }

  /** A tab behind another draws nothing, and a click waits for the next picture. */
  async click(selector) {
    await this.page.bringToFront();
    await this.page.click(selector);
  }

  async fill(selector, text) {
    await this.page.bringToFront();
    await this.page.locator(selector).fill(text);
  }

  async resize(width, height) {
    await this.page.setViewport({ width, height });
  }

  async screenshot(path) {
    await this.page.bringToFront();
    await this.page.screenshot({ path });
  }

  noteRequest(url) {
    this.#requests.push(url);
  }

  /** Returns the errors and warnings of the console, and the errors that no script caught. */
  async complaints() {
    return this.#complaints;
  }

  /** Returns the URLs of all requests. */
  async requests() {
    return this.#requests;
  }

  /** Puts another tab before this one. */
  async hide() {
    this.#front = await this.browser.newPage();
    await this.#front.bringToFront();
  }

  async show() {
    await this.#front.close();
    this.#front = undefined;
    await this.page.bringToFront();
  }
}

class ChromiumTab extends PuppeteerTab {
  #devtools;

  async goto(url) {
    this.#devtools ??= await this.page.createCDPSession();
    this.#devtools.on("Network.webSocketCreated", ({ url }) => this.noteRequest(url));
    await this.#devtools.send("Network.enable");
    await super.goto(url);
  }

  async resize(width, height) {
    await this.page.setViewport({ width, height, isMobile: true });
  }

  /** Freezes the page as Chromium freezes tabs in the background: no task runs, and `freeze` is fired. */
  async freeze() {
    await this.#devtools.send("Page.setWebLifecycleState", { state: "frozen" });
  }

  async thaw() {
    await this.#devtools.send("Page.setWebLifecycleState", { state: "active" });
  }
}

class FirefoxTab extends PuppeteerTab {
  #stopped = [];

  /** Stops the processes that run pages. The process of the browser keeps the connections open. */
  async freeze() {
    const pages = descendants(this.browser.process().pid).filter(({ command }) => command.includes(" -isForBrowser "));
    this.#stopped = stop(pages);
  }

  async thaw() {
    resume(this.#stopped);
  }
}
