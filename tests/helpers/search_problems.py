"""Problems with known answers for tests of the search, and a loop that solves them."""

import csv
import dataclasses
import functools
import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.search import algorithms
from benchmark.search.problem import Constraint, Field, Objective, Observation, Point, Problem
from tasks.system.repository import REPOSITORY
from tests.performance.flash_table import FIELDS, FRACTIONS


@dataclass(frozen=True)
class Known:
    """A problem, its outcomes, and the largest hypervolume that can be reached."""

    problem: Problem
    evaluate: Callable[[Point], dict[str, tuple[float, float]]]
    largest: float


# toy_transformer: 2,400 students, error against the logarithm of latency.

TOY_VALUES = {
    "layers": (4, 6, 8, 12, 18, 24),
    "hidden": (128, 192, 256, 384, 512),
    "multiplier": (1, 2, 3, 4, 6),
    "heads": (1, 2, 4, 8),
    "stack": (1, 2, 3, 4),
}
TOY_REFERENCE = (42.638486716874326, 0.5899470856796308)
TOY_LARGEST = 90.79043685483407


@functools.cache
def toy_table() -> dict[tuple[int, ...], tuple[float, float]]:
    """Error in percent and base-2 logarithm of milliseconds of every point."""
    points = list(itertools.product(*TOY_VALUES.values()))
    layers, hidden, multiplier, heads, stack = np.array(points, float).T
    weights = layers * (4 * hidden * hidden + stack * 2 * hidden * hidden * multiplier)
    flops = 2 * layers * (4 * hidden**2 * 128 + 2 * 128 * 128 * hidden + stack * 2 * hidden**2 * multiplier * 128)
    size = 2 * (weights + 30522 * hidden)
    efficiency = np.minimum(1, hidden / heads / 64) ** 0.5 * np.minimum(1, hidden / 256) ** 0.35
    work = 1e3 * np.maximum(flops / (65e12 * efficiency), size / 600e9)
    latency = np.log2(work + 0.004 * layers * stack + 0.010 * layers + 0.05)
    error = 11 + 34 * np.exp(-0.55 * np.log1p(weights / 1e6)) + 1.1 * abs(np.log2(hidden / heads / 48))
    error += 0.11 * np.maximum(0, layers - 14) + 0.35 * abs(multiplier * stack - 6) / 6
    return dict(zip(points, zip(error.tolist(), latency.tolist(), strict=True), strict=True))


def toy_transformer(latency_known: bool = True) -> Known:
    """The error is learnt; the latency is known or learnt too."""
    table, names = toy_table(), list(TOY_VALUES)

    def row(point: Point) -> tuple[float, float]:
        return table[tuple(int(point[n]) for n in names)]

    problem = Problem(
        fields=tuple(Field(name, values) for name, values in TOY_VALUES.items()),
        objectives=(
            Objective("error", TOY_REFERENCE[0], best=0.0),
            Objective("latency", TOY_REFERENCE[1], known=latency_known),
        ),
        describe=(lambda point: {"latency": row(point)[1]}) if latency_known else (lambda point: {}),
    )

    def evaluate(point: Point) -> dict[str, tuple[float, float]]:
        learnt = {"error": (row(point)[0], 0.0)}
        return learnt if latency_known else {**learnt, "latency": (row(point)[1], 0.0)}

    return Known(problem, evaluate, TOY_LARGEST)


# Real accuracies and real latencies.

DATA = REPOSITORY / "tests" / "data"
# Widths of the table of accuracies are a quarter of those of the table of latencies.
SCALED = ("hidden_size", "intra_bottleneck_size", "intermediate_size")


@functools.cache
def flash_table() -> dict[tuple[int, ...], dict[str, float]]:
    """Recorded accuracies of flash distillations, and the TPU compiler's `latency_s` of the students at full width.

    The keys are the values of `FIELDS`, at full width. gin/search/flash_table.gin describes the making of both, and
    docs/hardware.md.
    """

    def rows(name: str) -> list[dict[str, str]]:
        with (DATA / name).open(encoding="utf-8") as file:
            return list(csv.DictReader(file))

    latencies = {
        tuple(int(row[f]) for f in FIELDS): float(row["latency_s"]) for row in rows("tpu_v4_default_space.csv")
    }
    table = {}
    for row in rows("flash_table.csv"):
        key = tuple(int(row[f]) * (4 if f in SCALED else 1) for f in FIELDS)
        found = {name: float(row[name]) for name in (*FRACTIONS.values(), "accuracy_stderr", "steps")}
        table[key] = {**found, "latency_s": latencies[key]}
    return table


def flash_distillations() -> Known:
    """Error of the recorded students against the logarithm of their latency, which is known."""
    table = flash_table()

    def row(point: Point) -> dict[str, float] | None:
        return table.get(tuple(int(point[name]) for name in FIELDS))

    def latency(found: dict[str, float]) -> float:
        return math.log2(1e3 * found["latency_s"])

    both = np.array([[100.0 - found["accuracy"], latency(found)] for found in table.values()])
    front = np.array([p for p in both if not ((both <= p).all(1) & (both < p).any(1)).any()])
    ideal, nadir = front.min(0), front.max(0)
    reference = nadir + 0.1 * (nadir - ideal)

    def describe(point: Point) -> dict[str, float] | None:
        found = row(point)
        return None if found is None else {"latency": latency(found)}

    def evaluate(point: Point) -> dict[str, tuple[float, float]]:
        found = row(point)
        assert found
        return {"error": (100.0 - found["accuracy"], found["accuracy_stderr"])}

    problem = Problem(
        fields=tuple(Field(name, tuple(sorted({key[i] for key in table}))) for i, name in enumerate(FIELDS)),
        objectives=(
            Objective("error", float(reference[0]), best=0.0),
            Objective("latency", float(reference[1]), known=True),
        ),
        describe=describe,
    )
    known = Known(problem, evaluate, 1.0)
    points = [dict(zip(FIELDS, key, strict=True)) for key in table]
    everything = [Observation(point, evaluate(point)) for point in points]
    return dataclasses.replace(known, largest=hypervolume_share(known, everything))


# Problems of BoTorch's collection, about which nothing is known in advance.


def continuous(name: str) -> Known:
    """Branin-Currin, its constrained version, or DTLZ2 with six dimensions."""
    import torch
    from botorch.test_functions.multi_objective import DTLZ2, BraninCurrin, ConstrainedBraninCurrin

    function: Any
    function, reference, largest = {
        "branin_currin": (BraninCurrin(), (18.0, 6.0), 59.36011874867746),
        "dtlz2": (DTLZ2(dim=6, num_objectives=2), (1.1, 1.1), DTLZ2(dim=6, num_objectives=2).max_hv),
        "constrained_branin_currin": (ConstrainedBraninCurrin(), (80.0, 12.0), ConstrainedBraninCurrin().max_hv),
    }[name]
    limited = name.startswith("constrained")

    def evaluate(point: Point) -> dict[str, tuple[float, float]]:
        x = torch.tensor([list(point.values())], dtype=torch.double)
        found = {f"f{i}": (float(v), 0.0) for i, v in enumerate(function.evaluate_true(x)[0])}
        return {**found, "slack": (float(function.evaluate_slack_true(x)[0, 0]), 0.0)} if limited else found

    problem = Problem(
        fields=tuple(Field(f"x{i}", bounds=(0.0, 1.0)) for i in range(function.dim)),
        objectives=tuple(Objective(f"f{i}", r) for i, r in enumerate(reference)),
        constraints=(Constraint("slack", 0.0, at_least=True),) if limited else (),
    )
    return Known(problem, evaluate, largest)


def pairs(problem: Problem, observations: Sequence[Observation]) -> np.ndarray:
    """Both objectives, to be minimised, of the observations that keep all limits, `[n, 2]`."""
    rows = [
        [
            (problem.describe(o.point) or {})[objective.name] if objective.known else o.outcomes[objective.name][0]
            for objective in problem.objectives
        ]
        for o in observations
        if not o.failed and all(c.holds(o.outcomes[c.name][0]) for c in problem.constraints)
    ]
    return np.array(rows, float).reshape(-1, 2)


def hypervolume_share(known: Known, observations: Sequence[Observation]) -> float:
    """Hypervolume of the observations as a share of the largest; both objectives are minimised."""
    reference = [o.threshold for o in known.problem.objectives]
    area, best = 0.0, reference[0]
    for first, second in sorted(pairs(known.problem, observations).tolist(), key=lambda pair: (pair[1], pair[0])):
        if first < best and second < reference[1]:
            area += (best - first) * (reference[1] - second)
            best = first
    return area / known.largest


@dataclass(frozen=True)
class Solved:
    """The result of a search: observations in order, hypervolume share after each, seconds for each suggestion."""

    observations: list[Observation]
    shares: list[float]
    seconds: list[float]


def solve(known: Known, algorithm: str, seed: int, budget: int, initial: int, at_once: int = 1) -> Solved:
    """Runs a search with `at_once` evaluations under way at a time, which end in the order in which they began."""
    observations: list[Observation] = []
    running: list[Point] = []
    shares, seconds = [], []
    while len(observations) < budget:
        wanted = min(at_once - len(running), budget - len(observations) - len(running))
        if wanted > 0:
            start = time.perf_counter()
            chosen = algorithms.suggest(algorithm, known.problem, observations, running, wanted, seed, initial)
            seconds.append(time.perf_counter() - start)
            running += [point for point, _ in chosen]
        if not running:
            break
        point = running.pop(0)
        observations.append(Observation(point, known.evaluate(point)))
        shares.append(hypervolume_share(known, observations))
    return Solved(observations, shares, seconds)
