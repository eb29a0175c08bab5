// A sortable table. A column is {key, label, title, numeric, first, value(row), cell(row)}:
// value returns the sort key, cell the content of the cell; first is the direction of the first click;
// whose, if given, stands above the label.

import { element, format, isNumber } from "./dom.js";

export function numberColumn(key, label, title, value, write, first = "rising") {
  return {
    key, label, title, numeric: true, shown: true, first, value,
    cell: (row) => [element("span", { class: isNumber(value(row)) ? null : "missing", text: write(value(row)) })],
  };
}

export function textColumn(key, label, title, value, shown = true) {
  return { key, label, title, shown, value, cell: (row) => [format.plain(value(row))] };
}

const PAGE_ROWS = 200;

export const isMissing = (value) => value === null || value === undefined || value === "" || Number.isNaN(value);

// "-speedup" sorts falling, "speedup" rising.
export const parseSort = (text) => (text.startsWith("-") ? { key: text.slice(1), falling: true } : { key: text, falling: false });

export const NAMES = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

const comparePresent = (a, b) => (typeof a === "string" || typeof b === "string" ? NAMES.compare(a, b) : a - b);

// Missing values come last in both directions; equal values keep the order that tieBreak gives.
export function sortRows(rows, column, falling, tieBreak) {
  const keyed = rows.map((row) => ({ row, value: column.value(row) }));
  keyed.sort((a, b) => {
    const [left, right] = [isMissing(a.value), isMissing(b.value)];
    if (left || right) return left - right || tieBreak(a.row, b.row);
    const order = comparePresent(a.value, b.value);
    return (falling ? -order : order) || tieBreak(a.row, b.row);
  });
  return keyed.map(({ row }) => row);
}

function headCell(column, onSort) {
  const arrow = element("span", { class: "arrow", "aria-hidden": "true" });
  const button = element("button", { type: "button", title: column.title, onclick: () => onSort(column) },
    element("span", {}, column.whose ? element("small", { text: column.whose }) : null, column.label), arrow);
  return element("th", { scope: "col", "data-key": column.key, class: column.numeric ? "number" : null }, button);
}

function nextSort(sort, column) {
  const { key, falling } = parseSort(sort);
  const start = column.first === "falling";
  const fall = key === column.key ? !falling : start;
  return (fall ? "-" : "") + column.key;
}

function markSorted(table, sort) {
  const { key, falling } = parseSort(sort);
  for (const head of table.querySelectorAll("thead th")) {
    const sorted = head.dataset.key === key;
    head.setAttribute("aria-sort", sorted ? (falling ? "descending" : "ascending") : "none");
    head.querySelector(".arrow").textContent = sorted ? (falling ? "\u2193" : "\u2191") : "";
  }
}

function bodyRow(columns, row, decorate) {
  const line = element("tr", {}, ...columns.map((column, index) => {
    const content = column.cell(row);
    const tag = index === 0 && column.rowHead ? "th" : "td";
    return element(tag, { scope: tag === "th" ? "row" : null, class: [column.numeric ? "number" : "", column.className || ""].join(" ").trim() || null },
      ...(Array.isArray(content) ? content : [content]));
  }));
  if (decorate) decorate(line, row);
  return line;
}

// options: {table, more, columns(), rows(), sort(), onSort(text), tieBreak(a, b), decorate(line, row), empty}
export function createTable(options) {
  const { table, more } = options;
  let limit = PAGE_ROWS;
  const head = element("thead");
  const body = element("tbody");
  table.replaceChildren(head, body);
  let headKeys = null;

  function drawHead(columns) {
    const keys = columns.map((column) => column.key + column.label).join("\n");
    if (keys !== headKeys) {
      head.replaceChildren(element("tr", {}, ...columns.map((column) =>
        headCell(column, () => options.onSort(nextSort(options.sort(), column))))));
      headKeys = keys;
    }
    markSorted(table, options.sort());
  }

  function draw() {
    const columns = options.columns();
    drawHead(columns);
    const { key, falling } = parseSort(options.sort());
    const column = columns.find((candidate) => candidate.key === key);
    const rows = options.rows();
    const ordered = column ? sortRows(rows, column, falling, options.tieBreak) : rows;
    body.replaceChildren(...ordered.slice(0, limit).map((row) => bodyRow(columns, row, options.decorate)));
    if (!ordered.length) body.append(element("tr", {}, element("td", { class: "empty", colspan: columns.length, text: options.empty })));
    more.hidden = ordered.length <= limit;
    more.textContent = `Show ${Math.min(PAGE_ROWS, ordered.length - limit)} more of ${ordered.length}`;
  }

  more.onclick = () => {
    limit += PAGE_ROWS;
    draw();
  };
  return { draw };
}
