"""Suggestions by Ax: Bayesian multi-objective optimization.

The experiment, its trials and their data are Ax's. Where one objective is known exactly and the other is learnt,
candidates come from `expected_gain` through our own generation node, which reads the data that Ax holds; all other
problems are left to Ax's modular BoTorch generator (log noisy expected hypervolume improvement) on one thread. A
suggestion is a pure function of its arguments: each call builds a fresh experiment.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.search import expected_gain
from benchmark.search.problem import Field, Objective, Observation, Point, Problem

# Points beyond those wanted, so that a repeated or invalid suggestion need not become a Sobol point.
_SPARE = 2


def preload() -> None:
    """Imports Ax and its optimizer, which takes seconds; a search does it while its first trials run."""
    # Ax sets up its own loggers while it is imported, and the first one logs at once.
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
    problem: Problem, observations: Sequence[Observation], running: Sequence[Point], count: int, seed: int
) -> list[Point]:
    """Asks Ax for the next points, best first.

    Args:
        problem: the problem.
        observations: the evaluated points; at least one that did not fail.
        running: points that are still evaluated.
        count: points wanted.
        seed: seed of the search; Ax and torch are seeded with it and the number of points so far.

    Returns:
        Points, from Ax's own generator a few more than `count` where fields have listed values; the caller takes the
        first feasible ones that were never tried.
    """
    preload()
    import torch

    # More threads make the small matrices of the Gaussian process slower, many times so on a busy machine.
    torch.set_num_threads(1)
    # Ax takes seeds of 32 bits.
    seed = (seed * 1000 + len(observations) + len(running)) % 2**32
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = experiment(problem, observations, running, seed)
        if expected_gain.applies(problem):
            client.set_generation_strategy(_known_objective_strategy(problem, seed))
        else:
            client.configure_generation_strategy(method="fast", initialization_budget=0, torch_device="cpu")
            count += 0 if all(f.bounds is not None for f in problem.fields) else _SPARE
        trials = client.get_next_trials(max_trials=count)
    return [_point(problem, parameters) for parameters in trials.values()]


def experiment(problem: Problem, observations: Sequence[Observation], running: Sequence[Point], seed: int = 0) -> Any:
    """Builds an Ax client that holds the whole search: parameters, objectives with thresholds, trials and their data.

    Known objectives are data of standard error 0. Objectives of which ratios count are stored as logarithms.
    """
    import pandas as pd
    from ax.api.client import Client
    from ax.core.data import Data

    client: Any = Client(random_seed=seed)
    configure(client, problem, "autodistill")
    rows = []
    for observation in observations:
        number = client.attach_trial(dict(observation.point))
        if observation.failed:
            client.mark_trial_failed(number)
            continue
        known = problem.describe(observation.point) or {}
        measured = dict(observation.outcomes)
        for objective in problem.objectives:
            found = measured.pop(objective.name, (known.get(objective.name, math.nan), 0.0))
            rows.append((number, _metric(objective), *_data(objective, *found)))
        rows += [(number, name, value, stderr) for name, (value, stderr) in measured.items()]
    # All data at once: the client takes 16 ms for each trial, which a long search pays with every suggestion.
    held = client._experiment
    names = {n: held.trials[n].arm.name for n in {row[0] for row in rows}}
    columns = ["trial_index", "metric_name", "mean", "sem"]
    table = pd.DataFrame(rows, columns=columns).assign(arm_name=lambda t: t.trial_index.map(names))
    if rows:
        held.attach_data(Data(df=table.assign(metric_signature=table.metric_name)))
    for number in names:
        held.trials[number].mark_completed()
    for point in running:
        client.attach_trial(dict(point))
    return client


def configure(client: Any, problem: Problem, name: str, description: str = "") -> None:
    """Gives an Ax client the problem: parameters, objectives with their thresholds, constraints."""
    client.configure_experiment(
        name=name, parameters=[_parameter(f) for f in problem.fields], description=description or None
    )
    client.configure_optimization(
        objective=", ".join(("" if o.maximize else "-") + _metric(o) for o in problem.objectives),
        outcome_constraints=[
            *(f"{_metric(o)} {'>=' if o.maximize else '<='} {_value(o, o.threshold)}" for o in problem.objectives),
            *(f"{c.name} {'>=' if c.at_least else '<='} {c.bound}" for c in problem.constraints),
        ],
    )


def _metric(objective: Objective) -> str:
    return f"log_{objective.name}" if objective.log else objective.name


def _value(objective: Objective, value: float) -> float:
    return math.log(value) if objective.log else value


def _data(objective: Objective, value: float, stderr: float) -> tuple[float, float]:
    """Returns mean and standard error as the experiment stores them."""
    return _value(objective, value), stderr / value if objective.log else stderr


def trial_data(problem: Problem, result: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Returns mean and standard error of each metric; `result` has the objectives of a completed trial."""
    return {_metric(o): _data(o, result[o.name], result.get(f"{o.name}_stderr", 0.0)) for o in problem.objectives}


def _parameter(field: Field) -> Any:
    from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig

    if field.bounds is not None:
        return RangeParameterConfig(name=field.name, bounds=field.bounds, parameter_type="float")
    kinds = {int: "int", float: "float", str: "str"}
    return ChoiceParameterConfig(
        name=field.name,
        values=list(field.values),  # type: ignore[arg-type]
        parameter_type=kinds[type(field.values[0])],
        is_ordered=field.ordered,
    )


def _point(problem: Problem, parameters: Any) -> dict[str, Any]:
    """Converts Ax's parameters to the types of the problem's values."""
    return {
        f.name: float(parameters[f.name]) if f.bounds is not None else type(f.values[0])(parameters[f.name])
        for f in problem.fields
    }


def _known_objective_strategy(problem: Problem, seed: int) -> Any:
    """Builds a strategy of one node, which calls `expected_gain` with the data of the experiment."""
    from ax.core.trial_status import TrialStatus
    from ax.generation_strategy.external_generation_node import ExternalGenerationNode
    from ax.generation_strategy.generation_strategy import GenerationStrategy

    learnt = next(o for o in problem.objectives if not o.known)

    class ExpectedGainNode(ExternalGenerationNode):
        def __init__(self) -> None:
            super().__init__(name="ExpectedGain", should_deduplicate=False)
            self.observations: list[Observation] = []
            self.running: list[Point] = []

        def update_generator_state(self, experiment: Any, data: Any) -> None:
            table = data.df[data.df.metric_name == _metric(learnt)]
            outcomes = {row.trial_index: (float(row.mean), float(row.sem)) for row in table.itertuples(index=False)}
            self.observations = [
                Observation(_point(problem, trial.arm.parameters), {learnt.name: outcomes[n]} if n in outcomes else {})
                for n, trial in sorted(experiment.trials.items())
                if trial.status in (TrialStatus.COMPLETED, TrialStatus.FAILED)
            ]
            self.running = [
                _point(problem, trial.arm.parameters)
                for _, trial in sorted(experiment.trials.items())
                if trial.status == TrialStatus.RUNNING
            ]

        def get_next_candidate(self, pending_parameters: Any) -> Any:  # noqa: ARG002
            (point,) = expected_gain.suggest(problem, self.observations, self.running, 1, seed)
            self.running.append(point)
            return dict(point)

    return GenerationStrategy(nodes=[ExpectedGainNode()])
