"""Whether intervals of every kind of metric hold what they promise, on simulated runs with known truth.

Systems answer examples through a latent score: what the example says, what moves the whole run, and what moves the
single answer. Questions of one paragraph share a part of it, so that they err together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmark.records.outcomes import TaskOutcomes
from benchmark.records.task_score import MetricScore, TaskScore
from benchmark.statistics import intervals
from benchmark.statistics.intervals import Runs, Seeds, own_seeds
from benchmark.statistics.scales import SCALES
from benchmark.statistics.variance import Variance, shrunk
from leaderboard.pairing import paired_examples
from leaderboard.score_runs import task_runs
from tasks.scoring import outcomes

# Simulated examples: references and answers of `seeds` runs, as `tasks.scoring.outcomes` has them.
Simulate = Callable[[np.random.Generator, int, int], dict[str, Any]]
SYSTEMS, TRIALS = 6, 40
BETWEEN_RUNS, BETWEEN_ANSWERS = 0.15, 0.4


def moved(rng: np.random.Generator, seeds: int, count: int) -> np.ndarray:
    return BETWEEN_RUNS * rng.normal(size=(seeds, 1)) + BETWEEN_ANSWERS * rng.normal(size=(seeds, count))


def labels(rng: np.random.Generator, seeds: int, count: int) -> dict[str, Any]:
    """Two labels, a third of them 1, of which about 85 % are found."""
    references = (rng.random(count) < 1 / 3).astype(int)
    evidence = (2 * references - 1) * 1.2 + rng.normal(size=count)
    return {"references": references, "runs": {"predictions": (evidence + moved(rng, seeds, count) > 0).astype(int)}}


def values(rng: np.random.Generator, seeds: int, count: int) -> dict[str, Any]:
    """Values from 0 to 5 in steps, and predictions that correlate with them by about 0.85."""
    references = rng.integers(0, 6, count)
    predicted = references + rng.normal(size=count) * (1 + moved(rng, seeds, count))
    return {"references": references, "runs": {"predictions": np.clip(predicted, 0, 5)}}


def questions(rng: np.random.Generator, seeds: int, count: int) -> dict[str, Any]:
    """Paragraphs of one to nine questions; a wrong answer shares half of its words with the right one, or none."""
    paragraphs = np.repeat(np.arange(count), rng.integers(1, 10, count))
    hard = 0.8 * rng.normal(size=count)[paragraphs] + rng.normal(size=len(paragraphs))
    exact = 0.7 + hard + moved(rng, seeds, len(paragraphs)) > 0
    f1 = np.where(exact, 1.0, np.where(rng.random(exact.shape) < 0.5, 0.5, 0.0))
    return {"references": paragraphs, "runs": {"exact_match": exact.astype(int), "f1": f1}}


CASES: dict[str, tuple[Simulate, int]] = {
    "f1": (labels, 400),
    "matthews": (labels, 400),
    "pearson": (values, 300),
    "spearman": (values, 300),
    "exact_match": (questions, 150),
    "span_f1": (questions, 150),
}


def runs_of(name: str, simulated: dict[str, Any]) -> Runs:
    """The runs as the board reads them, with the noise of their examples."""
    metric = name.removeprefix("span_")
    plain = {key: value.tolist() for key, value in simulated["runs"].items()}
    found = TaskOutcomes(task="t", split="validation", references=simulated["references"].tolist(), runs=plain)
    scores = outcomes.scores(metric, found.references, found.runs)
    task = TaskScore(
        task="t",
        split="validation",
        primary_metric=metric,
        metrics={metric: MetricScore(value=float(np.median(scores)), per_seed=scores)},
        num_examples=len(found.references),
        seeds=list(range(len(scores))),
    )
    return task_runs(task, paired_examples(task, found))


def truth(name: str) -> float:
    """The score of the mean over runs on all examples there are."""
    rng, simulate = np.random.default_rng(99), CASES[name][0]
    large = [simulate(rng, 20, 10_000) for _ in range(5)]
    scores = [outcomes.scores(name.removeprefix("span_"), one["references"], one["runs"]) for one in large]
    return float(np.mean(scores))


@pytest.mark.parametrize("name", CASES)
def test_intervals_of_every_metric_hold(name: str) -> None:
    simulate, count = CASES[name]
    scale, expected = SCALES[name.removeprefix("span_")], truth(name)
    for seeds in (1, 3, 10):
        rng, of_mean, of_run = np.random.default_rng(seeds), [], []
        for _ in range(TRIALS):
            boards = [simulate(rng, seeds + 1, count) for _ in range(SYSTEMS)]
            one_more = [runs_of(name, board).scores[0][-1] for board in boards]
            kept = [{k: v[:-1] for k, v in board["runs"].items()} for board in boards]
            runs = [runs_of(name, board | {"runs": own}) for board, own in zip(boards, kept, strict=True)]
            # With one seed of each system, repeated runs say how much seeds move it.
            repeated = [simulate(rng, 12, count) for _ in range(SYSTEMS)] if seeds == 1 else []
            known = [own_seeds(one, scale).finetune for one in (*runs, *(runs_of(name, one) for one in repeated))]
            variances = shrunk(known)[:SYSTEMS] if seeds > 1 else [shrunk(known)[-1]] * SYSTEMS
            for own, variance, more in zip(runs, variances, one_more, strict=True):
                raw, slope = Seeds(variance).of_mean(own), scale.slope(own.mean)
                whole = intervals.of_mean(own.items, Variance(raw.value / slope**2, raw.degrees), own.interaction)
                low, high = intervals.of_the_mean(own, whole, scale) or (0.0, 0.0)
                of_mean.append(low <= expected <= high)
                low, high = intervals.of_another_run(own, Seeds(variance), scale) or (0.0, 0.0)
                of_run.append(low <= more <= high)
        # 240 trials have a standard error of 1.4 points.
        assert 0.93 - 0.02 <= np.mean(of_mean) <= 0.97 + 0.02, (seeds, np.mean(of_mean))
        assert 0.93 - 0.02 <= np.mean(of_run) <= 0.97 + 0.02, (seeds, np.mean(of_run))
