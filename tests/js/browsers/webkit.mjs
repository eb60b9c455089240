// WebKit: MiniBrowser of WebKitGTK on a display of its own, driven over WebDriver by the program of WebKitGTK.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { freePort, until, within } from "../lib.mjs";
import { descendants, end, resume, stop } from "./processes.mjs";
import { NOWHERE } from "./puppeteer.mjs";

/** The key of an element in answers of WebDriver. */
const ELEMENT = "element-6066-11e4-a52e-4f735466cecf";

/** The browser of WebKitGTK, which Debian keeps out of PATH. */
function miniBrowser() {
  const found = readdirSync("/usr/lib").map((folder) => `/usr/lib/${folder}/webkit2gtk-4.1/MiniBrowser`).find(existsSync);
  return process.env.MINIBROWSER ?? found;
}

export async function launchWebKit() {
  const home = mkdtempSync(path.join(tmpdir(), "sociable-webkit-"));
  // Xvfb takes the first display that is free, and writes its number to this descriptor.
  const display = spawn("Xvfb", ["-displayfd", "3", "-screen", "0", "1280x1024x24", "-nolisten", "tcp"], { stdio: ["ignore", "ignore", "ignore", "pipe"] });
  const number = within(new Promise((resolve, reject) => {
    display.once("error", reject);
    display.stdio[3].once("data", (data) => resolve(data.toString().trim()));
  }), "a display");
  const port = await freePort();
  const env = { ...process.env, HOME: home, XDG_RUNTIME_DIR: home, DISPLAY: `:${await number}`, GDK_BACKEND: "x11", LIBGL_ALWAYS_SOFTWARE: "1" };
  const driver = spawn(process.env.WEBKIT_DRIVER ?? "/usr/bin/WebKitWebDriver", ["--host=127.0.0.1", `--port=${port}`], { env, stdio: "ignore" });
  const browser = new WebKitBrowser(`http://127.0.0.1:${port}`, driver, display, home);
  const kill = () => browser.kill();
  process.on("exit", kill);
  driver.once("exit", () => process.off("exit", kill));
  await within(new Promise((resolve, reject) => {
    driver.once("error", reject);
    until(() => fetch(`http://127.0.0.1:${port}/status`).then(({ ok }) => ok, () => false), "the driver answers").then(resolve, reject);
  }), "the driver");
  await browser.start();
  return browser;
}

class WebKitBrowser {
  name = "WebKit";
  #session = "";
  #current;

  constructor(url, driver, display, home) {
    this.url = url;
    this.driver = driver;
    this.display = display;
    this.home = home;
  }

  async start() {
    const { sessionId, capabilities } = await this.command("POST", "/session", {
      capabilities: {
        alwaysMatch: {
          "webkitgtk:browserOptions": { binary: miniBrowser(), args: ["--automation"] },
          proxy: { proxyType: "manual", httpProxy: NOWHERE, sslProxy: NOWHERE, noProxy: ["127.0.0.1"] },
        },
      },
    });
    this.#session = `/session/${sessionId}`;
    this.capabilities = capabilities;
    // This window stays open to the end: without any the session would end.
    this.first = this.#current = await this.command("GET", "/window");
  }

  async version() {
    return this.capabilities.browserVersion;
  }

  async command(method, path, body) {
    const options = { method, body: body && JSON.stringify(body) };
    const answer = fetch(this.url + this.#session + path, options).then((res) => res.json());
    const { value } = await within(answer, `the answer to ${method} ${path}`);
    if (value?.error) throw new Error(`${method} ${path}: ${value.error}: ${value.message}`);
    return value;
  }

  /** A command for one window. */
  async commandIn(handle, method, path, body) {
    if (this.#current !== handle) await this.command("POST", "/window", { handle });
    this.#current = handle;
    return await this.command(method, path, body);
  }

  /** A window of its own: a tab is not shown before a user picks it, which WebDriver has no command for. */
  async openTab() {
    const { handle } = await this.commandIn(this.first, "POST", "/window/new", { type: "window" });
    return new WebKitTab(this, handle);
  }

  async close() {
    await this.command("DELETE", "").catch(() => {});
    this.kill();
    rmSync(this.home, { recursive: true, force: true });
  }

  /** Ends what `close` may have left. */
  kill() {
    if (this.driver.pid) end(descendants(this.driver.pid));
    this.driver.kill("SIGKILL");
    this.display.kill("SIGTERM");
  }
}

class WebKitTab {
  #stopped = [];

  constructor(browser, handle) {
    this.browser = browser;
    this.handle = handle;
  }

  async command(method, path, body) {
    return await this.browser.commandIn(this.handle, method, path, body);
  }

  async goto(url) {
    await this.command("POST", "/url", { url });
    await this.#listen();
  }

  async reload() {
    await this.command("POST", "/refresh", {});
    await this.#listen();
  }

  /** WebDriver has no events: the page notes its errors itself, from the end of its load on. */
  async #listen() {
    await this.run(() => {
      const complaints = window.complaints = [];
      addEventListener("error", ({ message }) => complaints.push(`error: ${message}`));
      addEventListener("unhandledrejection", ({ reason }) => complaints.push(`error: ${reason}`));
      for (const level of ["error", "warn"]) console[level] = (...args) => complaints.push(`console: ${args.join(" ")}`);
    });
  }

  async close() {
    await this.command("DELETE", "/window");
  }

  async run(script, ...args) {
    // An error in the page arrives as a value: a script that fails has no other way to tell why.
    const { value, error } = await this.command("POST", "/execute/async", {
      script: `const done = arguments[arguments.length - 1];
        Promise.resolve([...arguments].slice(0, -1)).then((args) => (${script})(...args))
          .then((value) => done({ value }), (error) => done({ error: String(error) }));`,
      args,
    });
    if (error) throw new Error(error);
    return value;
  }

  async #element(selector) {
    return (await this.command("POST", "/element", { using: "css selector", value: selector }))[ELEMENT];
  }

  /** A command for an element. One that still moves, such as a dialog that opens, cannot be used yet. */
  async #use(selector, command, body) {
    const element = await this.#element(selector);
    await until(() => this.command("POST", `/element/${element}/${command}`, body).then(() => true, (error) => {
      if (!error.message.includes("element not interactable")) throw error;
    }), `${selector} rests`);
  }

  async click(selector) {
    await this.#use(selector, "click", {});
  }

  async fill(selector, text) {
    await this.#use(selector, "clear", {});
    await this.#use(selector, "value", { text });
  }

  async resize(width, height) {
    await this.command("POST", "/window/rect", { width, height });
  }

  async screenshot(path) {
    writeFileSync(path, Buffer.from(await this.command("GET", "/screenshot"), "base64"));
  }

  async complaints() {
    return await this.run(() => window.complaints ?? []);
  }

  /** WebSockets are not among these. */
  async requests() {
    return await this.run(() => performance.getEntriesByType("resource").map(({ name }) => name));
  }

  async hide() {
    await this.command("POST", "/window/minimize", {});
  }

  /** A new size restores a window that was minimised. */
  async show() {
    await this.command("POST", "/window/rect", { width: 1000, height: 700 });
  }

  /** Stops the processes that run pages. The process of the network keeps the connections open. */
  async freeze() {
    const pages = descendants(this.browser.driver.pid).filter(({ command }) => command.includes("WebKitWebProcess"));
    this.#stopped = stop(pages);
  }

  async thaw() {
    resume(this.#stopped);
  }
}
