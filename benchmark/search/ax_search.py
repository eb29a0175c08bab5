"""Suggestions by Ax: Bayesian optimisation of masked-LM accuracy against latency. The only importer of ax.

A suggestion is a pure function of the settings, the seed and the observations: each call builds a fresh client,
attaches every observation and asks once. A search that was killed therefore goes on exactly as it would have, and no
generator state needs saving.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import Any

from benchmark.config import SearchConfig
from benchmark.search.space import Point, searched_fields

_SPARE = 2  # asked for beyond what is needed, so that a repeated or invalid suggestion need not end in a filler point


def preload() -> None:
    """Imports Ax and its optimiser, which takes seconds; a search does it beside its first trials."""
    # Ax sets up its own loggers while it is imported, and the first one speaks at once.
    logging.disable(logging.INFO)
    try:
        import ax.api.client
        import botorch.acquisition.multi_objective.logei as logei
    finally:
        logging.disable(logging.NOTSET)

    # BoTorch would compile a C++ kernel with the machine's compiler at the first suggestion: a minute for nothing at
    # our sizes, and results that depend on the compiler. There is no public switch for it.
    logei._load_attempted = True
    del ax
    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0] == "ax":
            logging.getLogger(name).setLevel(logging.ERROR)


def suggest(
    config: SearchConfig, observations: Sequence[tuple[Point, float, float, float]], seed: int, count: int
) -> list[Point]:
    """Asks Ax for the next points, best first.

    Args:
        config: space, thresholds and algorithm settings.
        observations: point, accuracy in percent, its standard error, latency in seconds; failed trials are left out.
        seed: seeds Ax and torch.
        count: points wanted.

    Returns:
        A few more points than `count`; the caller takes the first that are valid and new.
    """
    preload()
    import torch
    from ax.api.client import Client
    from ax.api.configs import ChoiceParameterConfig

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
            client.complete_trial(
                trial, raw_data={"accuracy": (accuracy, stderr), "latency_ms": (latency_s * 1e3, 0.0)}
            )
        trials = client.get_next_trials(max_trials=count + _SPARE)
    return [{name: int(value) for name, value in parameters.items()} for parameters in trials.values()]
