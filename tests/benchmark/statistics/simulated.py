"""Simulated runs of systems on one development set, whose noise is known."""

from __future__ import annotations

import numpy as np

# Standard deviation of the difficulty of examples, on the scale of what a run adds.
DIFFICULTY = 1.5


def outcomes(
    rng: np.random.Generator,
    difficulty: np.ndarray,
    level: float,
    seeds: int,
    between_runs: float,
    between_answers: float,
) -> np.ndarray:
    """Simulates which examples the runs of a system answer correctly.

    Args:
        rng: draws.
        difficulty: of the examples, `[n]`; systems of one board have the same.
        level: how good the system is; 0 answers half of the examples.
        seeds: the number of runs.
        between_runs: standard deviation of what moves a whole run.
        between_answers: standard deviation of what moves a single answer of a run.

    Returns:
        0.0 or 100.0, `[seeds, n]`.
    """
    moved = between_runs * rng.normal(size=(seeds, 1)) + between_answers * rng.normal(size=(seeds, len(difficulty)))
    return 100.0 * (difficulty + level + moved > 0.0)
