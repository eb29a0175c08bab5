// The analysis of a search: importance of its fields, predictions against observations.

import { byId, element, format, markPath, orMissing, plural, shape, withTooltip } from "./dom.js";
import { store } from "./state.js";
import { axisX, axisY, canvas, chartBox, drawResponsive, linearScale, MARGIN } from "./chart.js";
import { objectiveOf } from "./objective.js";
import { GENERATOR_OUTLINES, generatorIndex, generatorsOf } from "./generators.js";

const MODELS = {
  expected_gain: "this project's model of the error",
  ax: "Ax's default model",
};

const EFFECTS = { rises: "rises with it", falls: "falls with it" };

export const frontChance = (search, number) =>
  search.analysis?.front.find((row) => row.trial === number)?.probability ?? null;

export const percent = orMissing((value) => (value * 100).toFixed(value > 0 && value < 0.1 ? 1 : 0) + "\u00a0%");

function importanceLines(row, objective) {
  return [
    [row.field, "strong"],
    [`${format.fraction(row.total_order)} of the variance, with other fields`, ""],
    [`${format.fraction(row.first_order)} alone`, ""],
    [row.effect === "none" ? "no effect" : `${objective.short} ${EFFECTS[row.effect]}`, "muted"],
  ];
}

// One line of text and one bar for each field, so that long names fit on a phone.
function drawImportance(search) {
  const container = byId("history-importance");
  const rows = search.analysis.importance;
  if (!rows?.length) {
    container.replaceChildren(element("p", { class: "empty", text: "Not known." }));
    return;
  }
  const ordered = [...rows].sort((a, b) => b.total_order - a.total_order);
  const box = chartBox(container, 0.72);
  const step = Math.min(56, (box.bottom - box.top) / ordered.length);
  const most = Math.max(1, ...ordered.flatMap((row) => [row.total_order, row.first_order]));
  const scale = linearScale([], MARGIN.right, box.right, { low: 0, high: most, count: 5 });
  const bars = ordered.map((row, index) => {
    const top = box.top + index * step;
    const height = Math.min(14, step * 0.4);
    const lines = importanceLines(row, objectiveOf(search));
    const bar = (value, name) => shape("rect", {
      x: scale.at(0), y: top + 18, width: Math.max(0, scale.at(value) - scale.at(0)), height, class: "bar " + name,
    });
    return withTooltip(shape("g", { class: "point importance", tabindex: 0, role: "img", "aria-label": lines.map(([text]) => text).join(", ") },
      shape("rect", { x: scale.at(0), y: top, width: box.right - scale.at(0), height: step, class: "hit" }),
      shape("text", { x: scale.at(0), y: top + 13, class: "axis-label", text: row.field }),
      shape("text", { x: box.right, y: top + 13, "text-anchor": "end", text: row.effect === "none" ? "no effect" : row.effect }),
      bar(row.total_order, "total"), bar(row.first_order, "alone")), lines);
  });
  container.replaceChildren(canvas(box, `Importance of ${plural(rows.length, "field")} for ${objectiveOf(search).name}`,
    axisX({ ...box, left: MARGIN.right }, scale, "Share of the variance (solid: alone)"), ...bars));
}

// The model that the reader chose, else the one that proposed trials, else the first.
function chosenPredictions(search) {
  const models = search.analysis.predictions;
  return models.find((row) => row.model === store.state.model) || models.find((row) => row.proposes) || models[0] || null;
}

function predictionPoints(search, predictions) {
  const objective = objectiveOf(search);
  const trials = new Map(search.trials.map((trial) => [trial.trial, trial]));
  return predictions.trials.map((row) => {
    const trial = trials.get(row.trial);
    return { trial, row, observed: objective.value(trial), error: objective.error(trial) };
  });
}

function drawPredictions(search) {
  const container = byId("history-predictions");
  const predictions = chosenPredictions(search);
  const points = predictions ? predictionPoints(search, predictions) : [];
  if (!points.length) {
    container.replaceChildren(element("p", { class: "empty", text: "Not known." }));
    return;
  }
  const generators = generatorsOf(search.trials);
  const box = chartBox(container, 0.72);
  const values = points.flatMap(({ row, observed, error }) =>
    [observed - error, observed + error, row.mean - row.stderr, row.mean + row.stderr]);
  const limits = linearScale(values, 0, 1);
  const ends = { low: limits.start, high: limits.end, count: 5 };
  const scales = { x: linearScale([], box.left, box.right, ends), y: linearScale([], box.bottom, box.top, ends) };
  const marks = points.map(({ trial, row, observed, error }) => {
    const [x, y] = [scales.x.at(observed), scales.y.at(row.mean)];
    const index = generatorIndex(generators, trial.generator);
    const lines = [
      [`Trial ${trial.trial}`, "strong"],
      [trial.generator, "muted"],
      [`Observed ${observed.toFixed(2)} \u00b1 ${error.toFixed(2)} %`, ""],
      [`Predicted ${row.mean.toFixed(2)} \u00b1 ${row.stderr.toFixed(2)} %`, ""],
    ];
    return withTooltip(shape("g", {
      class: `point generator-${index}`, tabindex: 0, role: "img", "aria-label": lines.map(([text]) => text).join(", "),
    },
      shape("line", { x1: x, x2: x, y1: scales.y.at(row.mean - row.stderr), y2: scales.y.at(row.mean + row.stderr), class: "interval" }),
      shape("line", { x1: scales.x.at(observed - error), x2: scales.x.at(observed + error), y1: y, y2: y, class: "interval" }),
      shape("circle", { cx: x, cy: y, r: 10, class: "hit" }),
      markPath(GENERATOR_OUTLINES[index], 5, { class: "mark " + (trial.on_front ? "solid" : "hollow"), transform: `translate(${x} ${y})` })), lines);
  });
  container.replaceChildren(canvas(box, `Predicted against observed ${objectiveOf(search).name}, ${plural(points.length, "trial")}`,
    axisX(box, scales.x, `Observed ${objectiveOf(search).name} (%)`),
    axisY(box, scales.y, "Predicted from the other trials (%)"),
    shape("line", { x1: box.left, y1: box.bottom, x2: box.right, y2: box.top, class: "threshold diagonal" }),
    ...marks));
}

function analysisNotes(search) {
  const { hypervolume, notes, predictions } = search.analysis;
  const { short } = objectiveOf(search);
  const lines = [
    hypervolume ? `Under the noise of ${short} the hypervolume lies between ${format.fraction(hypervolume.low)} and `
      + `${format.fraction(hypervolume.high)} (95 %).` : "",
    search.analysis.importance ? `Importance: Sobol indices of Ax's model of ${short}.` : "",
    predictions.length ? "Predictions: each trial from all others; bars: one standard error." : "",
    ...notes,
  ];
  byId("analysis-hint").textContent = lines.filter(Boolean).join(" ");
}

export function setUpAnalysis(search) {
  if (!search.analysis) return;
  analysisNotes(search);
  const chooser = byId("prediction-model");
  chooser.replaceChildren(...search.analysis.predictions.map((row) =>
    element("option", { value: row.model, text: MODELS[row.model] + (row.proposes ? " (proposed the trials)" : "") })));
  chooser.parentNode.hidden = search.analysis.predictions.length === 0;
  const show = () => {
    chooser.value = chosenPredictions(search)?.model ?? "";
  };
  show();
  chooser.onchange = () => store.set({ model: chooser.value });
  store.listen((state, before) => {
    if (state.model === before.model) return;
    show();
    drawPredictions(search);
  });
  drawResponsive(byId("history-importance"), () => drawImportance(search));
  drawResponsive(byId("history-predictions"), () => drawPredictions(search));
}
