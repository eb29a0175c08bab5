// Two systems side by side, inside the details of the first.

import { element, format, isNumber, significant, titledSection } from "./dom.js";
import { DATA, ROWS, store } from "./state.js";
import { sortRows } from "./table.js";
import { currentBlock, nameColumn } from "./columns.js";
import { systemTieBreak } from "./systems.js";

const COMPARED_COSTS = [
  ["Latency", (row) => currentBlock(row)?.latency_s ?? null, (value) => format.milliseconds(value) + " ms"],
  ["Parameters", (row) => row.system.parameters, format.count],
  ["FLOPs", (row) => row.system.flops, format.count],
];

const LEVEL = 0.05;

// The test of this pair, over seeds and examples; nothing where it is not known how much chance moves a score.
function verdict(key, row, other) {
  const test = DATA.tests[key];
  if (!test) return "";
  const [i, j] = [test.ids.indexOf(row.id), test.ids.indexOf(other.id)].sort((a, b) => a - b);
  // Pairs are listed row by row of the upper triangle.
  const p = i < 0 ? null : test.p[i * test.ids.length - (i * (i + 1)) / 2 + j - i - 1];
  if (!isNumber(p)) return "";
  return `${p < LEVEL ? "different" : "not told apart"}, p ${p < 0.0001 ? "< 0.0001" : "= " + significant(p)}`;
}

function scoreLines(row, other) {
  return DATA.qualities.filter(({ key }) => row.scores[key] && other.scores[key]).map((quality) => {
    const [a, b] = [row.scores[quality.key], other.scores[quality.key]];
    const difference = a[0] - b[0];
    const sign = difference > 0 ? "+" : difference < 0 ? "\u2212" : "";
    return [quality.label, format.score(a[0]), format.score(b[0]), sign + Math.abs(difference).toFixed(1), verdict(quality.key, row, other)];
  });
}

function costLines(row, other) {
  return COMPARED_COSTS.map(([label, value, write]) => [label, value(row), value(other), write])
    .filter(([, a, b]) => isNumber(a) && isNumber(b) && b > 0)
    .map(([label, a, b, write]) => [label, write(a), write(b), "\u00d7" + significant(a / b), ""]);
}

function comparisonTable(row, other) {
  const heads = ["", row.system.title, other.system.title, "Difference", "Test of this pair"];
  const lines = [...scoreLines(row, other), ...costLines(row, other)];
  return element("div", { class: "table-scroll" }, element("table", { class: "small comparison" },
    element("thead", {}, element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, element("bdi", { text }))))),
    element("tbody", {}, ...lines.map(([label, ...cells]) => element("tr", {}, element("th", { scope: "row", text: label }),
      ...cells.map((text, index) => element("td", { class: index < 3 ? "number" : "muted", text })))))));
}

export function comparisonSection(row) {
  const others = sortRows(DATA.rows.filter((other) => other !== row), nameColumn, false, systemTieBreak);
  if (!others.length) return null;
  const select = element("select", { id: "compare", "aria-label": "Compare with" },
    element("option", { value: "", text: "Choose a system" }),
    ...others.map((other) => element("option", { value: other.id, text: other.system.title })));
  const result = element("div", { id: "comparison" });
  const show = () => {
    const other = ROWS.get(select.value);
    result.replaceChildren(...(other ? [comparisonTable(row, other)] : []));
  };
  select.value = store.state.with === row.id ? "" : store.state.with;
  select.onchange = () => {
    store.set({ with: select.value });
    show();
  };
  show();
  return titledSection("Compare with", select, result);
}
