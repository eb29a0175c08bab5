// The plot of quality against cost.

import { byId, connectPoints, element, format, isNumber, kindIcon, KINDS, markPath, plural, range, shape, tooltip } from "./dom.js";
import {
  AXES, costOf, DATA, frontOf, groupLabel, GROUPS, hasSpeedup, latencyOf, matchingRows, QUALITIES, ROWS,
  scoreOf, store,
} from "./state.js";
import {
  axisX, axisY, canvas, chartBox, drawResponsive, frontPath, frontRects, labelNodes, linearScale, logScale,
  placeLabels,
} from "./chart.js";

function plotPoints(state) {
  const shown = new Set(matchingRows(state).map((row) => row.id));
  const front = new Set(frontOf(state));
  const points = [];
  for (const row of DATA.rows) {
    const cost = costOf(row, state);
    const score = scoreOf(row, state.y);
    if (cost === null || score === null) continue;
    points.push({ row, cost, score, onFront: front.has(row.id), faint: !shown.has(row.id), label: row.system.title });
  }
  return points;
}

function plotScales(points, box, state) {
  const scores = points.flatMap(({ row }) => row.scores[state.y].slice(0, 3).filter(isNumber));
  const costs = points.flatMap((point) => [point.cost, ...costInterval(point.row, state)]);
  const narrow = box.width < 520;
  return {
    x: logScale(costs, box.left, box.right, narrow ? 5 : 9),
    y: linearScale(scores, box.bottom, box.top, { count: narrow ? 5 : 7 }),
  };
}

function costInterval(row, state) {
  if (state.x !== "speedup") return [];
  const interval = latencyOf(row, state.group).speedup_interval;
  return interval && interval[0] > 0 ? interval : [];
}

function intervalBars(point, scales, state) {
  const [, low, high] = point.row.scores[state.y];
  const across = costInterval(point.row, state);
  const bars = [];
  if (isNumber(low)) {
    bars.push(shape("line", { x1: point.x, x2: point.x, y1: scales.y.at(low), y2: scales.y.at(high), class: "interval" }));
  }
  if (across.length) {
    const [from, to] = across.map(scales.x.at);
    bars.push(shape("line", { x1: from, x2: to, y1: point.y, y2: point.y, class: "interval" }));
  }
  return bars;
}

function pointLines(point, state) {
  const { row, onFront } = point;
  const [score, low, high] = row.scores[state.y];
  const block = latencyOf(row, state.group);
  const bounds = range(low, high, format.score);
  const lines = [
    [row.system.title, "strong"],
    [KINDS[row.system.kind].label + (onFront ? ", on the front" : ""), "muted"],
    [`${QUALITIES.get(state.y).label} ${format.score(score)}${bounds ? " (" + bounds + ")" : ""}`, ""],
    [`${format.milliseconds(block.latency_s)} ms`, ""],
  ];
  if (block.comparable_speedup) {
    const spread = range(...(block.speedup_interval || []), format.speedup);
    lines.push([`${format.speedup(block.speedup)}${spread ? " (" + spread + ")" : ""} against ${block.reference}`, ""]);
  }
  if (row.system.parameters !== null) lines.push([`${format.count(row.system.parameters)} parameters`, ""]);
  return lines;
}

// With many systems only the marks that pass the filters are drawn; interval bars and tab stops are left to the front,
// as the table has them all.
const DENSE = 800;

function pointNode(point, scales, state, dense) {
  const { row, onFront, faint } = point;
  const mark = markPath(KINDS[row.system.kind].outline, dense && !onFront ? 4 : 6, {
    class: "mark " + (onFront ? "solid" : "hollow"),
    transform: `translate(${point.x} ${point.y})`,
  });
  const name = `point kind-${row.system.kind}`;
  if (faint) return shape("g", { class: name + " faint", "aria-hidden": "true" }, ...intervalBars(point, scales, state), mark);
  if (dense && !onFront) return shape("g", { class: name, "data-id": row.id }, mark);
  const label = pointLines(point, state).map(([text]) => text).join(", ");
  const hit = shape("circle", { cx: point.x, cy: point.y, r: 12, class: "hit" });
  return shape("g", { class: name, "data-id": row.id, tabindex: 0, role: "button", "aria-label": label },
    ...intervalBars(point, scales, state), hit, mark);
}

function linesAt(id) {
  const row = ROWS.get(id);
  return pointLines({ row, onFront: frontOf(store.state).includes(id) }, store.state);
}

function axisTitle(state) {
  const group = GROUPS.get(state.group);
  if (state.x === "latency") return "Latency in ms (log axis), better to the left";
  return `Speed-up against ${group.reference} (log axis), better to the right`;
}

function plotHint(points, state) {
  const group = GROUPS.get(state.group);
  const front = points.filter((point) => point.onFront).length;
  const without = DATA.rows.length - points.length;
  const where = group ? `Latency ${groupLabel(group)}. ` : "";
  const missing = without ? ` ${plural(without, "system")} without these numbers not drawn.` : "";
  const runs = state.x === "latency" && group?.runs > 1
    ? ` Latencies of ${group.runs} runs, measured at different times: speed-ups compare better.` : "";
  return `${where}Filled marks: the front (${front}). Bars: 95 % intervals of the mean over runs.${runs}${missing}`;
}

function drawPlot(state) {
  const container = byId("plot");
  const points = plotPoints(state);
  byId("plot-hint").textContent = plotHint(points, state);
  if (!points.length) {
    container.replaceChildren(element("p", { class: "empty", text: "No system has both of these numbers." }));
    return;
  }
  const box = chartBox(container, 0.5);
  const scales = plotScales(points, box, state);
  for (const point of points) Object.assign(point, { x: scales.x.at(point.cost), y: scales.y.at(point.score) });
  const front = points.filter((point) => point.onFront);
  const lines = frontRects(front, box, state.x === "latency");
  // Marks are drawn, and reached by the tab key, from left to right; front members get their labels first.
  points.sort((a, b) => a.x - b.x);
  const labelled = points.filter((point) => !point.faint).sort((a, b) => b.onFront - a.onFront || b.score - a.score);
  const quality = QUALITIES.get(state.y);
  const dense = points.length > DENSE;
  container.replaceChildren(canvas(box, `${quality.label} against ${AXES[state.x].label.toLowerCase()}, ${plural(points.length, "system")}`,
    axisX(box, scales.x, axisTitle(state)),
    axisY(box, scales.y, `${quality.label} (%)`),
    shape("path", { d: frontPath(front, box, state.x === "latency"), class: "front" }),
    ...(dense ? labelled : points).map((point) => pointNode(point, scales, state, dense)),
    ...labelNodes(placeLabels(labelled.slice(0, 60), box, lines)),
  ));
}

function fillSelect(select, options, value, change) {
  select.replaceChildren(...options.map(([key, text, disabled]) => element("option", { value: key, text, disabled })));
  select.value = value;
  select.onchange = () => change(select.value);
}

const FAMILIES = [["mean", "Overall"], ["masked", "Before fine-tuning"], ["task", "Single task"], ["average", "Named average"]];

function fillQualitySelect(select, state) {
  const groups = FAMILIES.map(([family, label]) => {
    const members = DATA.qualities.filter((quality) => quality.family === family);
    const options = members.map((quality) =>
      element("option", { value: quality.key, text: quality.label, title: quality.description }));
    return members.length ? element("optgroup", { label }, ...options) : null;
  });
  select.replaceChildren(...groups.filter(Boolean));
  select.value = state.y;
  select.onchange = () => store.set({ y: select.value });
}

// Several changes before the next frame (fast typing) are drawn once.
function oncePerFrame(draw) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  };
}

export function setUpPlot() {
  const redraw = DATA.rows.length > DENSE ? oncePerFrame(() => drawPlot(store.state)) : () => drawPlot(store.state);
  const sync = (state) => {
    fillQualitySelect(byId("quality"), state);
    const axes = Object.entries(AXES).map(([key, axis]) =>
      [key, axis.label, key === "speedup" && !hasSpeedup(state.group)]);
    fillSelect(byId("axis"), axes, state.x, (x) => store.set({ x }));
    fillSelect(byId("group"), DATA.groups.map((group) => [group.key, groupLabel(group)]), state.group, (group) =>
      store.set({ group, x: hasSpeedup(group) ? store.state.x : "latency" }));
    byId("group-label").hidden = DATA.groups.length < 2;
  };
  const kinds = Object.keys(KINDS).filter((kind) => DATA.rows.some((row) => row.system.kind === kind));
  byId("legend").replaceChildren(...kinds.map((kind) =>
    element("li", {}, kindIcon(kind), element("span", { text: KINDS[kind].label }),
      element("span", { class: "muted", text: KINDS[kind].note }))));
  store.listen((state, before) => {
    if (["y", "x", "group"].some((name) => state[name] !== before[name])) sync(state);
    if (Object.keys(state).some((name) => !["sort", "cols", "complete", "open", "with", "trials"].includes(name) && state[name] !== before[name])) {
      tooltip.hide();
      redraw();
    }
  });
  sync(store.state);
  connectPoints(byId("plot"), linesAt, (id) => store.set({ open: id }));
  drawResponsive(byId("plot"), () => drawPlot(store.state));
}
