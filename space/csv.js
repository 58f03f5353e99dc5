// Tables as text: what a file holds, and an answer as a CSV that a spreadsheet does not take for formulas.

/** Rows of cells in a CSV (RFC 4180, separated by comma, semicolon or tab, whichever its first line has most of). */
export function parse(text) {
  text = text.replace(/^\ufeff/, "");
  const first = text.split(/\r?\n/, 1)[0];
  const separator = [",", ";", "\t"].reduce((a, b) => (first.split(b).length > first.split(a).length ? b : a));
  const rows = [];
  let row = [], cell = "", quoted = false;
  const endRow = () => {
    row.push(cell);
    if (row.length > 1 || cell.trim()) rows.push(row);
    row = [];
    cell = "";
  };
  for (let i = 0; i < text.length; i++) {
    const sign = text[i];
    if (quoted) {
      if (sign !== '"') cell += sign;
      else if (text[i + 1] === '"') cell += text[++i];
      else quoted = false;
    } else if (sign === '"' && !cell) quoted = true;
    else if (sign === separator) {
      row.push(cell);
      cell = "";
    } else if (sign === "\n" || sign === "\r") {
      if (sign === "\r" && text[i + 1] === "\n") i++;
      endRow();
    } else cell += sign;
  }
  endRow();
  return rows;
}

/** The column that is most likely the text: by its name, or else the one with the longest cells. */
export function textColumn([header, ...rows]) {
  const named = header.findIndex((name) => /^(text|comment|message|sentence|body|content)$/i.test(name.trim()));
  if (named >= 0) return named;
  const length = (column) => rows.slice(0, 100).reduce((sum, row) => sum + (row[column] ?? "").length, 0);
  return header.reduce((best, _, column) => (length(column) > length(best) ? column : best), 0);
}

/** Rows of cells as CSV; a cell that a spreadsheet would compute gets an apostrophe (OWASP, CSV injection). */
export function format(rows) {
  const cell = (value) => {
    const text = typeof value === "string" && /^\s*[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
    return /[",;\r\n\t']/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return "\ufeff" + rows.map((row) => row.map(cell).join(",") + "\r\n").join("");
}
