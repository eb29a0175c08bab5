"""Suggestions by Ax: Bayesian optimisation of masked-LM accuracy against latency. The only importer of ax.

A suggestion is a pure function of the settings, the seed and the observations: each call builds a fresh client, attaches every
observation and asks once. A search that was killed therefore goes on exactly as it would have, and no generator state needs
saving.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import Any

from benchmark.config import SearchConfig
from benchmark.search.space import Point, searched_fields

_BATCH = 4  # asked for at once, so that a repeated or invalid first suggestion need not end in a random point


def suggest(config: SearchConfig, observations: Sequence[tuple[Point, float, float, float]], seed: int) -> list[Point]:
    """Asks Ax for the next points, best first.

    Args:
        config: space, thresholds and algorithm settings.
        observations: point, accuracy in percent, its standard error, latency in seconds; failed trials are left out.
        seed: seeds Ax and torch.

    Returns:
        A few points; the caller takes the first that is valid and new.
    """
    import torch
    from ax.api.client import Client
    from ax.api.configs import ChoiceParameterConfig

    logging.getLogger("ax").setLevel(logging.ERROR)
    # More threads make the small matrices of the Gaussian process slower, many times so on a busy machine.
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client: Any = Client(random_seed=seed)
        client.configure_experiment(
            name=f"autodistill_{seed}",
            parameters=[
                ChoiceParameterConfig(
                    name=name, values=list(getattr(config.space, name)), parameter_type="int", is_ordered=True
                )
                for name in searched_fields(config.space)
            ],
        )
        client.configure_optimization(
            objective="accuracy, -latency_ms",
            outcome_constraints=[
                f"accuracy >= {config.accuracy_threshold}",
                f"latency_ms <= {config.latency_threshold_s * 1e3}",
            ],
        )
        client.configure_generation_strategy(method="fast", initialization_budget=0, torch_device="cpu")
        for point, accuracy, stderr, latency_s in observations:
            trial = client.attach_trial(dict(point))
            client.complete_trial(trial, raw_data={"accuracy": (accuracy, stderr), "latency_ms": (latency_s * 1e3, 0.0)})
        trials = client.get_next_trials(max_trials=_BATCH)
    return [{name: int(value) for name, value in parameters.items()} for parameters in trials.values()]
