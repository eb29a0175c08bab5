// Axes, scales, step lines and label placement, shared by all plots.

import { shape } from "./dom.js";

export const MARGIN = { top: 14, right: 18, bottom: 46, left: 54 };

function niceStep(span, count) {
  const raw = span / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  const factor = [1, 2, 5, 10].find((candidate) => candidate * power >= raw * 0.999);
  return factor * power;
}

function linearTicks(low, high, count) {
  const step = niceStep(high - low, count);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, index) => (first + index) * step);
}

// 1, 2, 5 of each decade; where that gives too few, evenly spaced round numbers.
function logTicks(low, high, count) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const factor of [1, 2, 5]) {
      const tick = Number((factor * 10 ** power).toPrecision(12));
      if (tick >= low && tick <= high) ticks.push(tick);
    }
  }
  if (ticks.length < 3) return linearTicks(low, high, Math.min(count, 5));
  const every = Math.ceil(ticks.length / count);
  return ticks.filter((_, index) => index % every === 0);
}

export function linearScale(values, from, to, { low = null, high = null, count = 6 } = {}) {
  const least = low ?? Math.min(...values);
  const most = high ?? Math.max(...values);
  const pad = (most - least || Math.abs(most) * 0.1 || 1) * 0.08;
  const start = low ?? least - pad;
  const end = high ?? most + pad;
  return { at: (value) => from + ((value - start) / (end - start)) * (to - from), ticks: linearTicks(start, end, count), start, end };
}

export function logScale(values, from, to, count) {
  const least = Math.log(Math.min(...values));
  const most = Math.log(Math.max(...values));
  const pad = Math.max((most - least) * 0.08, 0.06);
  const [start, end] = [least - pad, most + pad];
  const at = (value) => from + ((Math.log(value) - start) / (end - start)) * (to - from);
  return { at, ticks: logTicks(Math.exp(start), Math.exp(end), count), start: Math.exp(start), end: Math.exp(end) };
}

const tickText = (value) => String(Number(value.toPrecision(4)));

export function chartBox(container, ratio) {
  const width = Math.max(280, container.clientWidth || 640);
  const height = Math.round(Math.min(460, Math.max(270, width * ratio)));
  return {
    width,
    height,
    left: MARGIN.left,
    right: width - MARGIN.right,
    top: MARGIN.top,
    bottom: height - MARGIN.bottom,
  };
}

export function axisX(box, scale, label) {
  const group = shape("g", { class: "axis" });
  for (const tick of scale.ticks) {
    const x = scale.at(tick);
    group.append(
      shape("line", { x1: x, x2: x, y1: box.top, y2: box.bottom, class: "grid" }),
      shape("text", { x, y: box.bottom + 18, "text-anchor": "middle", text: tickText(tick) }),
    );
  }
  group.append(
    shape("line", { x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom, class: "base" }),
    shape("text", { x: (box.left + box.right) / 2, y: box.height - 6, "text-anchor": "middle", class: "axis-label", text: label }),
  );
  return group;
}

export function axisY(box, scale, label) {
  const group = shape("g", { class: "axis" });
  for (const tick of scale.ticks) {
    const y = scale.at(tick);
    group.append(
      shape("line", { x1: box.left, x2: box.right, y1: y, y2: y, class: "grid" }),
      shape("text", { x: box.left - 8, y: y + 4, "text-anchor": "end", text: tickText(tick) }),
    );
  }
  const middle = (box.top + box.bottom) / 2;
  group.append(shape("text", {
    x: 14, y: middle, transform: `rotate(-90 14 ${middle})`, "text-anchor": "middle", class: "axis-label", text: label,
  }));
  return group;
}

export const canvas = (box, label, ...children) =>
  shape("svg", { viewBox: `0 0 ${box.width} ${box.height}`, width: box.width, height: box.height, role: "group", "aria-label": label },
    ...children);

// The step line of the front: from each member level to the cost of the next one, then to the end of the plot.
export function frontPath(points, box, lowerIsLeft) {
  if (!points.length) return "";
  const ordered = [...points].sort((a, b) => (lowerIsLeft ? a.x - b.x : b.x - a.x));
  const far = lowerIsLeft ? box.right : box.left;
  let path = `M${ordered[0].x},${box.bottom}V${ordered[0].y}`;
  for (const point of ordered.slice(1)) path += `H${point.x}V${point.y}`;
  return path + `H${far}`;
}

const overlaps = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;

const LABEL_SPOTS = [
  [10, 4, "start"], [-10, 4, "end"], [0, -11, "middle"], [0, 20, "middle"],
  [8, -8, "start"], [-8, -8, "end"], [8, 16, "start"], [-8, 16, "end"],
];

function labelRect(x, y, anchor, width) {
  const left = anchor === "start" ? x : anchor === "end" ? x - width : x - width / 2;
  return { left: left - 2, right: left + width + 2, top: y - 11, bottom: y + 4 };
}

const thinRect = (x1, y1, x2, y2) =>
  ({ left: Math.min(x1, x2) - 1, right: Math.max(x1, x2) + 1, top: Math.min(y1, y2) - 1, bottom: Math.max(y1, y2) + 1 });

// The front's steps as thin boxes, which labels avoid.
export function frontRects(points, box, lowerIsLeft) {
  const ordered = [...points].sort((a, b) => (lowerIsLeft ? a.x - b.x : b.x - a.x));
  return ordered.flatMap((point, index) => {
    const next = ordered[index + 1];
    const before = ordered[index - 1];
    return [
      thinRect(point.x, point.y, next ? next.x : lowerIsLeft ? box.right : box.left, point.y),
      thinRect(point.x, point.y, point.x, before ? before.y : box.bottom),
    ];
  });
}

function findSpot(point, width, box, blocked) {
  for (const [dx, dy, anchor] of LABEL_SPOTS) {
    const rect = labelRect(point.x + dx, point.y + dy, anchor, width);
    const inside = rect.left >= box.left && rect.right <= box.right && rect.top >= box.top - 6 && rect.bottom <= box.bottom;
    if (inside && !blocked.some((other) => overlaps(rect, other))) return { rect, x: point.x + dx, y: point.y + dy, anchor };
  }
  return null;
}

// Greedy: each label takes the first spot that covers no mark, no earlier label and, if possible, no line.
// A label without a spot is left out; the tooltip still names the point.
export function placeLabels(points, box, lines) {
  const taken = points.map(({ x, y }) => ({ left: x - 6, right: x + 6, top: y - 6, bottom: y + 6 }));
  const labels = [];
  for (const point of points) {
    // The end tells systems of several runs apart.
    const text = point.label.length > 29 ? point.label.slice(0, 14) + "\u2026" + point.label.slice(-14) : point.label;
    const width = text.length * 6.4;
    const spot = findSpot(point, width, box, [...taken, ...lines]) || findSpot(point, width, box, taken);
    if (!spot) continue;
    taken.push(spot.rect);
    labels.push({ ...spot, text });
  }
  return labels;
}

export const labelNodes = (labels) => labels.map(({ x, y, anchor, text }) =>
  shape("text", { x, y, "text-anchor": anchor, class: "point-label", text }));

// Draws now and whenever the width of the container changes.
export function drawResponsive(container, draw) {
  let width = 0;
  new ResizeObserver(() => {
    if (container.clientWidth === width) return;
    width = container.clientWidth;
    draw();
  }).observe(container);
}
