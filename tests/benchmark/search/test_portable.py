"""Suggestions are independent of the kernels that compute them: linear algebra, elementary functions, rounding."""

import dataclasses
import json
import math
import os
import platform
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmark.search import expected_gain, gaussian_process, halving, sampling
from benchmark.search.problem import Field, Objective, Observation, Problem, point_hash
from tasks.system.repository import REPOSITORY
from tests.helpers.search_portable_child import histories
from tests.helpers.search_problems import flash_distillations, toy_transformer
from tests.helpers.searches import CONFIG

# OpenBLAS's kernels, and in the last ones NumPy's and the C library's without wide vectors and fused products too.
PLAIN = {"NPY_DISABLE_CPU_FEATURES": "X86_V3,X86_V4", "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA"}
KINDS = {
    "Haswell": {},
    "SkylakeX": {},
    "Sandybridge": {},
    "Nehalem": PLAIN,
    "Prescott": {},
}


def child(kind: str) -> dict:
    environment = {**os.environ, **KINDS[kind], "OPENBLAS_CORETYPE": kind}
    command = [sys.executable, "-m", "tests.helpers.search_portable_child"]
    run = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the kernels' names are those of x86-64")
def test_suggestions_do_not_depend_on_the_linear_algebra():
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    wide = [kind for kind, flag in (("SkylakeX", "avx512f"), ("Haswell", "avx2")) if flag not in flags]
    told = {kind: child(kind) for kind in KINDS if kind not in wide}
    # Otherwise this would compare one library with itself.
    for name in ("numpy", "scipy", "density"):
        assert len({run["bits"][name] for run in told.values()}) >= 3, name
    first, *others = told.values()
    assert len(first["proposed"]) == 42 and len(first["logs"]) == 4 * (2 * 6 + 10)
    for run in others:
        assert run["logs"] == first["logs"]
        assert run["proposed"] == first["proposed"]


@pytest.mark.parametrize("size", [1e-12, 1e-11])
def test_suggestions_do_not_depend_on_rounding(monkeypatch, size):
    cases = [
        (known.problem, [(h[:-1], h[-1].point) for h in histories(known, sizes)])
        for known, sizes in ((flash_distillations(), (3, 5, 10, 30)), (toy_transformer(), (8, 25)))
    ]

    def suggestions() -> list:
        return [expected_gain.suggest(p, done, [last], 3, 0) for p, held in cases for done, last in held]

    expected = suggestions()
    rng = np.random.default_rng(0)

    def noisy(numbers: np.ndarray) -> np.ndarray:
        return numbers * (1 + size * rng.standard_normal(numbers.shape))

    kernel, covariances, gain = gaussian_process.kernel, gaussian_process.covariances, expected_gain.expected_gain

    def noisy_kernel(a, b, logs):
        found, derivatives = kernel(a, b, logs)
        return noisy(found), [noisy(d) for d in derivatives]

    monkeypatch.setattr(gaussian_process, "kernel", noisy_kernel)
    monkeypatch.setattr(gaussian_process, "covariances", lambda a, b, logs: noisy(covariances(a, b, logs)))
    monkeypatch.setattr(expected_gain, "expected_gain", lambda *arguments: noisy(gain(*arguments)))
    assert suggestions() == expected


def test_hyperparameters_lie_on_the_grid_next_to_an_optimum():
    rng = np.random.default_rng(0)
    x = rng.random((20, 3)) - 0.5
    values = np.sin(3 * x[:, 0]) + x[:, 1] ** 2
    process = gaussian_process.fit(x, values, np.zeros(20))
    np.testing.assert_array_equal(process.logs, np.round(process.logs, gaussian_process.DECIMALS))

    def density(logs):
        return gaussian_process.negative_log_posterior(logs, x, process.y, process.noise)[0]

    for step in 0.05 * np.vstack([np.eye(6), -np.eye(6)]):
        assert density(process.logs + step) > density(process.logs)
    # The evidence is that of the rounded ones, and covariances are those whose derivatives the fit uses.
    assert process.log_evidence == pytest.approx(-density(process.logs) - 20 * math.log(process.spread), rel=1e-12)
    np.testing.assert_allclose(
        gaussian_process.covariances(x, x[:4], process.logs[:-1]),
        gaussian_process.kernel(x, x[:4], process.logs[:-1])[0],
        rtol=1e-12,
        atol=1e-14,
    )


def test_two_fields_that_were_varied_together_do_not_leave_the_choice_to_rounding():
    # Their length scales have the same slope: L-BFGS-B would end at a saddle between two optima.
    rng = np.random.default_rng(3)
    one = rng.random((8, 1)) - 0.5
    x, values = np.concatenate([one, -one], axis=1), np.sin(9 * one[:, 0])
    logs = gaussian_process.fit(x, values, np.zeros(8)).logs
    for seed in range(3):
        noise = 1 + 1e-11 * np.random.default_rng(seed).standard_normal((8, 2))
        np.testing.assert_array_equal(gaussian_process.fit(x * noise, values, np.zeros(8)).logs, logs)


def test_equal_gains_go_to_the_smaller_hash():
    points = [{"a": a, "b": b} for a in (1, 2, 3) for b in (1, 2)]
    assert len({point_hash(p) for p in points}) == 6
    assert point_hash({"a": 1, "b": 2}) == point_hash({"b": 2, "a": 1})
    smallest = min(range(6), key=lambda i: point_hash(points[i]))
    for digits in (np.zeros(6), 1e-9 * np.arange(6), -1e-9 * np.arange(6)):
        assert expected_gain.choose_best(3.0 + digits, points, 1.0) == smallest
    other = (smallest + 1) % 6
    clear = np.full(6, 3.0)
    clear[other] *= 1 + 2 * expected_gain.PRECISION
    assert expected_gain.choose_best(clear, points, 1.0) == other
    # A chosen point is not chosen again, though no other gain is larger than 0.
    scores = np.zeros(6)
    scores[smallest] = -1.0
    assert expected_gain.choose_best(scores, points, 1.0) != smallest
    # Where gains are differences of much larger numbers, their digits are rounding.
    assert expected_gain.choose_best(1e-16 * np.arange(6), points, 100.0) == smallest


def test_where_nothing_can_be_gained_the_hash_decides():
    problem = Problem(
        (Field("a", (1, 2, 4)), Field("b", (1, 2, 4))),
        (Objective("error", 50.0, best=0.0), Objective("cost", 40.0, log=True, known=True)),
        describe=lambda p: {"cost": float(p["a"] * p["b"])},
    )
    # The cheapest point has no error.
    done = [Observation({"a": 1, "b": 1}, {"error": (0.0, 0.0)}), Observation({"a": 4, "b": 4}, {"error": (9.0, 0.0)})]
    chosen = expected_gain.suggest(problem, done, [], 9, 0)
    assert len(chosen) == 7 and chosen == sorted(chosen, key=point_hash)


def test_a_point_at_the_threshold_is_left_out_whatever_the_logarithm_says():
    rng = random.Random(0)
    for _ in range(50):
        limit = rng.random()
        near = {1: math.nextafter(limit, 0.0), 2: limit, 3: math.nextafter(limit, 1.0)}
        cost = Objective("cost", limit, log=True, known=True)
        problem = Problem((Field("a", (1, 2, 3)),), (cost,), describe=lambda p, near=near: {"cost": near[p["a"]]})
        assert [p["a"] for p in problem.pool.points] == [1]
        assert dataclasses.replace(cost, maximize=True).better([near[i] for i in (1, 2, 3)]).tolist() == [0, 0, 1]


def test_the_design_does_not_hang_on_the_last_digit():
    # Costs in equal ratios lie on the borders of the strata.
    def problem(seed: int) -> Problem:
        rng = np.random.default_rng(seed)
        costs = {a: 2.0**a * (1 + 1e-15 * rng.integers(-3, 4)) for a in range(7)}
        return Problem(
            (Field("a", tuple(range(7))), Field("b", tuple(range(1, 20)))),
            (Objective("error", 50.0, best=0.0), Objective("cost", 1e3, log=True, known=True)),
            describe=lambda p: {"cost": costs[int(p["a"])]},
        )

    designs = [sampling.design(problem(seed), 1, 6) for seed in range(5)]
    assert all(design == designs[0] for design in designs)


def test_equal_hypervolumes_are_equal_whatever_their_last_digit():
    # Evenly spaced: each member in the middle adds as much as the next one.
    config = dataclasses.replace(CONFIG, accuracy_threshold=0.0, reduction_factor=3)
    front = [(10.1 * i, 0.01 * 3.0 ** (i / 2)) for i in range(1, 8)]
    middle = front[1:-1]
    added = {halving._added(config, front, pair) for pair in middle}
    assert len(added) == 1
    assert len({halving.is_promoted(config, [p for p in front if p != own], own) for own in middle}) == 1
