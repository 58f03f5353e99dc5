"use strict";
// The review: one row after the other, a verdict for each. Texts and names are hostile: they only become text nodes.
{
  const DATA = JSON.parse(document.getElementById("data").textContent);
  const { names, items } = DATA;
  const COLUMNS = ["split", "place", "text", "labels", "corrected_labels", "verdict"];
  const SAID = { accept: "Accepted", edit: "Edited", keep: "Kept" };
  const MANY = 16; // labels, from which there is a field to find one
  const SHOWN = 100; // labels to choose from at once
  const KEY = `review ${DATA.digest}`;
  const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g;

  const $ = (id) => document.getElementById(id);
  const element = (name, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };
  const same = (text) => text.replace(/\r\n?/g, "\n"); // a spreadsheet has its own ends of lines
  const visible = (text) => same(text).replace(CONTROLS, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`);
  const labelled = (label) => visible(names[label]) || "(no name)";
  const count = (number) => number.toLocaleString("en");
  const equal = (one, other) => one.length === other.length && one.every((label) => other.includes(label));
  const listed = (labels) => labels.map(labelled).join(", ") || "no label";
  const say = (text) => ($("status").textContent = text);

  const verdicts = new Map(); // item → { verdict, labels }
  const skipped = new Set(); // items
  let others = []; // rows of an earlier corrections.csv that are not in this report
  let undone = []; // what Back takes back: [item, its verdict before, whether it was skipped]
  let unsaved = false;
  let at = 0;
  let chosen = null; // labels that are being edited

  // --- kept in the browser ---------------------------------------------------------------------------------------------

  function store() {
    try {
      const kept = [...verdicts].map(([item, { verdict, labels }]) => [item, verdict, verdict === "edit" ? labels : 0]);
      localStorage.setItem(KEY, JSON.stringify({ kept, skipped: [...skipped], others, unsaved, at }));
    } catch {
      // storage is off or full: corrections.csv is what counts
    }
  }

  function restore() {
    try {
      const stored = JSON.parse(localStorage.getItem(KEY));
      if (!stored) return;
      for (const [item, verdict, labels] of stored.kept) {
        const isKnown = !labels || labels.every((label) => label in names);
        if (items[item] && SAID[verdict] && isKnown) verdicts.set(item, { verdict, labels: labels || outcome(items[item], verdict) });
      }
      stored.skipped.filter((item) => items[item]).forEach((item) => skipped.add(item));
      others = stored.others;
      unsaved = stored.unsaved;
      at = items[stored.at] ? stored.at : 0;
    } catch {
      // the same
    }
  }

  const outcome = (item, verdict) => (verdict === "accept" ? item.corrected : item.given);

  // --- which rows ------------------------------------------------------------------------------------------------------

  function shown(index) {
    const [label, kind, which] = [$("label").value, $("kind").value, $("which").value];
    if (which === "open" && verdicts.has(index)) return false;
    if (which === "done" && !verdicts.has(index)) return false;
    if (which === "skipped" && (!skipped.has(index) || verdicts.has(index))) return false;
    return items[index].doubts.some((doubt) => (!label || doubt.label === Number(label)) && (!kind || doubt.kind === kind));
  }

  /** The first row from `from` on, in steps of `step`, for which `is` holds; undefined: there is none. */
  function find(from, step, is) {
    for (let index = from; index >= 0 && index < items.length; index += step) if (shown(index) && is(index)) return index;
    return undefined;
  }

  const isOpen = (index) => !verdicts.has(index) && !skipped.has(index);
  const nextOpen = () => find(at + 1, 1, isOpen) ?? find(0, 1, isOpen);

  // --- drawing ---------------------------------------------------------------------------------------------------------

  const chip = (label, kind = "") => element("bdi", { className: `chip ${kind}`.trim(), textContent: labelled(label) });
  const chips = (labels, kind) => (labels.length ? labels.map((label) => chip(label, kind)) : [element("span", { className: "none", textContent: "no label" })]);

  /** What becomes of the given labels: those that go, stay and come. */
  function change(given, labels) {
    const gone = given.filter((label) => !labels.includes(label)).map((label) => chip(label, "gone"));
    const kept = labels.filter((label) => given.includes(label)).map((label) => chip(label));
    const come = labels.filter((label) => !given.includes(label)).map((label) => chip(label, "new"));
    const none = labels.length ? [] : [element("span", { className: "none", textContent: "no label, which a run takes only with --allow_unlabelled" })];
    return [...kept, ...come, ...gone, ...none];
  }

  function doubtful({ label, kind, probability, judge, score }) {
    const sees = probability === null ? [] : [`the model sees ${probability.toFixed(2)}`];
    if (judge !== null) sees.push(`the judges see ${judge.toFixed(2)}`);
    const so = kind === "wrong" ? "is given" : "is not given";
    const line = element("li", { className: kind }, element("b", {}, element("bdi", { textContent: labelled(label) })));
    line.append(sees.length ? ` ${so}, but ${sees.join(", and ")}` : ` ${so}, which is in doubt`);
    if (score !== null) line.append(" ", element("small", { textContent: `(suspicion ${score.toFixed(2)})` }));
    return line;
  }

  function draw() {
    const item = items[at];
    $("item").hidden = $("actions").hidden = false;
    const place = element("small", { textContent: ` · ${visible(item.place)}, ${visible(item.split)}` });
    $("where").replaceChildren(`Row ${count(at + 1)} of ${count(items.length)}`, place);
    $("text").textContent = visible(item.text);
    $("doubts").replaceChildren(...item.doubts.map(doubtful));
    $("given").replaceChildren(...chips(item.given));
    $("predicted").replaceChildren(...chips(item.predicted));
    $("corrected").replaceChildren(...change(item.given, item.corrected));
    const decided = verdicts.get(at);
    $("verdict-line").hidden = !decided && !skipped.has(at);
    $("verdict").replaceChildren(
      ...(decided ? [`${SAID[decided.verdict]}: `, ...change(item.given, decided.labels)] : ["Skipped"]),
    );
    drawCounts();
  }

  function drawCounts() {
    const of = { accept: 0, edit: 0, keep: 0 };
    for (const { verdict } of verdicts.values()) of[verdict]++;
    const skips = [...skipped].filter((item) => !verdicts.has(item)).length;
    const view = items.filter((_, index) => shown(index)).length;
    $("progress").max = items.length;
    $("progress").value = verdicts.size;
    $("counts").textContent =
      `${count(verdicts.size)} of ${count(items.length)} rows done: ${count(of.accept)} accepted, ${count(of.edit)} edited, ` +
      `${count(of.keep)} kept${skips ? `; ${count(skips)} skipped` : ""}${view < items.length ? `; ${count(view)} shown` : ""}`;
  }

  const doubted = new Map(); // label → the rows in which it is in doubt
  items.forEach(({ doubts }, index) => {
    for (const { label } of doubts) (doubted.get(label) ?? doubted.set(label, []).get(label)).push(index);
  });
  const drawn = new Map(); // label → the cells of its line in the table, once that has been looked at

  /** How many of a label's doubts say that it is wrong, that it is missing; how many have a verdict, were right. */
  function counted(label) {
    const of = { wrong: 0, missing: 0, done: 0, right: 0 };
    for (const index of doubted.get(label)) {
      const { kind } = items[index].doubts.find((doubt) => doubt.label === label);
      of[kind]++;
      if (!verdicts.has(index)) continue;
      of.done++;
      if (verdicts.get(index).labels.includes(label) === (kind === "missing")) of.right++;
    }
    return Object.values(of).map(count);
  }

  function drawTable() {
    const sorted = [...doubted.keys()].sort((one, other) => doubted.get(other).length - doubted.get(one).length);
    const lines = sorted.map((label) => {
      const button = element("button", { type: "button" }, element("bdi", { textContent: labelled(label) }));
      button.addEventListener("click", () => {
        $("label").value = String(label);
        filtered();
        $("where").focus();
      });
      drawn.set(label, counted(label).map((textContent) => element("td", { textContent })));
      return element("tr", {}, element("th", { scope: "row" }, button), ...drawn.get(label));
    });
    $("table").tBodies[0].replaceChildren(...lines);
  }

  function updateTable(index) {
    for (const { label } of items[index].doubts) {
      const figures = counted(label);
      drawn.get(label)?.forEach((cell, column) => (cell.textContent = figures[column]));
    }
  }

  const inBrief = () => {
    const { text, doubts } = items[at];
    const doubted = doubts.map(({ label, kind }) => `${labelled(label)} ${kind === "wrong" ? "wrong?" : "missing?"}`).join(", ");
    return `Row ${count(at + 1)}: ${visible(text)} ${doubted}`;
  };
  const progress = () => `${count(verdicts.size)} of ${count(items.length)} rows done.`;

  function go(index, before = "") {
    if (index === undefined) return say(`${before}There is no further row.`);
    at = index;
    $("nothing").hidden = true;
    draw();
    say(before + inBrief());
    store();
    if ($("item").getBoundingClientRect().top < 0) $("item").scrollIntoView({ block: "start" });
  }

  // --- verdicts --------------------------------------------------------------------------------------------------------

  const remember = () => undone.push([at, verdicts.get(at), skipped.has(at)]);

  /** Show the next row without a verdict, or say that there is none. */
  function goOn(said) {
    const next = nextOpen();
    if (next !== undefined) return go(next, `${said} ${progress()} `);
    draw();
    store();
    const all = verdicts.size === items.length ? "Every row has a verdict" : "No row that is shown is without a verdict";
    $("nothing").textContent = `${all}. Save corrections.csv.`;
    $("nothing").hidden = false;
    say(`${said} ${progress()} ${$("nothing").textContent}`);
  }

  function decide(verdict, labels = outcome(items[at], verdict)) {
    remember();
    skipped.delete(at);
    verdicts.set(at, { verdict, labels });
    updateTable(at);
    unsaved = true;
    goOn(`${SAID[verdict]}.`);
  }

  function skip() {
    remember();
    if (verdicts.delete(at)) unsaved = true;
    skipped.add(at);
    updateTable(at);
    goOn("Skipped.");
  }

  function back() {
    if (!undone.length) return say("There is nothing to take back.");
    const [item, verdict, wasSkipped] = undone.pop();
    verdict ? verdicts.set(item, verdict) : verdicts.delete(item);
    wasSkipped ? skipped.add(item) : skipped.delete(item);
    updateTable(item);
    unsaved = verdicts.size + others.length > 0;
    go(item, `Taken back. ${progress()} `);
  }

  function filtered() {
    close(false);
    const every = () => true;
    const first = shown(at) ? at : find(0, 1, isOpen) ?? find(0, 1, every);
    if (first !== undefined) return go(first, `${count(items.filter((_, index) => shown(index)).length)} rows shown. `);
    drawCounts();
    $("nothing").textContent = "No row is like that.";
    $("nothing").hidden = false;
    say("No row is like that.");
  }

  // --- editing ---------------------------------------------------------------------------------------------------------

  /** Choose the labels; also where nothing would be left of them, which a person has to have meant. */
  function edit() {
    const item = items[at];
    chosen = new Set(verdicts.get(at)?.labels ?? item.corrected);
    $("find").value = "";
    $("finding").hidden = names.length <= MANY;
    $("editor").hidden = false;
    $("actions").hidden = true;
    drawChoices();
    ($("finding").hidden ? $("choices").querySelector("input") : $("find")).focus();
    say(`Choose the labels, or save as it is: ${listed([...chosen])} chosen.`);
  }

  function close(isFocused = true) {
    if (chosen === null) return;
    chosen = null;
    $("editor").hidden = true;
    $("actions").hidden = false;
    if (isFocused) $("edit").focus();
  }

  function saveEdit() {
    const item = items[at];
    const labels = [...item.given.filter((label) => chosen.has(label)), ...[...chosen].filter((label) => !item.given.includes(label)).sort((a, b) => a - b)];
    close();
    if (equal(labels, item.given)) return decide("keep");
    return equal(labels, item.corrected) ? decide("accept") : decide("edit", labels);
  }

  /** The labels that are offered: those of this row first, then the dataset's, as far as they hold what is sought. */
  function offered() {
    const { given, predicted, corrected, doubts } = items[at];
    const sought = $("find").value.trim().toLowerCase();
    const first = [...given, ...corrected, ...doubts.map(({ label }) => label), ...predicted, ...chosen];
    return [...new Set([...first, ...names.keys()])].filter((label) => names[label].toLowerCase().includes(sought));
  }

  function drawChoices() {
    const labels = offered();
    $("choices").replaceChildren(
      ...labels.slice(0, SHOWN).map((label) => {
        const box = element("input", { type: "checkbox", checked: chosen.has(label) });
        box.dataset.label = label;
        box.addEventListener("change", () => choose(label, box.checked));
        return element("label", { className: "tick" }, box, element("bdi", { textContent: labelled(label) }));
      }),
    );
    const rest = labels.length - SHOWN;
    $("more").textContent = labels.length ? (rest > 0 ? `and ${count(rest)} more: type to find them` : "") : "No label has that in its name.";
    $("chosen").textContent = listed([...chosen]);
  }

  function choose(label, isIn) {
    isIn ? chosen.add(label) : chosen.delete(label);
    $("chosen").textContent = listed([...chosen]);
    say(`${labelled(label)} ${isIn ? "chosen" : "left out"}.`);
  }

  function editorKey(event) {
    if (event.key === "Escape") {
      event.preventDefault();
      close();
      say("The labels are left as they were.");
    } else if (event.key === "Enter" && event.target.tagName !== "BUTTON") {
      event.preventDefault();
      if (event.target !== $("find") || !$("find").value.trim()) return saveEdit();
      const [label] = offered();
      if (label === undefined) return say("No label has that in its name.");
      choose(label, !chosen.has(label));
      $("find").value = "";
      drawChoices();
    } else if (event.key === "ArrowDown" && event.target === $("find")) {
      event.preventDefault();
      $("choices").querySelector("input")?.focus();
    }
  }

  // --- corrections.csv -------------------------------------------------------------------------------------------------

  const quoted = (cell) => (/[",;|\t\r\n]|^\s|\s$/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  const cellOf = (labels) => {
    const words = labels.map((label) => names[label]);
    return words.length ? (DATA.lists ? JSON.stringify(words) : words.join(",")) : "";
  };

  function corrections() {
    const rows = [...verdicts].sort(([one], [other]) => one - other).map(([index, { verdict, labels }]) => {
      const { split, place, text, given } = items[index];
      return [split, place, text, cellOf(given), cellOf(labels), verdict];
    });
    return "\ufeff" + [COLUMNS, ...rows, ...others].map((row) => row.map(quoted).join(",") + "\r\n").join("");
  }

  function save() {
    if (!verdicts.size && !others.length) return fileSaid("There is no verdict yet.");
    const url = URL.createObjectURL(new Blob([corrections()], { type: "text/csv" }));
    element("a", { href: url, download: "corrections.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
    unsaved = false;
    store();
    fileSaid(`Saved: ${count(verdicts.size + others.length)} rows in corrections.csv.`);
  }

  function fileSaid(text) {
    $("file-said").textContent = text;
    say(text);
  }

  /** The rows of a CSV file, cells as they are; its header says what separates them. */
  function parse(text) {
    const header = text.split(/\r\n|\n|\r/, 1)[0];
    const separator = [",", ";", "\t", "|"].find((sign) => header.split(sign).length >= COLUMNS.length - 1) ?? ",";
    const rows = [];
    let [row, cell, isQuoted] = [[], "", false];
    const end = () => {
      row.push(cell);
      if (row.length > 1 || row[0]) rows.push(row);
      [row, cell] = [[], ""];
    };
    for (let index = 0; index < text.length; index++) {
      const sign = text[index];
      if (isQuoted) {
        if (sign !== '"') cell += sign;
        else if (text[index + 1] === '"') cell += text[++index];
        else isQuoted = false;
      } else if (sign === '"' && !cell) isQuoted = true;
      else if (sign === separator) {
        row.push(cell);
        cell = "";
      } else if (sign === "\n" || sign === "\r") {
        if (sign === "\r" && text[index + 1] === "\n") index++;
        end();
      } else cell += sign;
    }
    if (cell || row.length) end();
    return rows;
  }

  const ids = new Map(names.map((name, label) => [name, label]));

  /** The labels in a cell; null where it holds one that the dataset does not have. */
  function labelsOf(cell) {
    let words = cell.trim();
    try {
      words = words.startsWith("[") ? JSON.parse(words) : DATA.lists && words ? null : words.split(",").map((word) => word.trim()).filter(Boolean);
    } catch {
      return null;
    }
    return words?.every?.((word) => ids.has(word)) ? words.map((word) => ids.get(word)) : null;
  }

  async function open(file) {
    if (!file) return;
    const bytes = new Uint8Array(await file.arrayBuffer());
    const encoding = bytes[0] === 0xff && bytes[1] === 0xfe ? "utf-16le" : bytes[0] === 0xfe && bytes[1] === 0xff ? "utf-16be" : "utf-8";
    const [header, ...rows] = parse(new TextDecoder(encoding).decode(bytes));
    const missing = COLUMNS.slice(0, -1).filter((column) => !header?.includes(column));
    const name = visible(file.name);
    if (missing.length) return fileSaid(`${name} is no file of corrections: it has no column ${missing.join(", ")}.`);
    const known = new Map();
    items.forEach(({ place, text }, index) => {
      const key = JSON.stringify([place, same(text)]);
      known.set(key, [...(known.get(key) ?? []), index]);
    });
    const [found, strange] = [[], []];
    for (const row of rows) {
      const [split, place, text, labels, corrected, verdict = ""] = COLUMNS.map((column) => row[header.indexOf(column)] ?? "");
      const [given, after] = [labelsOf(labels), labelsOf(corrected)];
      const index = given && after && known.get(JSON.stringify([place, same(text)]))?.find((item) => equal(items[item].given, given));
      if (index === undefined || index === null) strange.push([split, place, text, labels, corrected, verdict]);
      else found.push([index, after]);
    }
    if (!found.length) return fileSaid(`${name} was not made from this report: none of its rows is here.`);
    undone = [];
    unsaved ||= verdicts.size > 0 || others.length > 0;
    for (const [index, labels] of found) {
      const { given, corrected } = items[index];
      const verdict = equal(labels, given) ? "keep" : equal(labels, corrected) ? "accept" : "edit";
      verdicts.set(index, { verdict, labels });
      skipped.delete(index);
      updateTable(index);
    }
    const kept = new Map([...others, ...strange].map((row) => [JSON.stringify(row.slice(0, 4)), row]));
    others = [...kept.values()];
    close(false);
    const rest = strange.length ? ` ${count(strange.length)} of its rows are not in this report and stay in what is saved.` : "";
    go(find(0, 1, isOpen) ?? at);
    fileSaid(`${name}: ${count(found.length)} verdicts taken over.${rest} ${progress()}`);
  }

  // --- the page --------------------------------------------------------------------------------------------------------

  const every = () => true;
  const ACTIONS = {
    accept: () => (items[at].corrected.length ? decide("accept") : edit()), keep: () => decide("keep"), edit, skip, back,
    previous: () => go(find(at - 1, -1, every)), next: () => go(find(at + 1, 1, every)),
  };
  const KEYS = {
    a: "accept", k: "keep", e: "edit", s: "skip", b: "back", p: "previous", n: "next", ArrowLeft: "previous", ArrowRight: "next",
  };

  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return;
    if (chosen !== null) return editorKey(event);
    if (event.repeat || !$("keys").checked || event.target.closest?.("select, input:not([type=checkbox])")) return;
    const letter = /^[a-z]$/i.test(event.key) ? event.key.toLowerCase() : event.code.replace(/^Key/, "").toLowerCase();
    const action = KEYS[event.key] ?? KEYS[letter];
    if (!action) return;
    event.preventDefault();
    ACTIONS[action]();
  }

  function begin() {
    $("label").append(...[...doubted.keys()].sort((a, b) => a - b).map((label) => element("option", { value: label, textContent: labelled(label) })));
    restore();
    $("about").addEventListener("toggle", () => drawn.size || drawTable());
    if (!items.length) {
      $("nothing").textContent = "There is nothing to review: no label is in doubt.";
      $("nothing").hidden = false;
      $("state").hidden = $("tools").hidden = true;
      return;
    }
    for (const [id, action] of Object.entries(ACTIONS)) $(id).addEventListener("click", action);
    for (const id of ["label", "kind", "which"]) {
      let isPointed = false; // then keys are meant for the row again, not for the list
      $(id).addEventListener("pointerdown", () => (isPointed = true));
      $(id).addEventListener("keydown", () => (isPointed = false));
      $(id).addEventListener("change", () => {
        filtered();
        if (isPointed) $(id).blur();
      });
    }
    $("save-edit").addEventListener("click", saveEdit);
    $("cancel-edit").addEventListener("click", () => close());
    $("find").addEventListener("input", drawChoices);
    $("save").addEventListener("click", save);
    $("file").addEventListener("change", async () => {
      await open($("file").files[0]);
      $("file").value = "";
    });
    document.addEventListener("keydown", pressed);
    document.addEventListener("dragover", (event) => {
      event.preventDefault();
      document.body.classList.add("over");
    });
    for (const event of ["dragleave", "drop"]) document.addEventListener(event, () => document.body.classList.remove("over"));
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      open(event.dataTransfer.files[0]);
    });
    addEventListener("beforeunload", (event) => unsaved && event.preventDefault());
    draw();
    if (verdicts.size) say(`${progress()} ${inBrief()}`);
  }

  begin();
}
