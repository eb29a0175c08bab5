// The search history: every trial, the growth of the hypervolume, the table of trials.

import { byId, element, format, isNumber, markPath, MISSING, plural, shape, withTooltip } from "./dom.js";
import { DATA, methodName, store } from "./state.js";
import { axisX, axisY, canvas, chartBox, drawResponsive, frontPath, linearScale, logScale } from "./chart.js";
import { GENERATOR_OUTLINES, generatorIndex, generatorsOf } from "./generators.js";
import { objectiveOf } from "./objective.js";
import { createTable, numberColumn, textColumn } from "./table.js";
import { frontChance, percent, setUpAnalysis } from "./search_analysis.js";

const latencyTitle = ({ objectives }) =>
  (objectives.latency.only_a_rank ? "Latency, a rank and not a time" : "Latency in ms") + " (log axis), better to the left";

function trialLines(trial, fields, objective) {
  const [value, error] = [objective.value(trial), objective.error(trial)];
  const spread = error ? " \u00b1 " + error.toFixed(2) : "";
  return [
    [`Trial ${trial.trial}`, "strong"],
    [trial.generator + (trial.on_front ? ", on the front" : ""), "muted"],
    [`${objective.title} ${isNumber(value) ? value.toFixed(2) : MISSING}${spread} %`, ""],
    [`${format.milliseconds(trial.latency_s)} ms`, ""],
    ...fields.map((field) => [`${field} ${trial.encoder[field]}`, "muted"]),
  ];
}

function thresholdLines(box, scales, search) {
  const lines = [];
  const x = scales.x.at(search.objectives.latency.threshold * 1e3);
  const y = scales.y.at(objectiveOf(search).threshold);
  if (x > box.left && x < box.right) lines.push(shape("line", { x1: x, x2: x, y1: box.top, y2: box.bottom, class: "threshold" }));
  if (y > box.top && y < box.bottom) lines.push(shape("line", { x1: box.left, x2: box.right, y1: y, y2: y, class: "threshold" }));
  return lines;
}

function drawScatter(search) {
  const container = byId("history-scatter");
  const objective = objectiveOf(search);
  const generators = generatorsOf(search.trials);
  const drawn = search.trials.filter((trial) => trial.status === "completed");
  if (!drawn.length) {
    container.replaceChildren(element("p", { class: "empty", text: "No trial was completed." }));
    return;
  }
  const box = chartBox(container, 0.72);
  const scales = {
    x: logScale(drawn.map((trial) => trial.latency_s * 1e3), box.left, box.right, 6),
    y: linearScale(drawn.flatMap((trial) => [-1, 1].map((sign) => objective.value(trial) + sign * objective.error(trial))), box.bottom, box.top),
  };
  const points = drawn.map((trial) => ({ trial, x: scales.x.at(trial.latency_s * 1e3), y: scales.y.at(objective.value(trial)) }));
  const marks = points.map(({ trial, x, y }) => {
    const index = generatorIndex(generators, trial.generator);
    const [value, spread] = [objective.value(trial), objective.error(trial)];
    const error = spread
      ? shape("line", { x1: x, x2: x, y1: scales.y.at(value - spread), y2: scales.y.at(value + spread), class: "interval" })
      : null;
    const lines = trialLines(trial, search.search_fields, objective);
    const mark = markPath(GENERATOR_OUTLINES[index], 5, { class: "mark " + (trial.on_front ? "solid" : "hollow"), transform: `translate(${x} ${y})` });
    return withTooltip(shape("g", {
      class: `point generator-${index}`, tabindex: 0, role: "img", "aria-label": lines.map(([text]) => text).join(", "),
    }, error, shape("circle", { cx: x, cy: y, r: 10, class: "hit" }), mark), lines);
  });
  const front = points.filter(({ trial }) => trial.on_front);
  container.replaceChildren(canvas(box, `${objective.title} against latency, ${plural(drawn.length, "trial")}`,
    axisX(box, scales.x, latencyTitle(search)),
    axisY(box, scales.y, `${objective.title} (%)`),
    ...thresholdLines(box, scales, search),
    shape("path", { d: frontPath(front, box, true), class: "front" }),
    ...marks));
}

function drawVolume(search) {
  const container = byId("history-volume");
  if (!search.trials.length) return;
  const box = chartBox(container, 0.72);
  const count = search.trials.length;
  const most = Math.max(...search.trials.map((trial) => trial.hypervolume));
  const bounds = search.analysis?.hypervolume;
  const scales = {
    x: linearScale([], box.left, box.right, { low: 0, high: Math.max(1, count), count: 6 }),
    y: linearScale([0, Math.max(most, bounds?.high ?? 0) || 1], box.bottom, box.top, { low: 0, count: 5 }),
  };
  scales.x.ticks = scales.x.ticks.filter(Number.isInteger);
  let path = `M${box.left},${scales.y.at(0)}`;
  search.trials.forEach((trial, index) => {
    path += `H${scales.x.at(index + 1)}V${scales.y.at(trial.hypervolume)}`;
  });
  container.replaceChildren(canvas(box, `Hypervolume after each of ${plural(count, "trial")}, finally ${format.fraction(most)}`,
    axisX(box, scales.x, "Trials"),
    axisY(box, scales.y, "Hypervolume (normalised)"),
    shape("path", { d: path, class: "volume" }),
    bounds ? shape("line", {
      x1: scales.x.at(count), x2: scales.x.at(count), y1: scales.y.at(bounds.low), y2: scales.y.at(bounds.high), class: "interval volume-interval",
    }) : null));
}

function trialColumns(search) {
  const column = (key, label, title, write, first) => ({
    ...numberColumn(key, label, title, (trial) => trial[key], write, first),
  });
  const withError = (key, label, title) => ({
    ...column(key, label, title, format.score, "falling"),
    cell: (trial) => [
      element("span", { class: isNumber(trial[key]) ? null : "missing", text: isNumber(trial[key]) ? trial[key].toFixed(2) : MISSING }),
      isNumber(trial[key + "_stderr"]) ? element("small", { class: "inline", text: "\u00b1" + trial[key + "_stderr"].toFixed(2) }) : null,
    ],
  });
  const compared = search.trials.some((trial) => isNumber(trial.teacher_agreement));
  return [
    { ...numberColumn("trial", "Trial", "Order of the trials", (trial) => trial.trial, format.plain), rowHead: true },
    textColumn("status", "Status", "Outcome of the trial", (trial) => trial.status),
    textColumn("generator", "Generator", "Algorithm that proposed the architecture", (trial) => trial.generator),
    ...search.search_fields.map((field) => numberColumn(field, field, "Architecture: " + field, (trial) => trial.encoder[field], format.plain)),
    column("parameters", "Parameters", "Encoder with embeddings", format.count),
    withError("accuracy", "Masked-LM accuracy", "After flash distillation, with its standard error"),
    ...(compared ? [
      withError("teacher_agreement", "Agreement (%)", "Share of masked tokens for which the likeliest token is the teacher's, with its standard error"),
      column("teacher_kl", "KL (nats)", "Mean divergence of the teacher's distribution from that of the student", format.fraction),
    ] : []),
    column("latency_s", search.objectives.latency.only_a_rank ? "Latency (a rank)" : "Latency (ms)", "On the target hardware", format.milliseconds),
    { ...textColumn("on_front", "Front", "Not dominated by another trial", (trial) => (trial.on_front ? "yes" : "")), first: "falling" },
    ...(search.analysis?.front.length ? [numberColumn("front_probability", "Front chance",
      `Share of draws of the noise of ${objectiveOf(search).short} in which no other trial dominates it`,
      (trial) => frontChance(search, trial.trial), percent, "falling")] : []),
    column("hypervolume", "Hypervolume", "Normalised, of all trials up to this one", format.fraction, "falling"),
    ...(search.trials.some((trial) => isNumber(trial.steps)) ? [column("steps", "Steps", "Training steps", format.count)] : []),
    column("seconds", "Seconds", "Time of the trial", format.seconds),
  ];
}

function historyNotes(search) {
  const ends = ["failed", "stopped"].map((status) => [status, search.trials.filter((trial) => trial.status === status).length]);
  const { latency } = search.objectives;
  const { name, threshold } = objectiveOf(search);
  byId("history-count").textContent = `${search.algorithm}, ${plural(search.trials.length, "trial")}`
    + ends.filter(([, count]) => count).map(([status, count]) => `, ${count} ${status}`).join("");
  byId("history-hint").textContent =
    `Each trial is a short (flash) distillation. Latency: ${methodName(latency)}, ${latency.chip}. Reference point of the hypervolume: `
    + `${threshold} % of ${name} and ${format.milliseconds(latency.threshold)} ms. Filled marks: the front. Bars: one standard error.`;
  byId("history-legend").replaceChildren(...generatorsOf(search.trials).slice(0, 4).map((name, index) =>
    element("li", {}, shape("svg", { class: `icon generator-${index}`, viewBox: "-8 -8 16 16", "aria-hidden": "true" },
      markPath(GENERATOR_OUTLINES[index], 5, { class: "mark solid" })), element("span", { text: name }))));
}

export function setUpHistory() {
  const search = DATA.history;
  if (!search) return;
  historyNotes(search);
  const columns = trialColumns(search);
  const table = createTable({
    table: byId("trials"),
    more: byId("more-trials"),
    columns: () => columns,
    rows: () => search.trials,
    sort: () => store.state.trials,
    onSort: (trials) => store.set({ trials }),
    tieBreak: (a, b) => a.trial - b.trial,
    empty: "No trials.",
  });
  table.draw();
  store.listen((state, before) => {
    if (state.trials !== before.trials) table.draw();
  });
  drawResponsive(byId("history-scatter"), () => drawScatter(search));
  drawResponsive(byId("history-volume"), () => drawVolume(search));
  setUpAnalysis(search);
}
