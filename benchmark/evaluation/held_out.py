"""The part of a training split that is held out, to compare settings on instead of the validation split.

Which examples are held out follows from their places in the split alone: they are the same for all systems and seeds.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmark.evaluation.score import References, load_references
from tasks.arrays.token_arrays import TokenArrays
from tasks.system.errors import StageError

if TYPE_CHECKING:
    from tasks.catalogue import TaskInfo

# Large features of spans that training does not read.
_OF_PREDICTIONS = ("offsets", "is_max_context")


class Parts(NamedTuple):
    """The two parts of a training split.

    Attributes:
        train: the rows to train on, in their order.
        held_out: the rows to predict, with what their predictions need.
        references: those of the rows held out, as `load_references` gives them.
    """

    train: TokenArrays
    held_out: TokenArrays
    references: References


def divide(task: TaskInfo, rows: TokenArrays, fraction: float) -> Parts:
    """Divides the training rows of a task.

    The same share of each label is held out; of a span task it is whole contexts, with all windows of all of their
    questions. Examples are ranked by the SHA-256 of the text 'selection n', `n` being an example's number from 0, or
    that of the first example with its context; the first ones are held out.

    Args:
        task: the task.
        rows: its training rows.
        fraction: share of the examples to hold out.

    Raises:
        StageError: there are too few rows to divide.
    """
    references = load_references(task, rows)
    if task.kind == "span":
        first: dict[str, int] = {}
        units = np.array([first.setdefault(example["context"], n) for n, example in enumerate(references)], np.int64)
        held = _held_out(units, fraction)
        index = np.asarray(rows.features["example_index"])
        predicted = _taken(rows, held[index])
        # Windows name their example by its number among the references.
        predicted.features["example_index"][:] = (np.cumsum(held) - 1)[predicted.features["example_index"]]
        kept = [example for example, out in zip(references, held, strict=True) if out]
        parts = Parts(_taken(rows, ~held[index], _OF_PREDICTIONS), predicted, kept)
    else:
        held = np.zeros(rows.num_rows, bool)
        labels = references if task.kind == "classification" else np.zeros(rows.num_rows)
        for label in np.unique(labels):
            members = np.flatnonzero(labels == label)
            held[members] = _held_out(members, fraction)
        if not held.any():
            held = _held_out(np.arange(rows.num_rows), fraction, at_least=1)
        parts = Parts(_taken(rows, ~held), _taken(rows, held), references[held])
    if not parts.train.num_rows or not parts.held_out.num_rows:
        raise StageError(f"{task.name}: {len(references)} training examples are too few to hold some out")
    return parts


def _held_out(units: np.ndarray, fraction: float, at_least: int = 0) -> np.ndarray:
    """Marks examples of the first units by rank, until a share of the examples is reached: bool `[examples]`.

    Args:
        units: number of each example's unit, which is held out as a whole, `[examples]`.
        fraction: the share, rounded to a number of examples.
        at_least: the least number of examples.
    """
    numbers, sizes = np.unique(units, return_counts=True)
    ranks = sorted(range(len(numbers)), key=lambda n: hashlib.sha256(f"selection {numbers[n]}".encode()).digest())
    wanted = max(at_least, int(fraction * len(units) + 0.5))
    before = np.cumsum(sizes[ranks]) - sizes[ranks]
    return np.isin(units, numbers[ranks][before < wanted])


def _taken(rows: TokenArrays, chosen: np.ndarray, without: tuple[str, ...] = ()) -> TokenArrays:
    """Copies the rows that are marked, without some of their features."""
    features = {name: np.asarray(values)[chosen] for name, values in rows.features.items() if name not in without}
    return TokenArrays(rows.directory, features, {**rows.meta, "rows": int(chosen.sum())})
