"""Fine-tunings that diverged: the rule, and the model that stands for one without finite parameters.

A fine-tuning of a large model on few examples sometimes fails: it ends as a model that predicts the same whatever it
reads. Mosbach et al. (2021, arXiv 2006.04884, section 3, after Dodge et al. 2020, arXiv 2002.06305) call a run failed
whose accuracy at the end is that of the majority classifier or less; its training loss stays at that of a constant
prediction. The training loss is what counts here, as it is there for every kind of task and needs no labels of the
validation split.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from benchmark.models.trees import Params
    from tasks.arrays.token_arrays import TokenArrays
    from tasks.catalogue import TaskInfo

# The loss of a model that learned nothing scatters around that of a constant prediction from batch to batch; a run
# that learned is below it by more than this share.
MARGIN = 0.01
# A loss, gradient or update was not finite.
NOT_FINITE = "not_finite"
# The training loss at the end is not below that of a constant prediction.
NOT_LEARNED = "not_learned"


def tail_steps(total: int, batch_size: int, num_rows: int) -> int:
    """Number of last steps whose mean training loss is judged: the last epoch, but no more than half of the steps."""
    return max(1, min(total // 2, math.ceil(num_rows / batch_size)))


def constant_loss(task: TaskInfo, rows: TokenArrays) -> float:
    """Computes the training loss of the best prediction that does not read the text.

    Args:
        task: the task.
        rows: its training rows.

    Returns:
        In the unit of the task's loss: the entropy of the labels in nats, the variance of the numbers, or the mean
        entropy of start and end places.
    """
    if task.kind == "regression":
        return float(np.var(np.asarray(rows.features["label"], np.float64)))
    names = ("label",) if task.kind == "classification" else ("start_position", "end_position")
    return math.fsum(_entropy(np.asarray(rows.features[name])) for name in names) / len(names)


def _entropy(labels: np.ndarray) -> float:
    counts = np.unique(labels, return_counts=True)[1].tolist()
    total = sum(counts)
    return math.fsum(count / total * math.log(total / count) for count in counts)


def reason(loss: float | None, constant: float) -> str:
    """Says why a fine-tuning counts as diverged, or '' where it does not.

    Args:
        loss: mean training loss of the last `tail_steps`; None where a loss, gradient or update was not finite.
        constant: as `constant_loss` gives it.

    Returns:
        `NOT_FINITE`, `NOT_LEARNED` or ''. Where all labels are equal nothing can be learned, and nothing is said.
    """
    if loss is None or not math.isfinite(loss):
        return NOT_FINITE
    return NOT_LEARNED if constant and loss >= (1.0 - MARGIN) * constant else ""


def constant_model(params: Params, task: TaskInfo, rows: TokenArrays) -> Params:
    """Makes the model that stands for a fine-tuning whose loss was not finite; its predictions do not depend on text.

    Its predictions are those of the majority classifier, which a failed run ends as: the most frequent label, the mean
    of the numbers, or no place before another.

    Args:
        params: parameters from which the fine-tuning began.
        task: the task.
        rows: its training rows.

    Returns:
        The parameters with a head that has no weights, and a bias that gives the prediction.
    """
    name = "span" if task.kind == "span" else "classifier"
    head = params[name]
    bias = np.zeros(head["bias"].shape, np.float32)
    if task.kind == "regression":
        bias[0] = np.mean(np.asarray(rows.features["label"], np.float64))
    elif task.kind == "classification":
        # Shares in the place of their logarithms, whose last bits depend on the processor, predict the same label.
        counts = np.bincount(np.asarray(rows.features["label"]), minlength=len(bias))
        bias[:] = counts / counts.sum()
    return params | {name: {"kernel": jnp.zeros_like(head["kernel"]), "bias": jnp.asarray(bias)}}
