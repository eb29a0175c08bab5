// The columns of the table of systems.

import { element, format, isNumber, kindIcon, KINDS, MISSING, range, significant } from "./dom.js";
import { DATA, frontOf, GROUPS, latencyOf, scoreOf, store } from "./state.js";
import { numberColumn, textColumn } from "./table.js";

function scoreCell(row, key) {
  const score = row.scores[key];
  if (!score) return [element("span", { class: "missing", text: MISSING })];
  const bounds = range(score[1], score[2], format.score);
  return [element("span", { text: format.score(score[0]) }), bounds ? element("small", { text: bounds }) : null];
}

// The smallest difference of two systems that the noise of the board lets one find in four of five cases.
function resolutionText(key) {
  const least = DATA.resolutions[key];
  return isNumber(least) ? `; two systems ${format.score(least)} points apart are told apart in 4 of 5 cases` : "";
}

function qualityColumn(quality, shown) {
  return {
    key: quality.key,
    label: quality.label,
    title: quality.description + resolutionText(quality.key),
    numeric: true,
    shown,
    first: "falling",
    value: (row) => scoreOf(row, quality.key),
    cell: (row) => scoreCell(row, quality.key),
    export: (row) => (row.scores[quality.key] || Array(5).fill(null)),
    exportNames: ["", ".low", ".high", ".run_low", ".run_high"].map((end) => quality.key + end),
  };
}

export const placeOf = (row) => (DATA.places[store.state.y] || {})[row.id] || null;

const rankColumn = {
  key: "rank",
  label: "Rank",
  title: "Rank by the selected quality; = marks a shared rank",
  numeric: true,
  shown: true,
  value: (row) => placeOf(row)?.[0] ?? null,
  cell: (row) => {
    const place = placeOf(row);
    return [element("span", { class: place ? null : "missing", text: place ? (place[1] ? "= " : "") + place[0] : MISSING })];
  },
};

function nameCell(row) {
  const button = element("button", { type: "button", class: "name", "aria-haspopup": "dialog" },
    kindIcon(row.system.kind), element("bdi", { text: row.system.title }));
  const onFront = new Set(frontOf(store.state)).has(row.id);
  const badge = onFront ? element("span", { class: "badge", title: "On the front of the plot above", text: "front" }) : null;
  return [element("div", { class: "name-line" }, button, badge)];
}

export const nameColumn = {
  key: "name", label: "System", title: "Name of the system", shown: true, rowHead: true, className: "name-cell",
  value: (row) => row.system.title,
  cell: nameCell,
  export: (row) => [row.id, row.system.title],
  exportNames: ["id", "title"],
};

export const currentBlock = (row) => latencyOf(row, store.state.group);

const speedupOf = (row) => (currentBlock(row)?.comparable_speedup ? currentBlock(row).speedup : null);

function speedupColumn() {
  const reference = GROUPS.get(store.state.group)?.reference;
  const bounds = (row) => (speedupOf(row) === null ? [] : currentBlock(row).speedup_interval || []);
  return {
    ...numberColumn("speedup", "Speed-up", `Against ${reference}, timed in the same process`, speedupOf, format.speedup, "falling"),
    cell: (row) => {
      const spread = range(...bounds(row), significant);
      return [
        element("span", { class: speedupOf(row) === null ? "missing" : null, text: format.speedup(speedupOf(row)) }),
        spread ? element("small", { text: spread }) : null,
      ];
    },
    export: (row) => [speedupOf(row), ...(bounds(row).length ? bounds(row) : [null, null])],
    exportNames: ["speedup", "speedup.low", "speedup.high"],
  };
}

// A row of leaderboard/columns.py, whose path leads from the row of the system, or from its latency block, to the value.
function plainColumn({ family, key, label, title, path, format: write, shown }) {
  const start = family === "latency" ? currentBlock : (row) => row;
  const value = (row) => path.split(".").reduce((part, name) => part?.[name] ?? null, start(row));
  if (write === "text") return textColumn(key, label, title, value, shown);
  return { ...numberColumn(key, label, title, value, format[write]), shown };
}

const MANY_TASKS = 6;

export function allColumns() {
  const qualities = (family) => DATA.qualities.filter((quality) => quality.family === family);
  const tasks = qualities("task");
  const plain = (family) => DATA.columns.filter((column) => column.family === family).map(plainColumn);
  return [
    nameColumn,
    rankColumn,
    ...qualities("mean").map((quality) => qualityColumn(quality, true)),
    ...plain("latency"),
    speedupColumn(),
    textColumn("kind", "Kind", "Found, baseline, teacher, control or reported", (row) => KINDS[row.system.kind].label),
    ...plain("system"),
    ...qualities("masked").map((quality) => qualityColumn(quality, true)),
    ...tasks.map((quality) => qualityColumn(quality, tasks.length <= MANY_TASKS)),
    ...qualities("average").map((quality) => qualityColumn(quality, false)),
    ...plain("architecture"),
  ];
}
