"""Proposals of a search on fixed histories, with hyperparameters and digests, printed by a separate process.

The parent sets which kernels the process's linear algebra and elementary functions use.
"""

import hashlib
import json
import random
from typing import Any

import numpy as np
import scipy.linalg
from threadpoolctl import threadpool_info, threadpool_limits

from benchmark.search import expected_gain, gaussian_process
from benchmark.search.problem import Observation
from tests.helpers.search_problems import Known, flash_distillations, toy_transformer


def histories(known: Known, sizes: tuple[int, ...]) -> list[list[Observation]]:
    """Observations at the beginnings of random orders of all points."""
    found = []
    for seed, size in enumerate(sizes):
        points = random.Random(seed).sample(known.problem.pool.points, size)
        found.append([Observation(p, known.evaluate(p)) for p in points])
    return found


def proposals() -> tuple[list[list[int]], list[list[float]]]:
    """Collects proposals, batches with running points, the course of two searches, and fitted hyperparameters."""
    proposed, logs = [], []
    process_module: Any = gaussian_process
    fit = process_module.fit

    def recorded(*arguments: Any) -> gaussian_process.GaussianProcess:
        process = fit(*arguments)
        logs.append(process.logs.tolist())
        return process

    process_module.fit = recorded
    for known, sizes in ((flash_distillations(), (2, 4, 5, 8, 12, 20, 35)), (toy_transformer(), (5, 16, 32))):
        problem = known.problem
        for history in histories(known, sizes):
            *done, running = history
            proposed += expected_gain.suggest(problem, done, [running.point], 3, 0)
        observations = histories(known, (4,))[0]
        for _ in range(6):
            (point,) = expected_gain.suggest(problem, observations, [], 1, 0)
            observations.append(Observation(point, known.evaluate(point)))
            proposed.append(point)
    return [[int(v) for v in point.values()] for point in proposed], logs


def bits() -> dict[str, str]:
    """Digests of a product, a factorisation, and a posterior density with its gradient."""
    rng = np.random.default_rng(0)
    x = rng.random((30, 5)) - 0.5
    y = np.sin(3 * x[:, 0]) + x[:, 1]
    value, gradient = gaussian_process.negative_log_posterior(np.full(8, -1.0), x, y, np.zeros(30))
    with threadpool_limits(1):
        numbers = {
            "numpy": x @ x.T,
            "scipy": scipy.linalg.cholesky(x @ x.T + np.eye(30)),
            "density": np.array([value, *gradient]),
        }
    return {name: hashlib.sha256(found.tobytes()).hexdigest() for name, found in numbers.items()}


if __name__ == "__main__":
    kinds = sorted(row["architecture"] for row in threadpool_info() if row["internal_api"] == "openblas")
    digests = bits()
    proposed, logs = proposals()
    print(json.dumps({"kinds": kinds, "bits": digests, "proposed": proposed, "logs": logs}))
