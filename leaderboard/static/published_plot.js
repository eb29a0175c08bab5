// The plot of a reported score against a latency from here.

import { byId, connectPoints, element, format, isNumber, markPath, plural, range, shape, significant, tooltip } from "./dom.js";
import { axisX, axisY, canvas, chartBox, drawResponsive, frontPath, frontRects, labelNodes, linearScale, logScale, placeLabels } from "./chart.js";
import {
  costOf, COSTS, COSTS_HERE, DATA, latencyOf, QUALITIES, ROWS, scoresOf, sourceName, store, valueOf,
} from "./published_state.js";

const frontOf = (state) => new Set(DATA.fronts[state.axis][state.x]?.[state.y] || []);

function pointsOf(state) {
  const front = frontOf(state);
  return DATA.rows
    .filter((row) => valueOf(row, state.y) !== null && costOf(row, state) !== null)
    .map((row) => ({
      row,
      score: valueOf(row, state.y),
      cost: costOf(row, state),
      onFront: front.has(row.id),
      label: row.title,
    }));
}

function speedupText(latency, reference) {
  if (latency.is_reference || !isNumber(latency.speedup)) return "";
  const spread = range(...(latency.speedup_interval || []), significant);
  return `${format.speedup(latency.speedup)}${spread ? " (" + spread + ")" : ""} the speed of ${reference}`;
}

function pointLines({ row, onFront }, state) {
  const [cost, quality, latency] = [COSTS.get(state.x), QUALITIES.get(state.y), latencyOf(row, state.x)];
  const scores = scoresOf(row, state.y).map(({ value, source }) => [`Reported: ${quality.label} ${value}, ${sourceName(source)}`, ""]);
  const lines = [
    [row.title, "strong"],
    ...(onFront ? [["on the front", "muted"]] : []),
    ...scores,
    [`${cost.whose === "compiled here" ? "Compiled" : "Measured"} here: ${format.milliseconds(latency.latency_s)} ms, ${cost.label}`, ""],
  ];
  const speedup = speedupText(latency, cost.reference);
  if (speedup) lines.push([speedup, ""]);
  if (row.parameters !== null) lines.push([`${format.count(row.parameters)} parameters`, ""]);
  return lines;
}

function pointNode(point, scales, state) {
  const values = scoresOf(point.row, state.y).map(({ value }) => value);
  const bar = values.length > 1
    ? shape("line", { x1: point.x, x2: point.x, y1: scales.y.at(Math.min(...values)), y2: scales.y.at(Math.max(...values)), class: "interval" })
    : null;
  return shape("g", {
    class: "point kind-reported", "data-id": point.row.id, tabindex: 0, role: "button",
    "aria-label": pointLines(point, state).map(([text]) => text).join(", "),
  }, bar, shape("circle", { cx: point.x, cy: point.y, r: 12, class: "hit" }),
  markPath("diamond", 6, { class: "mark " + (point.onFront ? "solid" : "hollow"), transform: `translate(${point.x} ${point.y})` }));
}

const names = (rows) => rows.map((row) => row.title).join(", ");

function showHints(points, state) {
  const [cost, quality] = [COSTS.get(state.x), QUALITIES.get(state.y)];
  const front = points.filter((point) => point.onFront).length;
  byId("plot-hint").textContent = cost && quality
    ? `${quality.label}: reported (${quality.description}). ${cost.label}: ${cost.whose}, ${cost.description}. `
      + `${plural(points.length, "system")}; filled marks: the front (${front}).`
    : "";
  const unscored = DATA.rows.filter((row) => valueOf(row, state.y) === null);
  const untimed = DATA.rows.filter((row) => valueOf(row, state.y) !== null && costOf(row, state) === null);
  byId("plot-missing").textContent = [
    unscored.length && quality ? `No reported ${quality.label}: ${names(unscored)}.` : "",
    untimed.length && cost ? `Reported, but no latency here: ${names(untimed)}.` : "",
  ].filter(Boolean).join(" ");
}

function axisTitle(cost, lowerIsLeft, narrow) {
  if (narrow) return lowerIsLeft ? `${cost.label}, ms, ${cost.whose}` : `${cost.label}, speed-up, ${cost.whose}`;
  return lowerIsLeft
    ? `Latency by ${cost.label} in ms, ${cost.whose} (log axis), better to the left`
    : `Speed-up over ${cost.reference} by ${cost.label}, ${cost.whose} (log axis), better to the right`;
}

function draw(state) {
  const container = byId("plot");
  const points = pointsOf(state);
  showHints(points, state);
  if (!points.length) {
    container.replaceChildren(element("p", { class: "empty", text: "No system has both of these numbers." }));
    return;
  }
  const [cost, quality] = [COSTS.get(state.x), QUALITIES.get(state.y)];
  const box = chartBox(container, 0.5);
  const narrow = box.width < 520;
  const scales = {
    x: logScale(points.map((point) => point.cost), box.left, box.right, narrow ? 5 : 9),
    y: linearScale(points.flatMap(({ row }) => scoresOf(row, state.y).map(({ value }) => value)), box.bottom, box.top, { count: narrow ? 5 : 7 }),
  };
  for (const point of points) Object.assign(point, { x: scales.x.at(point.cost), y: scales.y.at(point.score) });
  const front = points.filter((point) => point.onFront);
  const lowerIsLeft = state.axis === "latency";
  // Marks are reached by the tab key from left to right; front members get their labels first.
  points.sort((a, b) => a.x - b.x);
  const labelled = [...points].sort((a, b) => b.onFront - a.onFront || b.score - a.score);
  container.replaceChildren(canvas(box, `Reported ${quality.label} against ${lowerIsLeft ? "latency" : "speed-up"} ${cost.whose}, ${plural(points.length, "system")}`,
    axisX(box, scales.x, axisTitle(cost, lowerIsLeft, narrow)),
    axisY(box, scales.y, `${quality.name}, ${quality.split}, reported`),
    shape("path", { d: frontPath(front, box, lowerIsLeft), class: "front" }),
    ...points.map((point) => pointNode(point, scales, state)),
    ...labelNodes(placeLabels(labelled, box, frontRects(front, box, lowerIsLeft)))));
}

function linesAt(id) {
  const row = ROWS.get(id);
  return pointLines({ row, onFront: frontOf(store.state).has(id) }, store.state);
}

const FAMILIES = [["average", "Averages"], ["task", "Single tasks"], ["one_source", "Comparable inside one source"]];

export function setUpPlot() {
  const [quality, cost, axis] = ["quality", "cost", "axis"].map(byId);
  const option = (value, text, title) => element("option", { value, text, title });
  quality.replaceChildren(...FAMILIES.map(([family, label]) => {
    const members = DATA.qualities.filter((one) => one.family === family);
    return members.length
      ? element("optgroup", { label }, ...members.map((one) => option(one.key, `${one.label} (${plural(one.count, "system")})`, one.description)))
      : null;
  }).filter(Boolean));
  cost.replaceChildren(...COSTS_HERE.map((one) => option(one.key, `${one.label}, ${one.whose}`, one.description)));
  axis.replaceChildren(option("latency", "time in ms"), option("speedup", "speed-up"));
  axis.onchange = () => store.set({ axis: axis.value });
  quality.onchange = () => store.set({ y: quality.value });
  cost.onchange = () => store.set({ x: cost.value });
  const sync = (state) => {
    quality.value = state.y;
    cost.value = state.x;
    axis.value = state.axis;
  };
  store.listen((state, before) => {
    if (["x", "y", "axis"].every((name) => state[name] === before[name])) return;
    tooltip.hide();
    sync(state);
    draw(state);
  });
  sync(store.state);
  connectPoints(byId("plot"), linesAt, (id) => store.set({ open: id }));
  drawResponsive(byId("plot"), () => draw(store.state));
}
