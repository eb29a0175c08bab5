// The score of its trials that a search maximises: its field, and its names on the page.

const SCORES = {
  accuracy: { name: "masked-LM accuracy", title: "Masked-LM accuracy", short: "accuracy" },
  teacher_agreement: { name: "agreement with the teacher", title: "Agreement with the teacher", short: "agreement" },
};

export function objectiveOf(search) {
  const field = search.objectives.teacher_agreement ? "teacher_agreement" : "accuracy";
  return {
    ...SCORES[field],
    field,
    threshold: search.objectives[field].threshold,
    value: (trial) => trial[field],
    error: (trial) => trial[field + "_stderr"] || 0,
  };
}
