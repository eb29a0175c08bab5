"""Ax's analyses of a finished search: importance of each field, and cross-validation of its model.

The model is Ax's default one for the learnt objective; the search may have used another one.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.search import ax_search

if TYPE_CHECKING:
    from benchmark.search.problem import Observation, Problem, Value

# Random points for the Sobol indices, which are then good to a few hundredths in a few seconds.
_DRAWN = 8192
# A field of a smaller total index has no noticeable effect.
_NOTICEABLE = 0.005


@dataclass(frozen=True)
class SobolIndices:
    """Sobol indices of one field: shares of the variance of the model's mean over the box of all fields.

    The box is that of Ax: each field varies evenly between its lowest and highest value, on the scale that Ax models it
    on, which is logarithmic where the values are evenly spaced by ratio.

    Attributes:
        field: name of the field.
        first_order: share that the field explains alone.
        total_order: share that it explains alone and in interactions.
        effect: `rises` or `falls`, as the objective does with the field on average; `none` where it has no effect.
    """

    field: str
    first_order: float
    total_order: float
    effect: str


def analyses(
    problem: Problem, observations: Sequence[Observation], seed: int
) -> tuple[list[SobolIndices] | None, dict[tuple[Value, ...], tuple[float, float]]]:
    """Runs Ax's sensitivity analysis and cross-validation of the learnt objective, which takes seconds.

    Args:
        problem: the problem; one of its objectives is learnt, and its fields are ordered.
        observations: the evaluated points; failed ones are ignored.
        seed: seeds torch, which draws the points of the Sobol indices.

    Returns:
        The importance of each field in the problem's order, or None where the model's mean is the same everywhere; and
        for each point that did not fail, by its key, mean and standard error of the objective as the model predicts
        them from the other points, its hyperparameters fitted to all of them.

    Raises:
        ImportError: Ax is not installed.
        Exception: any error of Ax when it cannot fit its model.
    """
    ax_search.preload()
    import torch
    from ax.adapter.cross_validation import cross_validate
    from ax.adapter.registry import Generators
    from ax.core.data import Data
    from ax.utils.sensitivity.derivative_measures import compute_derivatives_from_model_list
    from ax.utils.sensitivity.sobol_measures import SobolSensitivityGPMean

    (learnt,) = (o.name for o in problem.objectives if not o.known)
    # As in `ax_search.suggest`.
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        held = ax_search.experiment(problem, observations, [], seed)._experiment
        table = held.lookup_data().full_df
        adapter = Generators.BOTORCH_MODULAR(experiment=held, data=Data(df=table[table.metric_name == learnt]))
        results = cross_validate(adapter)
        # Not `ax_parameter_sens`: it draws listed values as whole numbers after Ax took their logarithms, so that
        # 1, 2, 4 (0 to 0.6) are always 0. Between its bounds each field is drawn as a real number here. Nor Ax's
        # quasi-random draws: its two sets of them depend on each other, and indices go wrong by half their size.
        model, digest = adapter.generator.surrogate.model, adapter.generator.search_space_digest
        bounds = torch.tensor(digest.bounds).T
        sensitivity = SobolSensitivityGPMean(model, bounds, num_mc_samples=_DRAWN)
        first, total = sensitivity.first_order_indices().tolist(), sensitivity.total_order_indices().tolist()
        slopes = compute_derivatives_from_model_list([model], bounds, num_mc_samples=_DRAWN)[0].tolist()
    trials = {number: trial.arm.parameters for number, trial in held.trials.items()}
    predicted = {}
    for result in results:
        row = result.predicted.metric_signatures.index(learnt)
        variance = float(result.predicted.covariance[row, row])
        parameters = trials[result.observed.features.trial_index]
        key = tuple(parameters[f.name] for f in problem.fields)
        predicted[key] = (float(result.predicted.means[row]), variance**0.5)
    if not all(math.isfinite(index) for index in (*first, *total)):
        return None, predicted
    # An index of nearly nothing may come out below zero.
    indices = {
        name: SobolIndices(name, max(0.0, alone), max(0.0, all_in), _effect(all_in, slope))
        for name, alone, all_in, slope in zip(digest.feature_names, first, total, slopes, strict=True)
    }
    return [indices[f.name] for f in problem.fields], predicted


def _effect(total: float, slope: float) -> str:
    return "none" if total < _NOTICEABLE else "rises" if slope > 0 else "falls"
