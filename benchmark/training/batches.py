"""Batches of token rows, for pretraining and for tasks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmark.training import padding, partitioning
from tasks.arrays import token_arrays

if TYPE_CHECKING:
    import jax
    from jax.sharding import Mesh

    from benchmark.config import TaskPhaseConfig
    from benchmark.training.masking import MaskedBatch
    from tasks.catalogue import TaskInfo


# The most lengths of batches in one training on rows that are grouped by length.
GROUPED_LENGTHS = 6


class RowBatch(NamedTuple):
    """Rows of token arrays; the last two are None where rows are single texts.

    Attributes:
        input_ids: `[batch, length]`, int32.
        token_type_ids: 0 for the first sentence and 1 for the second, `[batch, length]`, uint8.
        next_sentence_labels: as in `MaskedBatch`, `[batch]`, int32.
    """

    input_ids: np.ndarray
    token_type_ids: np.ndarray | None
    next_sentence_labels: np.ndarray | None


@dataclass(frozen=True)
class TaskData:
    """A task with its training rows.

    Attributes:
        task: the task.
        rows: materialised training rows.
        length: columns to use, as `used_length` gives them.
        pad_id: id of padding.
        augmented: rows with augmented copies, which phases of a distillation may choose; None where there are none.
    """

    task: TaskInfo
    rows: token_arrays.TokenArrays
    length: int
    pad_id: int
    augmented: token_arrays.TokenArrays | None = None

    def chosen(self, phase: TaskPhaseConfig) -> token_arrays.TokenArrays:
        """Chooses the rows of a phase."""
        if self.task.kind in phase.augmented and self.augmented is not None:
            return self.augmented
        return self.rows


def count_tokens(batch: MaskedBatch) -> jax.Array:
    """Counts the tokens of a batch that are not padding."""
    return batch.attention_mask.sum()


def describe_rows(rows: token_arrays.TokenArrays, batch_size: int, step: int, seed: int, shown: int = 16) -> str:
    """Describes the batch of a step: its number and its rows, as `take_rows` takes them."""
    return describe_indices(step, token_arrays.batch_indices(rows.num_rows, batch_size, step, seed), shown)


def describe_indices(step: int, indices: np.ndarray, shown: int = 16) -> str:
    """Describes a batch by its number and its rows."""
    more = f" and {len(indices) - shown} more" if len(indices) > shown else ""
    return f"batch {step} (rows {', '.join(map(str, indices[:shown]))}{more})"


def take_rows(
    rows: token_arrays.TokenArrays, batch_size: int, step: int, seed: int, mesh: Mesh | None = None
) -> RowBatch:
    """Takes the rows of one step, in the order that `seed` gives, divided among the devices of the mesh.

    Each process of a distributed run reads its own share of the batch.
    """
    indices = token_arrays.batch_indices(rows.num_rows, batch_size, step, seed)
    own = row_batch(rows, indices[partitioning.own_rows(mesh, batch_size)])
    return partitioning.place_rows(mesh, own, batch_size)


def row_batch(rows: token_arrays.TokenArrays, indices: np.ndarray) -> RowBatch:
    """Takes the rows with these numbers, on the host."""
    ids = np.asarray(rows.features["input_ids"][indices]).astype(np.int32)
    types, labels = (
        np.asarray(rows.features[name][indices]) if name in rows.features else None
        for name in ("token_type_ids", "next_sentence_label")
    )
    return RowBatch(ids, types, None if labels is None else labels.astype(np.int32))


def used_length(rows: token_arrays.TokenArrays, pad_id: int, multiple: int) -> int:
    """Counts the columns that hold anything but padding, rounded up; the rest need not be computed."""
    used = np.flatnonzero((np.asarray(rows.features["input_ids"]) != pad_id).any(axis=0))
    longest = int(used[-1]) + 1 if used.size else 1
    return min(rows.features["input_ids"].shape[1], math.ceil(longest / multiple) * multiple)


def row_lengths(rows: token_arrays.TokenArrays, pad_id: int) -> np.ndarray:
    """Counts the columns of each row up to its last token, `[rows]`, int32."""
    return padding.row_lengths(np.asarray(rows.features["input_ids"]), pad_id).astype(np.int32)


def batch_lengths(lengths: np.ndarray, batch_size: int, count: int = GROUPED_LENGTHS) -> np.ndarray:
    """Chooses the lengths to which batches of rows of similar length are cut, so that little padding is computed.

    The batches of all rows in the order of their lengths are the best that grouping can give. Of all choices of at most
    `count` lengths, the one that computes the fewest columns of them is found by dynamic programming.

    Args:
        lengths: length of each row, `[rows]`.
        batch_size: rows of a batch.
        count: the most lengths; each is one compiled program.

    Returns:
        The lengths, rising, the last one that of the longest row.
    """
    ordered = np.sort(lengths, kind="stable")
    longest, batches = np.unique(np.append(ordered[batch_size - 1 :: batch_size], ordered[-1]), return_counts=True)
    # Batches of the longest rows up to each value.
    total = np.concatenate([[0], np.cumsum(batches)])
    size = len(longest)
    costs = np.where(np.arange(size + 1) == 0, 0, np.iinfo(np.int64).max // 2)
    splits: list[np.ndarray] = []
    for _ in range(min(count, size)):
        # The last length is `longest[end - 1]`, for the batches from `start` on: `[end, start]`.
        ends, starts = np.arange(size + 1)[:, None], np.arange(size + 1)[None]
        column = np.concatenate([[0], longest])[:, None]
        options = np.where(starts < ends, costs[None] + column * (total[:, None] - total[None]), costs[:, None])
        splits.append(options.argmin(1))
        costs = options.min(1)
    chosen, end = set(), size
    for split in reversed(splits):
        if split[end] < end:
            chosen.add(int(longest[end - 1]))
            end = int(split[end])
    return np.array(sorted(chosen))


class GroupedOrder:
    """An order of training rows in which the rows of a batch have similar lengths.

    The rows of `GROUP` batches of the usual order are sorted by length and divided again, and these batches are
    shuffled: every epoch still visits every row once. The step alone decides the rows, as in `token_arrays`.
    """

    GROUP = 16

    def __init__(self, lengths: np.ndarray, batch_size: int, steps: int, seed: int) -> None:
        """Describes the order of a training run.

        Args:
            lengths: length of each row, `[rows]`.
            batch_size: rows of a batch.
            steps: batches of the whole run.
            seed: decides the order.
        """
        self._lengths, self._batch_size, self._steps, self._seed = lengths, batch_size, steps, seed
        # The loop asks for one step after the other, and may ask for the last one again.
        self._group = lru_cache(maxsize=2)(self._sorted)

    def indices(self, step: int) -> np.ndarray:
        """Chooses the rows of a batch, int64 `[batch_size]`."""
        group, place = divmod(step, self.GROUP)
        chosen: np.ndarray = self._group(group)[place]
        return chosen

    def _sorted(self, group: int) -> np.ndarray:
        first, last = group * self.GROUP, min((group + 1) * self.GROUP, self._steps)
        size, count = self._batch_size, len(self._lengths)
        rows = np.concatenate([token_arrays.batch_indices(count, size, n, self._seed) for n in range(first, last)])
        batches = rows[np.argsort(self._lengths[rows], kind="stable")].reshape(last - first, size)
        return batches[np.random.default_rng((self._seed, group)).permutation(last - first)]


def make_batch(rows: token_arrays.TokenArrays, indices: np.ndarray, length: int, pad_id: int) -> dict[str, np.ndarray]:
    """Takes rows `indices`, cut to `length` columns; integers are int32, regression labels float32."""
    batch = {}
    for name in ("input_ids", "token_type_ids", "label", "start_position", "end_position"):
        if name in rows.features:
            values = np.asarray(rows.features[name][indices])
            values = values if np.issubdtype(values.dtype, np.floating) else values.astype(np.int32)
            batch[name] = values[:, :length] if values.ndim == 2 else values
    batch["attention_mask"] = padding.attention_mask(batch["input_ids"], pad_id)
    return batch
