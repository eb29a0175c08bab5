// The table of published systems, and the table of every reported number.

import { byId, element, format, isNumber, MISSING, range, significant } from "./dom.js";
import { createTable, NAMES, numberColumn, textColumn } from "./table.js";
import { DATA, latencyOf, QUALITIES, ROWS, scoresOf, sourceAddress, sourceName, store, valueOf } from "./published_state.js";

const byTitle = (a, b) => NAMES.compare(a.title, b.title) || NAMES.compare(a.id, b.id);

const numberCell = (text, ...notes) => [
  element("span", { class: text === MISSING ? "missing" : null, text }),
  ...notes.filter(Boolean).map((note) => element("small", { text: note })),
];

const nameColumn = {
  key: "name", label: "System", title: "Name of the system", shown: true, rowHead: true, className: "name-cell",
  value: (row) => row.title,
  cell: (row) => [element("bdi", { text: row.title })],
};

function scoreColumn(quality) {
  return {
    ...numberColumn(quality.key, quality.label, quality.description, (row) => valueOf(row, quality.key), format.plain, "falling"),
    whose: "reported",
    cell: (row) => {
      const [first, ...others] = scoresOf(row, quality.key);
      if (!first) return numberCell(MISSING);
      return numberCell(format.plain(first.value), sourceName(first.source), ...others.map(({ value, source }) => `${value}: ${sourceName(source)}`));
    },
  };
}

function latencyColumn(cost) {
  const value = (row) => latencyOf(row, cost.key)?.latency_s ?? null;
  const factor = (latency) => {
    if (latency.is_reference) return "the reference";
    if (!isNumber(latency.speedup)) return "";
    const spread = range(...(latency.speedup_interval || []), significant);
    return format.speedup(latency.speedup) + (spread ? ` (${spread})` : "");
  };
  const over = cost.reference && cost.whose !== "reported" ? `, and the speed-up over ${cost.reference}` : "";
  return {
    ...numberColumn(cost.key, `${cost.label} (ms)`, cost.description + over, value, format.milliseconds),
    whose: cost.whose,
    cell: (row) => {
      const latency = latencyOf(row, cost.key);
      if (!latency) return numberCell(MISSING);
      return numberCell(format.milliseconds(latency.latency_s), factor(latency), latency.source && sourceName(latency.source),
        latency.measured_as && `same architecture as ${latency.measured_as}`);
    },
  };
}

const parametersColumn = {
  ...numberColumn("parameters", "Parameters", "Encoder with embeddings, without heads; reported where the architecture is unknown", (row) => row.parameters, format.count),
  whose: "counted here",
  cell: (row) => numberCell(format.count(row.parameters), row.counted || row.parameters === null ? "" : "reported"),
};

function systemColumns(state) {
  const averages = DATA.qualities.filter((quality) => quality.family === "average" && quality.key !== state.y);
  const chosen = QUALITIES.get(state.y);
  const costs = (reported) => DATA.costs.filter((cost) => (cost.whose === "reported") === reported);
  return [
    nameColumn,
    ...(chosen ? [scoreColumn(chosen)] : []),
    ...costs(false).map(latencyColumn),
    parametersColumn,
    ...averages.map(scoreColumn),
    ...costs(true).map(latencyColumn),
  ];
}

const NUMBERS = DATA.rows.flatMap((row) => Object.entries(row.scores).flatMap(([key, scores]) =>
  scores.map((score, index) => ({ id: `${row.id} ${key} ${index}`, row, title: row.title, quality: QUALITIES.get(key), ...score }))));

function sourceCell({ source, note }) {
  const address = sourceAddress(source);
  const name = sourceName(source);
  return [
    address ? element("a", { href: address, rel: "noreferrer", text: name === source ? address : name }) : source,
    note ? element("small", { text: note }) : null,
  ];
}

const NUMBER_COLUMNS = [
  { ...nameColumn, value: (number) => number.title, cell: (number) => [element("bdi", { text: number.title })] },
  textColumn("score", "Score", "Task and metric, or average", (number) => number.quality.name),
  textColumn("split", "Split", "Split of the data", (number) => number.quality.split),
  numberColumn("value", "Value (%)", "As printed by the source", (number) => number.value, format.plain, "falling"),
  { key: "source", label: "Source", title: "Publication that reports the number", value: (number) => number.source, cell: sourceCell },
];

function setUpSystems() {
  const table = createTable({
    table: byId("board"),
    more: byId("more"),
    columns: () => systemColumns(store.state),
    rows: () => DATA.rows,
    sort: () => store.state.sort || store.state.x || "name",
    onSort: (sort) => store.set({ sort }),
    tieBreak: byTitle,
    decorate: (line, row) => {
      line.dataset.id = row.id;
      line.tabIndex = -1;
      line.classList.toggle("open", row.id === store.state.open);
    },
    empty: "No system.",
  });
  const show = (id) => {
    const line = [...byId("board").tBodies[0].rows].find((one) => one.dataset.id === id);
    for (const one of byId("board").querySelectorAll("tr.open")) one.classList.remove("open");
    if (!line) return;
    line.classList.add("open");
    line.focus({ preventScroll: true });
    line.scrollIntoView({ block: "nearest" });
  };
  table.draw();
  store.listen((state, before) => {
    if (["x", "y", "sort"].some((name) => state[name] !== before[name])) table.draw();
    if (state.open !== before.open) show(state.open);
  });
}

function setUpNumbers() {
  const select = byId("system");
  select.replaceChildren(element("option", { value: "", text: "all" }),
    ...[...DATA.rows].sort(byTitle).map((row) => element("option", { value: row.id, text: row.title })));
  const table = createTable({
    table: byId("numbers"),
    more: byId("more-numbers"),
    columns: () => NUMBER_COLUMNS,
    rows: () => NUMBERS.filter((number) => !store.state.system || number.row === ROWS.get(store.state.system)),
    sort: () => store.state.numbers || "name",
    onSort: (numbers) => store.set({ numbers }),
    tieBreak: (a, b) => NAMES.compare(a.quality.label, b.quality.label) || NAMES.compare(a.id, b.id),
    empty: "No number is reported.",
  });
  const draw = (state) => {
    select.value = state.system;
    table.draw();
  };
  select.onchange = () => store.set({ system: select.value });
  draw(store.state);
  store.listen((state, before) => {
    if (state.system !== before.system || state.numbers !== before.numbers) draw(state);
  });
}

export function setUpTables() {
  setUpSystems();
  setUpNumbers();
}
