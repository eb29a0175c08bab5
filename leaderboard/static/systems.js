// The table of systems: its filters and downloads.

import { byId, element, kindIcon, KINDS, plural, saveFile } from "./dom.js";
import { DATA, matchingRows, splitList, store, toggled } from "./state.js";
import { createTable, isMissing, NAMES, parseSort, sortRows } from "./table.js";
import { allColumns, currentBlock, nameColumn } from "./columns.js";

// The name, and the quality of ranks and plot, are always visible.
const isFixed = (column, state) => column.key === "name" || column.key === state.y;

function visibleColumns(state) {
  const changed = splitList(state.cols);
  return allColumns().filter((column) => isFixed(column, state) || column.shown !== changed.has(column.key));
}

// Complete: no gap in any visible column of numbers, except the rank, which only contenders have.
function tableRows(state) {
  const rows = matchingRows(state);
  if (!state.complete) return rows;
  const needed = visibleColumns(state).filter((column) => column.numeric && column.key !== "rank");
  return rows.filter((row) => needed.every((column) => !isMissing(column.value(row))));
}

// Equal values: lower latency first, then by id.
export function systemTieBreak(a, b) {
  const [left, right] = [a, b].map((row) => currentBlock(row)?.latency_s ?? Infinity);
  return (left === right ? 0 : left - right) || NAMES.compare(a.id, b.id);
}

function drawPicker(state) {
  const shown = new Set(visibleColumns(state).map((column) => column.key));
  const boxes = allColumns().filter((column) => column.key !== "name").map((column) =>
    element("label", { class: "check" },
      element("input", {
        type: "checkbox",
        "data-column": column.key,
        checked: shown.has(column.key),
        onchange: () => store.set({ cols: toggled(store.state.cols, column.key) }),
      }),
      column.label));
  byId("column-list").replaceChildren(...boxes);
}

function drawKinds(state) {
  const hidden = splitList(state.hide);
  const kinds = Object.keys(KINDS).filter((kind) => DATA.rows.some((row) => row.system.kind === kind));
  byId("kinds").replaceChildren(byId("kinds").querySelector("legend"), ...kinds.map((kind) =>
    element("label", { class: "chip" },
      element("input", {
        type: "checkbox",
        "data-kind": kind,
        checked: !hidden.has(kind),
        onchange: () => store.set({ hide: toggled(store.state.hide, kind) }),
      }),
      kindIcon(kind), KINDS[kind].label)));
}

// A text cell that starts like a formula gets an apostrophe, so that a spreadsheet shows it instead of running it.
function csvCell(value) {
  if (value === null || value === undefined) return "";
  let text = String(value);
  if (typeof value !== "number" && /^ *[=+\-@\t\r\n\uFF1D\uFF0B\uFF0D\uFF20]/.test(text)) text = "'" + text;
  return /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
}

function exportTable() {
  const columns = visibleColumns(store.state);
  const names = columns.flatMap((column) => column.exportNames || [column.key]);
  const { key, falling } = parseSort(store.state.sort);
  const sorting = columns.find((column) => column.key === key) || nameColumn;
  const rows = sortRows(tableRows(store.state), sorting, falling, systemTieBreak);
  const lines = rows.map((row) => columns.flatMap((column) => (column.export ? column.export(row) : [column.value(row)])));
  return { names, lines };
}

function downloadCsv() {
  const { names, lines } = exportTable();
  saveFile("leaderboard.csv", "text/csv;charset=utf-8", [names, ...lines].map((line) => line.map(csvCell).join(",") + "\r\n").join(""));
}

function downloadJson() {
  const { names, lines } = exportTable();
  const values = lines.map((line) => Object.fromEntries(names.map((name, index) => [name, line[index]])));
  saveFile("leaderboard.json", "application/json", JSON.stringify(values, null, 1) + "\n");
}

function decorateRow(line, row) {
  line.dataset.id = row.id;
  line.className = "kind-" + row.system.kind + (store.state.open === row.id ? " open" : "");
  line.addEventListener("click", () => {
    // Selecting text in a row must not open it.
    if (!String(getSelection())) store.set({ open: row.id });
  });
}

function connectFilters() {
  byId("search").oninput = (event) => store.set({ q: event.target.value });
  byId("front-only").onchange = (event) => store.set({ front: event.target.checked ? "1" : "" });
  byId("complete-only").onchange = (event) => store.set({ complete: event.target.checked ? "1" : "" });
  byId("download-csv").onclick = downloadCsv;
  byId("download-json").onclick = downloadJson;
}

function showFilters(state) {
  if (byId("search").value !== state.q) byId("search").value = state.q;
  byId("front-only").checked = Boolean(state.front);
  byId("complete-only").checked = Boolean(state.complete);
  for (const box of byId("kinds").querySelectorAll("input")) box.checked = !splitList(state.hide).has(box.dataset.kind);
  const shown = new Set(visibleColumns(state).map((column) => column.key));
  for (const box of byId("column-list").querySelectorAll("input")) {
    box.checked = shown.has(box.dataset.column);
    box.disabled = box.dataset.column === state.y;
  }
}

export function setUpSystems() {
  const table = createTable({
    table: byId("board"),
    more: byId("more"),
    columns: () => visibleColumns(store.state),
    rows: () => tableRows(store.state),
    sort: () => store.state.sort,
    onSort: (sort) => store.set({ sort }),
    tieBreak: systemTieBreak,
    decorate: decorateRow,
    empty: "No system matches.",
  });
  const draw = (state) => {
    table.draw();
    const count = byId("board").tBodies[0].querySelectorAll("tr[data-id]").length;
    const matching = tableRows(state).length;
    byId("count").textContent = matching === DATA.rows.length
      ? plural(matching, "system")
      : `${matching} of ${plural(DATA.rows.length, "system")}${count < matching ? `, first ${count} shown` : ""}`;
  };
  drawKinds(store.state);
  drawPicker(store.state);
  connectFilters();
  showFilters(store.state);
  draw(store.state);
  store.listen((state, before) => {
    const changed = Object.keys(state).filter((name) => state[name] !== before[name]);
    if (changed.some((name) => !["open", "with", "trials", "model"].includes(name))) {
      showFilters(state);
      draw(state);
    } else if (changed.includes("open")) {
      for (const line of byId("board").querySelectorAll("tr[data-id]")) line.classList.toggle("open", line.dataset.id === state.open);
    }
  });
}
