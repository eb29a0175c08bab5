// Elements and number formats. Text reaches the page only through textContent and attributes, never as markup.

const SVG_NAMESPACE = "http://www.w3.org/2000/svg";
export const MISSING = "\u2013";

export const byId = (id) => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export const element = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

export const shape = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG_NAMESPACE, tag), attributes, children);

export const titledSection = (title, ...children) => element("section", {}, element("h3", { text: title }), ...children);

export const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

// Three significant digits without an exponent: 0.123, 1.23, 12.3, 123, 1234.
export function significant(value) {
  if (value === 0) return "0";
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(digits, 6));
}

function withPrefix(value, steps) {
  const [size, unit] = steps.find(([limit]) => Math.abs(value) >= limit) || steps[steps.length - 1];
  return significant(value / size) + unit;
}

const COUNT_STEPS = [[1e12, "\u00a0T"], [1e9, "\u00a0G"], [1e6, "\u00a0M"], [1e3, "\u00a0k"], [1, ""]];

export const orMissing = (format) => (value) => (isNumber(value) ? format(value) : MISSING);

export const format = {
  score: orMissing((value) => value.toFixed(1)),
  count: orMissing((value) => withPrefix(value, COUNT_STEPS)),
  milliseconds: orMissing((seconds) => significant(seconds * 1e3)),
  speedup: orMissing((value) => significant(value) + "\u00d7"),
  fraction: orMissing((value) => value.toFixed(3)),
  seconds: orMissing((value) => significant(value)),
  significant: orMissing((value) => significant(value)),
  plain: (value) => (value === null || value === undefined ? MISSING : String(value)),
};

export const range = (low, high, write) => (isNumber(low) && isNumber(high) ? write(low) + "\u2013" + write(high) : "");

export const plural = (count, noun) => count + " " + noun + (count === 1 ? "" : "s");

// Marks of systems and trials: kinds differ in outline, not only in colour.
const OUTLINES = {
  circle: (r) => `M${-r},0a${r},${r} 0 1 0 ${2 * r},0a${r},${r} 0 1 0 ${-2 * r},0Z`,
  square: (r) => `M${-0.9 * r},${-0.9 * r}h${1.8 * r}v${1.8 * r}h${-1.8 * r}Z`,
  triangle: (r) => `M0,${-1.2 * r}L${1.1 * r},${0.8 * r}H${-1.1 * r}Z`,
  diamond: (r) => `M0,${-1.25 * r}L${1.25 * r},0L0,${1.25 * r}L${-1.25 * r},0Z`,
  cross: (r) => {
    const a = 0.35 * r;
    return `M${-a},${-r}h${2 * a}v${r - a}h${r - a}v${2 * a}h${a - r}v${r - a}h${-2 * a}v${a - r}h${a - r}v${-2 * a}h${r - a}Z`;
  },
};

export const KINDS = {
  found: { label: "Found", note: "found by the search", outline: "circle" },
  baseline: { label: "Baseline", note: "published architecture with our recipe, or a published checkpoint", outline: "square" },
  teacher: { label: "Teacher", note: "model that the students learn from", outline: "triangle" },
  control: { label: "Control", note: "untrained, or not competing for another reason", outline: "cross" },
  reported: { label: "Reported", note: "number from a publication, not measured here", outline: "diamond" },
};

export const markPath = (outline, radius, attributes = {}) => shape("path", { d: OUTLINES[outline](radius), ...attributes });

export const kindIcon = (kind) =>
  shape("svg", { class: "icon kind-" + kind, viewBox: "-8 -8 16 16", "aria-hidden": "true" },
    markPath(KINDS[kind].outline, 5, { class: "mark solid" }));

// One tooltip for the page; lines are [text, class].
export const tooltip = {
  show(anchor, lines) {
    const box = byId("tooltip");
    box.replaceChildren(...lines.map(([text, name]) => element("div", { text, class: name })));
    box.hidden = false;
    const at = anchor.getBoundingClientRect();
    const left = Math.min(Math.max(8, at.left + at.width / 2 - box.offsetWidth / 2), innerWidth - box.offsetWidth - 8);
    const above = at.top - box.offsetHeight - 10;
    box.style.left = left + "px";
    box.style.top = (above > 8 ? above : at.bottom + 10) + "px";
  },
  hide() {
    byId("tooltip").hidden = true;
  },
};

export function withTooltip(node, lines) {
  const show = () => tooltip.show(node, lines);
  for (const name of ["pointerenter", "focus"]) node.addEventListener(name, show);
  for (const name of ["pointerleave", "blur"]) node.addEventListener(name, tooltip.hide);
  return node;
}

export function saveFile(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = element("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

// One set of listeners for all points of a plot, however many there are: `linesAt` gives the lines of the tooltip for the
// id of a point, and `open` shows its system.
export function connectPoints(container, linesAt, open) {
  const pointAt = (event) => event.target.closest(".point[data-id]");
  const show = (event) => {
    const point = pointAt(event);
    if (point) tooltip.show(point.querySelector(".mark"), linesAt(point.dataset.id));
  };
  const choose = (event) => {
    const point = pointAt(event);
    if (point) open(point.dataset.id);
  };
  for (const name of ["pointerover", "focusin"]) container.addEventListener(name, show);
  for (const name of ["pointerout", "focusout"]) container.addEventListener(name, tooltip.hide);
  container.addEventListener("click", choose);
  container.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    choose(event);
  });
}
