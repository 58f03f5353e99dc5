// Review suspects in Chromium as a person would, and print what was seen, as JSON: `make node` installs what it needs.
//
//     node tests/review_page.mjs '{"pages": {"hostile": "…/report.html", "plain": …, "many": …}, "chromium": "…", …}'
//
// Pages are opened from the disk. Each check has a fresh profile, all have one browser.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const order = JSON.parse(process.argv[2]);
const AXE = readFileSync(new URL("../node_modules/axe-core/axe.min.js", import.meta.url), "utf-8");
const WATCH = `globalThis.violations = [];
addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective + " " + event.blockedURI));`;

async function fresh(which, { script = "", ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  Object.assign(page, { asked: [], complaints: [], dialogs: [] });
  page.on("request", (request) => page.asked.push(request.url()));
  page.on("console", (message) => message.type() === "error" && page.complaints.push(message.text()));
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  page.on("dialog", (dialog) => {
    page.dialogs.push(dialog.type());
    return dialog.accept();
  });
  await page.addInitScript(WATCH);
  if (script) await page.addInitScript(script);
  await page.goto(pathToFileURL(order.pages[which]).href);
  return page;
}

const text = (page, id) => page.locator(`#${id}`).textContent();
const closed = async (page, seen) => {
  const violations = await page.evaluate(() => violations);
  await page.context().close();
  return { ...seen, asked: page.asked, complaints: page.complaints, dialogs: page.dialogs, violations };
};
const press = async (page, ...keys) => {
  for (const key of keys) await page.keyboard.press(key);
};
const saved = async (page, action) => {
  const [download] = await Promise.all([page.waitForEvent("download"), action()]);
  return { name: download.suggestedFilename(), content: readFileSync(await download.path(), "utf-8") };
};
const focused = (page) =>
  page.evaluate(() => {
    const { id, tagName, dataset, textContent } = document.activeElement;
    return { at: id || dataset.label || textContent.trim() || tagName, outline: getComputedStyle(document.activeElement).outlineStyle };
  });
const open = (page, name, content) =>
  page.locator("#file").setInputFiles({ name, mimeType: "text/csv", buffer: Buffer.from(content) });

const CHECKS = {
  /** Keys alone: accept, keep, edit with the field, skip, take back, and save from the button. */
  async keyboard() {
    const page = await fresh("hostile");
    const seen = { first: await text(page, "item") };
    await press(page, "a");
    seen.said = await text(page, "status");
    await press(page, "k", "s");
    seen.skipped = await text(page, "counts");
    await press(page, "e");
    await page.keyboard.type(order.typed);
    seen.offered = await page.locator("#choices label").allTextContents();
    await press(page, "Enter", "Enter");
    seen.after = await focused(page);
    await press(page, "a");
    seen.before = await text(page, "counts");
    await press(page, "b");
    seen.taken = await text(page, "counts");
    seen.back = await text(page, "where");
    await press(page, "ArrowLeft", "ArrowLeft", "ArrowRight", "p", "n");
    seen.moved = await text(page, "where");
    await press(page, "End"); // means nothing
    for (let presses = 0; presses < 30 && (await focused(page)).at !== "save"; presses++) await press(page, "Tab");
    const { name, content } = await saved(page, () => press(page, "Enter"));
    Object.assign(seen, { name, content, said: [seen.said, await text(page, "file-said")] });
    await press(page, "a"); // a button has the focus: keys work
    await page.reload();
    seen.reloaded = await text(page, "counts");
    seen.again = (await saved(page, () => page.locator("#save").click())).content;
    await page.reload();
    return closed(page, seen);
  },

  async hostile() {
    const page = await fresh("hostile");
    await page.locator("#about summary").click();
    await page.locator("#table button").first().click();
    const at = (await focused(page)).at;
    await page.locator("#label").selectOption("");
    const texts = [];
    for (let row = 0; row < 30; row++) {
      texts.push(await text(page, "text"));
      await press(page, "n");
    }
    for (const _ of texts) await press(page, "k");
    const { content } = await saved(page, () => page.locator("#save").click());
    await press(page, "e");
    const seen = await closed(page, {
      at, texts, content,
      labels: await page.locator("#choices bdi").allTextContents(),
      title: await page.title(),
      elements: await page.locator("img, iframe, svg, object, body b:not(#help b):not(#doubts b)").count(),
      scripts: await page.locator("script").count(),
      ran: await page.evaluate(() => globalThis.ran ?? null),
      sinks: await page.evaluate(() => {
        try {
          document.getElementById("text").innerHTML = "<b>bold</b>";
          return "open";
        } catch (error) {
          return error.name; // Trusted Types: not even a mistake in the page's own code can make HTML of a text
        }
      }),
    });
    return { ...seen, complaints: seen.complaints.slice(1), violations: seen.violations.slice(1) }; // of that attempt
  },

  /** An earlier file, as the page and as a spreadsheet save it; dropped; of another report; and none at all. */
  async files() {
    const seen = {};
    const page = await fresh("hostile");
    for (const [name, content] of Object.entries(order.files)) {
      await open(page, `${name}.csv`, Buffer.from(content, "base64"));
      await page.waitForFunction((name) => document.getElementById("file-said").textContent.startsWith(name), name);
      seen[name] = { said: await text(page, "file-said"), counts: await text(page, "counts") };
      if (!seen[name].counts.startsWith("0")) seen[name].content = (await saved(page, () => page.locator("#save").click())).content;
      await page.evaluate(() => localStorage.clear());
      await page.reload();
    }
    await page.evaluate((content) => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([Uint8Array.from(atob(content), (sign) => sign.charCodeAt(0))], "c.csv"));
      document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
    }, order.files.own);
    await page.waitForFunction(() => document.getElementById("file-said").textContent.includes("c.csv:"));
    seen.dropped = await text(page, "counts");
    await page.locator("#save").click();
    return closed(page, seen);
  },

  async filters() {
    const page = await fresh("plain");
    const seen = { all: await text(page, "counts") };
    for (const kind of ["wrong", "missing"]) {
      await page.locator("#kind").selectOption(kind);
      seen[kind] = await text(page, "counts");
      seen[`${kind} doubts`] = await page.locator("#doubts li").evaluateAll((lines) => lines.map(({ className }) => className));
    }
    await page.locator("#kind").selectOption("");
    await page.locator("#label").selectOption({ index: 1 });
    seen.label = [await page.locator("#label option:checked").textContent(), await text(page, "doubts")];
    await page.locator("#label").selectOption("");
    await page.locator("#which").selectOption("open");
    await page.locator("#accept").click();
    seen.open = [await text(page, "where"), await text(page, "counts")];
    await page.locator("#which").selectOption("done");
    seen.done = [await text(page, "where"), await text(page, "verdict")];
    await page.locator("#which").selectOption("skipped");
    seen.none = await text(page, "nothing");
    await page.locator("#which").selectOption("");
    await page.locator("#help summary").click();
    await page.locator("#keys").uncheck();
    await page.locator("#where").focus();
    await press(page, "k", "k", "e");
    seen.off = await text(page, "counts");
    return closed(page, seen);
  },

  /** No storage: the review goes on, and leaving is warned of. */
  async unkept() {
    const script = `Object.defineProperty(globalThis, "localStorage", { get() { throw new DOMException("no", "SecurityError"); } });`;
    const page = await fresh("plain", { script });
    await press(page, "a", "k", "a");
    const asked = await page.locator("#editor").isVisible(); // the third row would have no label left
    await press(page, "Enter");
    const counts = await text(page, "counts");
    await page.reload();
    return closed(page, { counts, isAsked: asked, reloaded: await text(page, "counts") });
  },

  /** So few labels that they need no field: the first has the focus, Enter saves. */
  async few() {
    const page = await fresh("few");
    await press(page, "e");
    const seen = { at: await focused(page), isFound: await page.locator("#find").isVisible() };
    await press(page, "Tab", "Space", "Enter");
    return closed(page, { ...seen, verdict: await text(page, "verdict"), said: await text(page, "nothing") });
  },

  async looks() {
    const seen = [];
    const page = await fresh("plain", { script: AXE });
    const visited = [];
    for (let presses = 0; presses < 30 && visited.at(-1)?.at !== "file"; presses++) {
      await press(page, "Tab");
      visited.push(await focused(page));
    }
    await page.locator("#where").focus();
    await press(page, "k", "s");
    for (const state of ["row", "editor", "about"]) {
      if (state === "editor") {
        await page.setViewportSize({ width: 320, height: 640 });
        await press(page, "e");
      }
      if (state === "about") {
        await press(page, "Escape", "p", "p"); // a row with a verdict
        for (const id of ["about", "help"]) await page.locator(`#${id} summary`).click();
      }
      for (const width of [320, 1280]) {
        for (const colorScheme of ["light", "dark"]) {
          await page.setViewportSize({ width, height: width > 400 ? 900 : 640 });
          await page.emulateMedia({ colorScheme });
          if (state !== "editor") await page.evaluate(() => scrollTo(0, 0));
          const name = `review-${state}-${width}-${colorScheme}`;
          if (order.pictures) {
            await page.screenshot({ path: `${order.pictures}/${name}.png` });
            await page.screenshot({ path: `${order.pictures}/${name}-full.png`, fullPage: true });
          }
          if ((width > 400) !== (colorScheme === "dark")) continue; // every width and scheme once
          const { violations } = await page.evaluate(() => axe.run());
          seen.push({
            name, width, wide: await page.evaluate(() => document.documentElement.scrollWidth),
            axe: violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" | ")}`),
          });
        }
      }
    }
    return closed(page, { seen, visited });
  },

  /** 1,000 rows, 1,000 labels: seconds until the page is there, milliseconds until a key has done its work. */
  async many() {
    const began = performance.now();
    const page = await fresh("many");
    await page.locator("#item").waitFor();
    const opened = (performance.now() - began) / 1000;
    await page.locator("#about summary").click(); // the table is drawn with each verdict
    const keys = [..."aknspbe", "x", "1", "Escape", ..."akaes", "Enter", "a"];
    const waits = await page.evaluate(async (keys) => {
      const waits = [];
      for (const key of keys) {
        const target = document.activeElement;
        const began = performance.now();
        target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
        if (target.id === "find" && key.length === 1) {
          target.value += key;
          target.dispatchEvent(new Event("input"));
        }
        document.body.getBoundingClientRect(); // laid out
        waits.push(performance.now() - began);
        await new Promise(requestAnimationFrame);
      }
      return waits;
    }, keys);
    return closed(page, { opened, waits, counts: await text(page, "counts") });
  },
};

const browser = await chromium.launch({ executablePath: order.chromium, args: ["--no-sandbox"] });
const results = {};
try {
  for (const name of order.checks ?? Object.keys(CHECKS)) {
    const began = performance.now();
    results[name] = await CHECKS[name]();
    results[name].seconds = (performance.now() - began) / 1000;
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify(results));
