// The panel with the details of one system.

import {
  byId, element, format, isNumber, kindIcon, KINDS, MISSING, range, shape, significant, titledSection,
  tooltip,
} from "./dom.js";
import { groupLabel, GROUPS, QUALITIES, ROWS, store } from "./state.js";
import { placeOf } from "./columns.js";
import { comparisonSection } from "./compare.js";

function definitionList(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return element("dl", { class: "pairs" }, ...known.map(([name, value]) =>
    element("div", {}, element("dt", { text: name }), element("dd", {}, value instanceof Node ? value : String(value)))));
}

// The seeds of each run of a task.
function runNames({ seeds, distill_seeds: distillSeeds }) {
  return "seeds " + seeds.map((seed, index) => distillSeeds.length ? `${distillSeeds[index]}/${seed}` : seed).join(", ")
    + (distillSeeds.length ? " (distillation/fine-tuning)" : "");
}

// The scores of all runs; those that diverged are marked, and count like the others.
function runScores(task, perSeed) {
  const name = (distillSeed, seed) => `${distillSeed || 0}/${seed}`;
  const diverged = new Set(task.diverged.map((run) => name(run.distill_seed, run.seed)));
  return perSeed.map((value, index) =>
    format.score(value) + (diverged.has(name(task.distill_seeds[index], task.seeds[index])) ? "\u2020" : "")).join("  ");
}

const REASONS = {
  not_finite: "loss not finite, a constant prediction stands for the model",
  not_learned: "training loss at the end not below that of a constant prediction",
};

// Recipe, choice of the learning rate and diverged seeds of the tasks that have them.
function recipes(row) {
  const lines = row.tasks.filter((task) => task.recipe || task.diverged.length).map((task) => {
    const { epochs, batch_size: batch, learning_rate: rate, start, choice } = task.recipe || {};
    const words = task.recipe ? [`${epochs} epochs`, `batch ${batch}`, `learning rate ${rate}`] : [];
    if (start) words.push(`started from ${start}`);
    if (choice) {
      const tried = choice.learning_rates.map((each, index) => `${each}: ${format.score(choice.scores[index])}`).join(", ");
      words.push(`chosen by ${choice.metric} on ${choice.num_examples} held-out training examples, seed ${choice.seed} (${tried})`);
    }
    for (const { seed, distill_seed: distillSeed, reason } of task.diverged) {
      const name = task.distill_seeds.length ? `${distillSeed}/${seed}` : seed;
      words.push(`\u2020 seed ${name} diverged: ${REASONS[reason]}`);
    }
    return [task.task, words.join("; ")];
  });
  return lines.length ? element("details", {}, element("summary", { text: "Fine-tuning of each task" }), definitionList(lines)) : null;
}

// All metrics of a task, the primary one first, under one heading.
function taskLines(task, row) {
  const [, low, high, runLow, runHigh] = row.scores[task.key];
  const names = Object.keys(task.metrics).sort((a, b) => (b === task.primary_metric) - (a === task.primary_metric));
  return names.map((name, index) => {
    const { value, per_seed: perSeed } = task.metrics[name];
    // Of other metrics the page has no estimate.
    const bounds = index === 0 ? [[low, high], [runLow, runHigh]] : [[], []];
    const start = task.recipe?.start ? `${task.task} (started from ${task.recipe.start})` : task.task;
    const heading = { scope: "rowgroup", rowspan: names.length, text: start, title: `${task.split}, ${task.num_examples} examples` };
    return element("tr", { class: index === 0 ? "primary" : null },
      index === 0 ? element("th", heading) : null,
      element("td", { text: name }),
      element("td", { class: "number", text: format.score(value) }),
      ...bounds.map(([from, to]) => element("td", { class: "number range", text: range(from, to, format.score) || MISSING })),
      element("td", { class: "seeds", text: runScores(task, perSeed), title: runNames(task) }));
  });
}

function scoreTable(row) {
  const heads = [
    ["Task"], ["Metric"], ["Median", "Over distillation and fine-tuning seeds"],
    ["Mean over runs", "95 % interval on other examples of the kind"],
    ["Another run", "Where one with other seeds falls on the same examples, with 95 %; missing where nothing is known of seeds"],
    ["Each run"],
  ];
  return element("div", { class: "table-scroll" }, element("table", { class: "small" },
    element("thead", {}, element("tr", {}, ...heads.map(([text, title]) => element("th", { scope: "col", text, title })))),
    ...row.tasks.map((task) => element("tbody", {}, ...taskLines(task, row)))));
}

// The definition of a task that is not in the catalogue: what its scores depend on.
function ownTask({ task, definition }) {
  const files = Object.entries(definition.files).map(([split, file]) => [`File (${split})`, `${file.name}, ${file.format}, sha256 ${file.sha256}`]);
  const heldOut = definition.validation_fraction;
  return element("details", {}, element("summary", { text: `Own task ${task}: ${definition.title}` }), definitionList([
    ["Kind", definition.kind],
    ["Columns", [...definition.text_columns, definition.label_column].join(", ")],
    ["Labels", definition.label_names.join(", ")],
    ["Range", definition.label_range.join(" to ")],
    ["Metrics", definition.metrics.join(", ")],
    ["Examples", Object.entries(definition.examples).map(([split, count]) => `${split} ${count}`).join(", ")],
    ["Validation", isNumber(heldOut) ? `${significant(heldOut * 100)} % of the training rows, seed ${definition.split_seed}` : null],
    ...files,
  ]));
}

// Where the data of a task differ from what its name promises: another training file, and evaluated examples that stand
// in training data.
function taskData({ task, training_file: file, contamination }) {
  const count = (value) => (isNumber(value) ? `${value} of ${contamination.examples}` : "not known");
  const pairs = [["Trained on", file && `${file.name}: ${file.examples} of ${file.official_examples} examples, sha256 ${file.sha256}`]];
  if (contamination) {
    pairs.push(
      ["Same example in training", count(contamination.same_example)],
      ["Any text in training", count(contamination.any_text)],
      ["Long sentence in pretraining text", `${count(contamination.in_pretraining)}; ${contamination.long_sentence} have one`],
      ["Definition of equality", contamination.method]);
  }
  const summary = `Data of ${task}` + (file ? ", trained on another file" : "");
  return element("details", {}, element("summary", { text: summary }), definitionList(pairs));
}

function histogram(spread, label) {
  const [width, height] = [420, 110];
  const most = Math.max(...spread.candidate, ...(spread.reference || [0]));
  const step = width / spread.candidate.length;
  const bars = (counts, name) => counts.map((count, index) => shape("rect", {
    class: name, x: index * step, width: Math.max(1, step - 1), y: height - (count / most) * height, height: (count / most) * height,
  }));
  const ms = (value) => format.milliseconds(value * 1e-9) + " ms";
  return element("figure", { class: "histogram" },
    shape("svg", { viewBox: `0 0 ${width} ${height + 18}`, role: "img", "aria-label": label },
      ...bars(spread.reference || [], "bar reference"), ...bars(spread.candidate, "bar candidate"),
      shape("line", { class: "base", x1: 0, x2: width, y1: height, y2: height }),
      shape("text", { x: 0, y: height + 14, text: ms(spread.low) }),
      shape("text", { x: width, y: height + 14, "text-anchor": "end", text: ms(spread.high) })),
    element("figcaption", {}, element("span", { class: "swatch candidate" }), "this system",
      ...(spread.reference ? [element("span", { class: "swatch reference" }), "reference"] : [])));
}

function latencySection(key, value) {
  const group = GROUPS.get(key);
  const spread = value.distribution;
  const ms = (nanoseconds) => format.milliseconds(nanoseconds * 1e-9) + " ms";
  const bounds = value.speedup_interval ? ` (${range(...value.speedup_interval, format.speedup)})` : "";
  const pairs = [
    ["Latency", format.milliseconds(value.latency_s) + " ms"],
    ["Speed-up", value.speedup === null ? null : `${format.speedup(value.speedup)}${bounds} against ${value.reference}`],
    ["Noise floor", isNumber(value.noise_floor) ? significant(value.noise_floor * 100) + " %" : null],
  ];
  const bounds99 = Object.entries(value.percentiles_s).map(([name, seconds]) => `${name} ${isNumber(seconds) ? format.milliseconds(seconds) + " ms" : "n/a"}`);
  if (bounds99.length) pairs.push(["Upper bounds (99 %)", bounds99.join(", ")]);
  if (isNumber(value.joules)) pairs.push(["Energy of a call", significant(value.joules * 1e3) + " mJ"]);
  if (spread) {
    pairs.push(["Quantiles", spread.quantiles.map(([f, ns]) => `p${Math.round(f * 100)} ${ms(ns)}`).join(", ")]);
    pairs.push(["Samples", `${spread.count}; median of each process ${spread.processes.map(ms).join(", ")}`]);
  }
  pairs.push(...Object.entries(value.details));
  return element("div", { class: "latency" }, element("h4", { text: groupLabel(group) }), definitionList(pairs),
    spread ? histogram(spread, "Distribution of latency samples") : null);
}

async function copyText(text, source, status) {
  try {
    await navigator.clipboard.writeText(text);
    status.textContent = "Copied";
  } catch {
    // Without access to the clipboard the text is selected, so that the reader can copy it.
    getSelection().selectAllChildren(source);
    status.textContent = "Selected: press Ctrl+C";
  }
}

function commandBlock(command) {
  const source = element("pre", { class: "command", tabindex: 0, text: command });
  const status = element("span", { class: "muted", role: "status" });
  const button = element("button", { type: "button", id: "copy-command", text: "Copy", onclick: () => copyText(command, source, status) });
  return [source, element("p", { class: "copy" }, button, status)];
}

function trainingPairs(training) {
  const accuracy = training.masked_lm_accuracy;
  const scores = training.masked_lm || {};
  const withError = (name, digits, unit) => (isNumber(scores[name])
    ? `${scores[name].toFixed(digits)}${isNumber(scores[name + "_stderr"]) ? " \u00b1 " + scores[name + "_stderr"].toFixed(digits) : ""}${unit}`
    : null);
  return [
    ["Recipe", training.recipe],
    ["Task recipe", training.task_recipe],
    ["Teacher", training.teacher],
    ["Starts from checkpoint", training.start],
    ["Steps", training.steps],
    ["Tokens", format.count(training.tokens)],
    ["Masked-LM accuracy", isNumber(accuracy) ? `${accuracy.toFixed(2)} %` : null],
    ["Masked-LM accuracy before", isNumber(training.masked_lm_accuracy_before) ? `${training.masked_lm_accuracy_before.toFixed(2)} %` : null],
    ["Masked-LM predictions", training.masked_lm_predictions],
    ["Masked-LM loss", isNumber(training.masked_lm_loss) ? training.masked_lm_loss.toFixed(4) : null],
    ["Agreement with the teacher", withError("teacher_agreement", 2, " %")],
    ["Divergence from the teacher", withError("teacher_kl", 4, " nats")],
    ["Pseudo-perplexity", withError("pseudo_perplexity", 2, isNumber(scores.pseudo_perplexity_tokens) ? ` (${scores.pseudo_perplexity_tokens} tokens)` : "")],
  ];
}

const joined = (values) => Object.entries(values).map(([name, value]) => `${name} ${value}`).join(", ");

// Numerics decide if another machine has to compute the same bits.
function numericsText({ mode, reduction_threads: threads }) {
  return mode === "portable" ? `portable: the same bits on every machine, sums divided among ${threads} threads` : "native: as the machine computes";
}

function provenanceNodes(provenance) {
  return [
    titledSection("Reproduce", ...commandBlock(provenance.command)),
    titledSection("Provenance", definitionList([
      ["Commit", provenance.git_commit + (provenance.git_dirty ? " (with uncommitted changes)" : "")],
      ["Settings", element("code", { text: provenance.config_fingerprint })],
      ["Numerics", numericsText(provenance.numerics)],
      ["Device", joined(provenance.device)],
      ["Versions", joined(provenance.versions)],
      ["Vocabulary", element("code", { text: provenance.vocabulary_digest })],
      ["Timing", joined(provenance.timing)],
    ]), element("details", {}, element("summary", { text: "Data digests" }), definitionList(Object.entries(provenance.data_digests))),
    element("details", {}, element("summary", { text: "What the track fixes, by digest" }),
      definitionList(Object.entries(provenance.track_settings).map(([part, fixed]) => [part.replace("_", " "), fixed.sha256]))),
    element("details", {}, element("summary", { text: "Settings (gin)" }), element("pre", { tabindex: 0, text: provenance.gin_text }))),
  ];
}

function headFacts(row) {
  const place = placeOf(row);
  const { system } = row;
  return definitionList([
    ["Kind", KINDS[system.kind].label],
    ["Trust", row.trust],
    ["Rank", place ? `${place[1] ? "= " : ""}${place[0]} by ${QUALITIES.get(store.state.y).label}` : "not ranked"],
    ["Parameters", isNumber(system.parameters) ? `${format.count(system.parameters)} (${system.parameters})` : null],
    ["FLOPs", isNumber(system.flops) ? `${format.count(system.flops)} at length ${system.flops_sequence_length}` : null],
    ["Record", element("code", { text: row.id })],
  ]);
}

function panelContent(row) {
  const close = element("button", { type: "button", class: "close", "aria-label": "Close details", onclick: () => store.set({ open: "", with: "" }), text: "\u00d7" });
  const head = element("header", {}, kindIcon(row.system.kind),
    element("h2", { id: "details-title" }, element("bdi", { text: row.system.title })), close);
  const encoder = row.system.encoder;
  const parts = [head, headFacts(row)];
  if (row.tasks.length) parts.push(titledSection("Scores", scoreTable(row), recipes(row),
    ...row.tasks.filter((task) => task.definition).map(ownTask),
    ...row.tasks.filter((task) => task.training_file || task.contamination).map(taskData)));
  const latencies = Object.entries(row.latency).sort(([a], [b]) => (b === store.state.group) - (a === store.state.group));
  if (latencies.length) parts.push(titledSection("Latency", ...latencies.map(([key, value]) => latencySection(key, value))));
  parts.push(comparisonSection(row));
  if (encoder) parts.push(titledSection("Architecture", definitionList(Object.entries(encoder).map(([name, value]) => [name, value === null ? "none" : value]))));
  if (row.training) parts.push(titledSection("Training", definitionList(trainingPairs(row.training))));
  if (row.provenance) parts.push(...provenanceNodes(row.provenance));
  return parts.filter(Boolean);
}

export function setUpDetails() {
  const panel = byId("details");
  let opener = null;
  const show = (state) => {
    if (!state.open) {
      panel.hidden = true;
      panel.replaceChildren();
      if (opener && opener.isConnected) opener.focus();
      opener = null;
      return;
    }
    if (panel.hidden) opener = document.activeElement;
    tooltip.hide();
    panel.replaceChildren(...panelContent(ROWS.get(state.open)));
    panel.hidden = false;
    panel.scrollTop = 0;
    panel.focus();
  };
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    tooltip.hide();
    if (store.state.open) store.set({ open: "", with: "" });
  });
  store.listen((state, before) => {
    if (state.open !== before.open) show(state);
  });
  if (store.state.open) show(store.state);
}
