// The page: a text in, labels out, and why. Labels and texts are hostile: they only ever become text nodes.
import { format, parse, textColumn } from "./csv.js";
import { Unavailable, contributions, load } from "./model.js";

const AT_FIRST = 3; // labels that are shown where fewer count
const EXPLAINED = 60; // words
const NAMED = 4; // labels in the line that is read out
const MOST_LINES = 5000;
const MOVERS = 5;
const TINT = 55; // per cent, of the strongest word
const LEAST = 0.005; // of a score: what is less is not drawn
const FULL = 0.2; // of a score: what is less is never drawn in full strength

const $ = (id) => document.getElementById(id);
const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};
const counts = (score) => score >= 0.5;
// No label that does not count is shown with 0.50.
const shown = (score) => (counts(score) ? score : Math.min(score, 0.494)).toFixed(2);
const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
const megabytes = (bytes) => (bytes / 1e6).toFixed(0);
const say = (text) => ($("status").textContent = text);

let config, loading, dropped;
let current = { number: 0 };

// --- the model -------------------------------------------------------------------------------------------------------

function start() {
  $("again").hidden = true;
  $("state").classList.remove("failed");
  $("progress").classList.remove("done");
  say("Loading the program …");
  loading = load(config, (bytes) => {
    $("progress").value = Math.min(bytes / config.bytes, 1);
    say(`Loading the model: ${megabytes(Math.min(bytes, config.bytes))} of ${megabytes(config.bytes)} MB …`);
  });
  loading.then(() => say("The model is there."), failed).finally(() => $("progress").classList.add("done"));
  return loading;
}

const uncover = () => document.body.classList.remove("waiting");

function failed(error) {
  uncover();
  console.error(error.cause ?? error);
  say(error instanceof Unavailable ? error.message : `Something went wrong (${error.message}).`);
  $("state").classList.add("failed");
  $("again").hidden = false;
}

// --- one text --------------------------------------------------------------------------------------------------------

async function ask() {
  const text = $("text").value.trim();
  if (!text) return say("There is no text yet.");
  const number = current.number + 1;
  current = { number };
  try {
    const read = await loading;
    if (number !== current.number) return;
    const [scores] = await read([text]);
    if (number !== current.number) return;
    current = { number, text, scores: [...scores], words: text.split(/\s+/) };
    draw();
    uncover();
    const link = new URL(location.href);
    link.hash = new URLSearchParams({ text }).toString();
    $("link").href = link;
    $("link").hidden = false;
    const found = order().filter((label) => counts(scores[label]));
    const named = found.slice(0, NAMED).map((label) => `${config.labels[label]} ${shown(scores[label])}`).join(", ");
    const more = found.length > NAMED ? ` and ${found.length - NAMED} more` : "";
    const cut = read.isCut(text) ? " The text is longer than the model reads: its end is left out." : "";
    say((found.length ? `It reads: ${named}${more}.` : "No label is at or above 0.5.") + cut);
    const words = current.words.slice(0, EXPLAINED);
    const rest = current.words.slice(EXPLAINED);
    const asked = words.length < 2 ? [] : words;
    const shares = await contributions(read, asked, current.scores).catch(failed);
    if (number !== current.number || !shares) return;
    current.shares = shares;
    current.rest = rest.length;
    tint();
  } catch (error) {
    if (!(error instanceof Unavailable)) failed(error); // else it is said already
  }
}

const order = () => current.scores.map((_, label) => label).sort((a, b) => current.scores[b] - current.scores[a]);

function draw() {
  const { scores, words } = current;
  const sorted = order();
  const few = Math.max(AT_FIRST, scores.filter(counts).length);
  const isOpen = $("all").getAttribute("aria-expanded") === "true";
  $("labels").replaceChildren(...sorted.slice(0, isOpen ? undefined : few).map(row));
  $("all").hidden = sorted.length <= few;
  $("all").textContent = isOpen ? "Fewer labels" : `All ${config.labels.length.toLocaleString("en")} labels`;
  if (!sorted.includes(current.label)) current.label = sorted[0];
  $("words").replaceChildren(
    ...words.flatMap((word, index) => [element("span", { className: "word", textContent: word }), index < words.length - 1 ? " " : ""]),
  );
  tint();
}

function row(label) {
  const score = current.scores[label];
  const bar = element("span", { className: "bar" });
  bar.style.setProperty("--share", `${100 * score}%`);
  const button = element(
    "button",
    { type: "button", className: counts(score) ? "label counts" : "label" },
    element("span", { textContent: counts(score) ? "✓" : "", ariaHidden: "true" }),
    element("span", { className: "name", textContent: config.labels[label] }),
    element("span", { className: "track half", ariaHidden: "true" }, bar),
    element("span", { className: "score", textContent: shown(score) }),
    element("span", { className: "unseen", textContent: counts(score) ? "counts" : "" }),
  );
  button.dataset.label = label;
  button.dataset.score = score;
  for (const event of ["pointerenter", "focus", "click"]) {
    button.addEventListener(event, () => {
      current.label = label;
      tint();
    });
  }
  return element("li", {}, button);
}

/** Tint the words for the label that is pointed at. */
function tint() {
  const { label, shares, words, rest } = current;
  for (const button of $("labels").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.label) === label));
  }
  $("why-label").textContent = config.labels[label];
  const spans = $("words").querySelectorAll(".word");
  const values = (shares ?? []).map((of) => of[label]);
  const most = Math.max(FULL, ...values.map(Math.abs));
  spans.forEach((span, index) => {
    const value = values[index] ?? 0;
    const isDrawn = Math.abs(value) >= LEAST;
    span.className = `word ${isDrawn ? (value > 0 ? "for" : "against") : ""}`.trim();
    span.style.setProperty("--strength", `${(TINT * Math.abs(value)) / most}%`);
    span.dataset.share = index in values ? value.toFixed(6) : "";
    span.title = index in values ? signed(value) : "";
  });
  if (!shares) return ($("why").textContent = "Reading it again without each word …");
  if (!shares.length) return ($("why").textContent = "A single word is all there is to go by.");
  const movers = values.map((value, index) => [value, words[index]]).filter(([value]) => Math.abs(value) >= LEAST);
  movers.sort(([a], [b]) => Math.abs(b) - Math.abs(a));
  const named = movers.slice(0, MOVERS).map(([value, word]) => `${word} ${signed(value)}`).join(" · ");
  $("why").textContent =
    (named ? `Moves it most: ${named}` : "No single word moves it.") +
    (rest ? ` (of the first ${EXPLAINED} words)` : "");
}

// --- many texts ------------------------------------------------------------------------------------------------------

async function open(file) {
  if (!file) return;
  const text = await file.text();
  const isTable = /\.(csv|tsv)$/i.test(file.name);
  const rows = isTable ? parse(text) : [];
  $("column-label").hidden = !isTable;
  dropped = undefined;
  if (isTable) {
    dropped = rows;
    $("column").replaceChildren(...(rows[0] ?? []).map((name, value) => element("option", { value, textContent: name })));
    if (rows.length) $("column").value = textColumn(rows);
    $("lines").value = "";
  } else {
    $("lines").value = text;
  }
  const lines = isTable ? Math.max(rows.length - 1, 0) : text.split(/\r?\n/).filter((line) => line.trim()).length;
  $("file-name").textContent = `${file.name}: ${lines.toLocaleString("en")} rows.`;
}

/** The table to be read: header, rows, and which of their cells is the text. */
function table() {
  if (dropped && !$("lines").value.trim()) {
    return { header: dropped[0] ?? [], rows: dropped.slice(1), column: Number($("column").value) };
  }
  const rows = $("lines").value.split(/\r?\n/).map((line) => line.trim()).filter(Boolean).map((line) => [line]);
  return { header: ["text"], rows, column: 0 };
}

async function count() {
  const status = (text) => ($("many-status").textContent = text);
  const { header, rows, column } = table();
  if (!rows.length) return status("There is no text yet.");
  if (rows.length > MOST_LINES) {
    return status(`${rows.length.toLocaleString("en")} texts are more than a page should read; up to 5,000 are accepted. ` +
                  "run_inference.py reads files of any size.");
  }
  let stopped = false;
  $("stop").onclick = () => (stopped = true);
  $("stop").hidden = $("many-progress").hidden = false;
  $("counts").hidden = $("download").hidden = true;
  const submit = $("many").querySelector("[type=submit]");
  submit.disabled = true;
  const answers = [];
  try {
    const read = await loading;
    for (const row of rows) {
      if (stopped) break;
      const [scores] = await read([row[column] ?? ""]);
      const labels = [...scores.keys()].filter((label) => counts(scores[label])).sort((a, b) => scores[b] - scores[a]);
      answers.push({ labels, scores: labels.map((label) => scores[label].toFixed(4)) });
      $("many-progress").value = answers.length / rows.length;
      if (answers.length % 10 === 0) $("many-progress").ariaValueText = `${answers.length} of ${rows.length}`;
    }
    summarise(header, rows, answers);
    status(`${stopped ? "Stopped: " : ""}${answers.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} texts read.`);
  } catch (error) {
    status(error.message);
  }
  $("stop").hidden = $("many-progress").hidden = true;
  submit.disabled = false;
}

function summarise(header, rows, answers) {
  const totals = config.labels.map((label, index) => [label, answers.filter(({ labels }) => labels.includes(index)).length]);
  totals.push(["(none)", answers.filter(({ labels }) => !labels.length).length]);
  const found = totals.filter(([, total]) => total).sort(([, a], [, b]) => b - a);
  $("counts").tBodies[0].replaceChildren(
    ...found.map(([label, total]) => {
      const bar = element("span", { className: "bar" });
      bar.style.setProperty("--share", `${(100 * total) / answers.length}%`);
      return element(
        "tr",
        {},
        element("th", { scope: "row", textContent: label }),
        element("td", { textContent: total.toLocaleString("en") }),
        element("td", { className: "chart" }, element("span", { className: "unseen", textContent: `${((100 * total) / answers.length).toFixed(1)} %` }),
                element("div", { className: "track", ariaHidden: "true" }, bar)),
      );
    }),
  );
  const cells = answers.map(({ labels, scores }, index) => [
    ...header.map((_, column) => rows[index][column] ?? ""),
    labels.map((label) => config.labels[label]).join(","),
    scores.join(","),
  ]);
  URL.revokeObjectURL($("download").href);
  const file = new Blob([format([[...header, "labels", "scores"], ...cells])], { type: "text/csv" });
  $("download").href = URL.createObjectURL(file);
  $("counts").hidden = $("download").hidden = false;
}

// --- the page --------------------------------------------------------------------------------------------------------

function fromAddress() {
  const text = new URLSearchParams(location.hash.slice(1)).get("text");
  if (text !== null) $("text").value = text.slice(0, 5000);
  return text !== null;
}

function describe() {
  document.title = $("title").textContent = config.title;
  const at = config.code.startsWith("/") // on its maker's own machine
    ? config.model
    : element("a", { href: `${config.host}${config.model}`, textContent: config.model });
  const scores = config.scores.map(([name, value]) => `${name} ${value.toFixed(3)}`).join(", ");
  $("model").append("Model: ", at, ` at revision ${config.revision.slice(0, 8)}; on ${config.scored}: ${scores}.`);
  $("warnings").textContent = config.warnings.join(" ");
  $("examples").append(
    ...config.examples.map(({ title, text }) => {
      const button = element("button", { type: "button", textContent: title, title: text });
      button.addEventListener("click", () => {
        $("text").value = text;
        ask();
      });
      return button;
    }),
  );
}

function listen() {
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  $("text").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    ask();
  });
  $("again").addEventListener("click", () => {
    start();
    ask();
  });
  $("all").addEventListener("click", () => {
    $("all").setAttribute("aria-expanded", String($("all").getAttribute("aria-expanded") !== "true"));
    draw();
  });
  addEventListener("hashchange", () => fromAddress() && ask());
  $("many").addEventListener("submit", (event) => {
    event.preventDefault();
    count();
  });
  $("file").addEventListener("change", () => open($("file").files[0]));
  $("many").addEventListener("dragover", (event) => {
    event.preventDefault();
    $("lines").classList.add("over");
  });
  for (const event of ["dragleave", "drop"]) $("many").addEventListener(event, () => $("lines").classList.remove("over"));
  $("many").addEventListener("drop", (event) => {
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    open(event.dataTransfer.files[0]);
  });
}

try {
  const answer = await fetch("config.json");
  if (!answer.ok) throw new Error(`config.json: status ${answer.status}`);
  config = await answer.json();
  config.host = new URL(config.host, location.href).href;
  describe();
  listen();
  if (!fromAddress()) $("text").value = config.examples[0]?.text ?? "";
  start();
  if ($("text").value) ask();
  else uncover();
} catch (error) {
  failed(error);
}
