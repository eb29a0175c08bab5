// The data of the page of published systems, and the reader's choices.

import { createStore } from "./address.js";
import { byId } from "./dom.js";

export const DATA = JSON.parse(byId("data").textContent);
export const ROWS = new Map(DATA.rows.map((row) => [row.id, row]));
export const QUALITIES = new Map(DATA.qualities.map((quality) => [quality.key, quality]));
export const COSTS = new Map(DATA.costs.map((cost) => [cost.key, cost]));
// Latencies of publications are in the table only.
export const COSTS_HERE = DATA.costs.filter((cost) => cost.method !== "reported");

// The score that most systems with a latency have.
const mostReported = DATA.qualities.reduce((best, quality) => (!best || quality.count > best.count ? quality : best), null);

const DEFAULTS = Object.freeze({
  y: mostReported ? mostReported.key : "",
  axis: "latency",
  x: COSTS_HERE.length ? COSTS_HERE[0].key : "",
  sort: "",
  system: "",
  numbers: "", // order of the table of numbers
  open: "",
});

export const store = createStore(DEFAULTS, {
  y: (value) => QUALITIES.has(value),
  axis: (value) => value === "latency" || value === "speedup",
  x: (value) => COSTS_HERE.some((cost) => cost.key === value),
  system: (value) => value === "" || ROWS.has(value),
  open: (value) => value === "" || ROWS.has(value),
});

// The scores of one kind that publications report for a system; the first one is drawn.
export const scoresOf = (row, key) => row.scores[key] || [];

export const valueOf = (row, key) => scoresOf(row, key)[0]?.value ?? null;

export const latencyOf = (row, key) => row.latency[key] || null;

// The place on the axis of cost: milliseconds, or the speed-up over the reference; null where there is none.
export function costOf(row, state) {
  const latency = latencyOf(row, state.x);
  if (!latency) return null;
  return state.axis === "latency" ? latency.latency_s * 1e3 : latency.speedup;
}

const ADDRESS = /https:\/\/[^\s<>"']+/;

// A source without its address: "Devlin et al. 2018, table 1".
export const sourceName = (source) => source.replace(ADDRESS, "").replace(/[\s,]+$/, "") || source;

export const sourceAddress = (source) => source.match(ADDRESS)?.[0] ?? null;
