// Marks of the generators that proposed trials.

export const GENERATOR_OUTLINES = ["circle", "square", "triangle", "diamond"];

export const generatorsOf = (trials) => [...new Set(trials.map((trial) => trial.generator))];

// Beyond the fourth, generators share the last mark; the table still names them.
export const generatorIndex = (generators, name) => Math.min(generators.indexOf(name), GENERATOR_OUTLINES.length - 1);
