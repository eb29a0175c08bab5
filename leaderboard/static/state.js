// The page's data, and the reader's choices.

import { createStore } from "./address.js";
import { byId, plural } from "./dom.js";

export const DATA = JSON.parse(byId("data").textContent);
export const ROWS = new Map(DATA.rows.map((row) => [row.id, row]));
export const QUALITIES = new Map(DATA.qualities.map((quality) => [quality.key, quality]));
export const GROUPS = new Map(DATA.groups.map((group) => [group.key, group]));

export const AXES = {
  latency: { label: "Latency", unit: "ms", better: "left" },
  speedup: { label: "Speed-up", unit: "\u00d7", better: "right" },
};

function defaultQuality() {
  const counts = DATA.qualities.map(({ key }) => DATA.rows.filter((row) => key in row.scores).length);
  return counts[0] > 0 ? "mean" : DATA.qualities[counts.indexOf(Math.max(...counts))].key;
}

// Milliseconds of several runs were measured at other times, maybe on other machines; the speed-up over a reference that
// was measured beside each system is comparable.
function defaultAxis() {
  const [group] = DATA.groups;
  return group && group.runs > 1 && hasSpeedup(group.key) ? "speedup" : "latency";
}

const DEFAULTS = Object.freeze({
  y: defaultQuality(),
  x: defaultAxis(),
  group: DATA.groups.length ? DATA.groups[0].key : "",
  sort: "rank",
  q: "",
  hide: "", // kinds that are filtered out, with commas
  front: "",
  complete: "",
  cols: "", // columns that differ from the default set, with commas
  open: "",
  with: "", // the system that the open one is compared with
  trials: "trial",
  model: "", // the model of the predictions; without a choice, the one that proposed the trials
});

const ACCEPTED = {
  y: (value) => QUALITIES.has(value),
  x: (value) => Object.hasOwn(AXES, value),
  group: (value) => GROUPS.has(value),
  open: (value) => ROWS.has(value),
  with: (value) => ROWS.has(value),
};

export const store = createStore(DEFAULTS, ACCEPTED);

export const splitList = (text) => new Set(text ? text.split(",") : []);

export function toggled(text, item) {
  const items = splitList(text);
  if (!items.delete(item)) items.add(item);
  return [...items].sort().join(",");
}

// Numbers of one row under the current choices; null where there is none.
export const scoreOf = (row, key) => (row.scores[key] ? row.scores[key][0] : null);

export function latencyOf(row, group) {
  return row.latency[group] || null;
}

export function costOf(row, state) {
  const block = latencyOf(row, state.group);
  if (!block) return null;
  if (state.x === "latency") return block.latency_s * 1e3;
  return block.comparable_speedup ? block.speedup : null;
}

export function frontOf(state) {
  const group = DATA.fronts[state.group];
  return group ? group[state.x][state.y] : [];
}

export function hasSpeedup(group) {
  return DATA.rows.some((row) => latencyOf(row, group)?.comparable_speedup);
}

// A roofline whose cost of an operation is not fitted puts architectures in order, and is no time.
export const methodName = ({ method, only_a_rank: rank }) => method + (rank ? " (a rank, not a time)" : "");

export function groupLabel(group) {
  const shape = `batch ${group.batch_size}, length ${group.sequence_length}, ${group.dtype}`;
  const how = [group.runtime, group.threads ? plural(group.threads, "thread") : "", group.protocol_version ? `protocol ${group.protocol_version}` : ""];
  return [methodName(group), group.chip, shape, ...how].filter(Boolean).join(", ");
}

function searchText(row) {
  const encoder = row.system.encoder || {};
  const training = row.training || {};
  const words = [row.id, row.system.name, row.system.title, row.system.kind, row.trust, training.recipe, training.teacher];
  for (const [name, value] of Object.entries(encoder)) words.push(name + "=" + value);
  return words.filter(Boolean).join(" ").toLowerCase();
}

const SEARCH_TEXTS = new Map(DATA.rows.map((row) => [row.id, searchText(row)]));

// Rows that pass the filters; every word of the search must occur.
export function matchingRows(state) {
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  const hidden = splitList(state.hide);
  const front = state.front ? new Set(frontOf(state)) : null;
  return DATA.rows.filter((row) =>
    !hidden.has(row.system.kind)
    && (!front || front.has(row.id))
    && words.every((word) => SEARCH_TEXTS.get(row.id).includes(word)));
}
