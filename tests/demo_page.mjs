// Use the demo's page in Chromium as a reader would, and print what was seen, as JSON: `make node` installs what it needs.
//
//     node tests/demo_page.mjs '{"page": "http://…/", "sentences": ["so happy"], "checks": ["scores", …]}'
//
// Each check has a fresh profile. What the page asks of the CDN is answered from node_modules: nothing leaves this machine.
import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";

const order = JSON.parse(process.argv[2]);
const MODULES = new URL("../node_modules/", import.meta.url);
const CDN = "https://cdn.jsdelivr.net/npm/";
const AXE = readFileSync(new URL("axe-core/axe.min.js", MODULES), "utf-8");
const SHIFTS = `globalThis.shifts = [];
new PerformanceObserver((list) => shifts.push(...list.getEntries().filter((entry) => !entry.hadRecentInput).map(({ value }) => value)))
  .observe({ type: "layout-shift", buffered: true });
globalThis.violations = [];
addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective + " " + event.blockedURI));`;

async function fresh(options = {}, change = (path, content) => content) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  page.asked = [];
  page.complaints = [];
  page.on("request", (request) => page.asked.push(request.url()));
  page.on("console", (message) => message.type() === "error" && page.complaints.push(message.text()));
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  await page.addInitScript(AXE);
  await page.addInitScript(SHIFTS);
  await page.route(`${CDN}**`, (route) => {
    const path = route.request().url().slice(CDN.length).replace(/^((?:@[^/@]+\/)?[^/@]+)@[^/]+/, "$1");
    const body = change(path, readFileSync(new URL(path, MODULES)));
    return route.fulfill({ body, headers: { "access-control-allow-origin": "*" } });
  });
  return page;
}

/** Have the page find another config.json. */
const configured = (page, change) =>
  page.route(`${order.page}config.json`, async (route) => {
    const answer = await route.fetch();
    return route.fulfill({ json: change(await answer.json()) });
  });

const closed = async (page, seen) => {
  await page.context().close();
  return seen;
};
const said = (page) => page.locator("#status").textContent();
const answered = (page) =>
  page.waitForFunction(() => /^(It reads|No label)/.test(document.getElementById("status").textContent), null, { timeout: 60_000 });
const explained = (page) =>
  page.waitForFunction(() => !/^(Reading|$)/.test(document.getElementById("why").textContent), null, { timeout: 60_000 });

async function ask(page, text) {
  await page.evaluate(() => (document.getElementById("status").textContent = ""));
  await page.locator("#text").fill(text);
  await page.locator("#text").press("Enter");
  await answered(page);
  await explained(page);
}

const open = async (page, address = order.page) => {
  await page.goto(address);
  await answered(page);
  await explained(page);
};

const labels = (page) =>
  page.locator("#labels button").evaluateAll((buttons) =>
    buttons.map((button) => ({
      label: button.querySelector(".name").textContent,
      score: Number(button.dataset.score),
      shown: button.querySelector(".score").textContent,
      counts: button.classList.contains("counts"),
    })),
  );

const CHECKS = {
  async scores() {
    const page = await fresh();
    await configured(page, (config) => ({ ...config, dtype: "fp32" }));
    const began = performance.now();
    await open(page);
    const first = performance.now() - began;
    await page.locator("#all").click();
    const answers = [];
    for (const sentence of order.sentences) {
      await ask(page, sentence);
      const words = {};
      for (const label of order.labels) {
        await page.locator("#labels button", { has: page.getByText(label, { exact: true }) }).hover();
        words[label] = await page.locator("#words .word").evaluateAll((spans) =>
          spans.map((span) => ({
            word: span.textContent, share: Number(span.dataset.share || NaN), kind: span.className,
            strength: parseFloat(span.style.getPropertyValue("--strength")),
              tinted: getComputedStyle(span).backgroundColor !== "rgba(0, 0, 0, 0)",
          })),
        );
      }
      answers.push({ labels: await labels(page), words, said: await said(page), why: await page.locator("#why").textContent() });
    }
    const link = await page.locator("#link").getAttribute("href");
    const timed = await page.evaluate(async (text) => {
      const began = performance.now();
      const seen = new Promise((resolve) => new MutationObserver(resolve).observe(document.getElementById("labels"), { childList: true }));
      document.getElementById("text").value = text;
      document.getElementById("ask").requestSubmit();
      await seen;
      return performance.now() - began;
    }, order.sentences[0]);
    const seen = {
      first, timed, link, answers, asked: page.asked, complaints: page.complaints,
      violations: await page.evaluate(() => violations),
      shifts: await page.evaluate(() => shifts),
      cached: await page.evaluate(async () => (await (await caches.open("transformers-cache")).keys()).map(({ url }) => url)),
    };
    await open(page, link); // the link that reproduces an answer, and a second visit
    seen.reproduced = await page.locator("#text").inputValue();
    return closed(page, seen);
  },

  async plain() {
    const page = await fresh();
    await open(page);
    await page.locator("#all").click();
    const answers = [];
    for (const sentence of order.sentences) {
      await ask(page, sentence);
      answers.push(await labels(page));
    }
    return closed(page, answers);
  },

  async hostile() {
    const page = await fresh();
    const [text, label] = order.hostile;
    await configured(page, (config) => ({
      ...config, labels: config.labels.map((name, index) => (index ? name : label)), title: label, warnings: [label],
      examples: [{ title: label, text }],
    }));
    await open(page);
    await page.locator("#all").click();
    await page.locator("#labels button").first().hover();
    await page.locator("#lines").fill(text);
    await page.locator("#many [type=submit]").click();
    await page.locator("#counts").waitFor();
    return closed(page, {
      elements: await page.locator("img, iframe, body script, b").count(),
      ran: await page.evaluate(() => globalThis.ran ?? null),
      words: await page.locator("#words").textContent(),
      labels: (await labels(page)).map(({ label }) => label),
      title: await page.title(),
      sinks: await page.evaluate(() => {
        try {
          document.getElementById("words").innerHTML = "<b>bold</b>";
          return "open";
        } catch (error) {
          return error.name; // Trusted Types: not even a mistake in the page's own code can make HTML of a text
        }
      }),
    });
  },

  async keyboard() {
    const page = await fresh();
    await open(page);
    const visited = [];
    const where = () =>
      page.evaluate(() => {
        const { id, dataset, textContent } = document.activeElement;
        return { at: id || dataset.label || textContent.trim(), outline: getComputedStyle(document.activeElement).outlineStyle,
                 why: document.getElementById("why-label").textContent };
      });
    await page.keyboard.press("Tab");
    visited.push(await where());
    await page.keyboard.press("Control+A");
    await page.keyboard.type(order.sentences[1]);
    await page.evaluate(() => (document.getElementById("status").textContent = ""));
    await page.keyboard.press("Enter");
    await answered(page);
    await explained(page);
    for (let presses = 0; presses < 40 && visited.at(-1).at !== "download"; presses++) {
      await page.keyboard.press("Tab");
      visited.push(await where());
      if (visited.at(-1).at === "all") {
        await page.keyboard.press("Space");
        visited.at(-1).labels = (await labels(page)).length;
        await page.keyboard.press("Space");
      }
      if (visited.at(-1).at === "lines") await page.keyboard.type("so happy");
      if (visited.at(-1).at === "Count labels") {
        await page.keyboard.press("Enter");
        await page.locator("#counts").waitFor();
      }
    }
    return closed(page, visited);
  },

  async looks() {
    const seen = [];
    const page = await fresh();
    await open(page);
    await page.locator("#lines").fill(order.sentences.join("\n"));
    await page.locator("#many [type=submit]").click();
    await page.locator("#counts").waitFor();
    for (const width of [320, 1280]) {
      for (const colorScheme of ["light", "dark"]) {
        await page.setViewportSize({ width, height: 900 });
        await page.emulateMedia({ colorScheme });
        const name = `demo-${width}-${colorScheme}.png`;
        if (order.pictures) await page.screenshot({ path: `${order.pictures}/${name}`, fullPage: true });
        const { violations } = await page.evaluate(() => axe.run());
        seen.push({
          width, colorScheme,
          wide: await page.evaluate(() => document.documentElement.scrollWidth),
          axe: violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" | ")}`),
        });
      }
    }
    return closed(page, seen);
  },

  async many() {
    const page = await fresh();
    await open(page);
    await page.locator("#file").setInputFiles({ name: "rows.csv", mimeType: "text/csv", buffer: Buffer.from(order.table) });
    await page.locator("#many [type=submit]").click();
    await page.locator("#counts").waitFor();
    const column = await page.locator("#column").inputValue();
    const [download] = await Promise.all([page.waitForEvent("download"), page.locator("#download").click()]);
    const file = readFileSync(await download.path(), "utf-8");
    const counted = await page.locator("#counts tbody tr").evaluateAll((rows) =>
      rows.map((row) => [row.cells[0].textContent, Number(row.cells[1].textContent)]),
    );
    return closed(page, { column, file, counted, status: await page.locator("#many-status").textContent() });
  },

  async failures() {
    const seen = {};
    const failing = async (name, page) => {
      await page.goto(order.page);
      await page.locator("#state.failed").waitFor({ timeout: 60_000 });
      seen[name] = { said: await said(page), again: await page.locator("#again").isVisible() };
      return page;
    };
    let page = await failing("changed", await fresh({}, (path, content) => (path.endsWith(".min.js") ? Buffer.concat([content, Buffer.from(" ")]) : content)));
    await page.context().close();
    page = await fresh();
    await page.route("**/resolve/**", (route) => route.fulfill({ status: 401, headers: { "access-control-allow-origin": "*" } }));
    await failing("private", page);
    await page.unroute("**/resolve/**");
    await page.locator("#again").click();
    await answered(page);
    seen.private.then = await said(page);
    await page.context().close();
    page = await fresh();
    await page.route("**/resolve/**", (route) => route.abort());
    await (await failing("offline", page)).context().close();
    return seen;
  },
};

const browser = await chromium.launch({ executablePath: order.chromium, args: ["--no-sandbox"] });
const results = {};
try {
  for (const name of order.checks) results[name] = await CHECKS[name]();
} finally {
  await browser.close();
}
console.log(JSON.stringify(results));
