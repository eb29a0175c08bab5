"""Batches of task rows: orders by length, and lengths of rows."""

import itertools
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from benchmark.training.batches import GroupedOrder, batch_lengths, row_lengths
from tasks.arrays.token_arrays import TokenArrays, batch_indices


@given(
    lengths=st.lists(st.integers(1, 64), min_size=1, max_size=90),
    batch_size=st.integers(1, 7),
    steps=st.integers(1, 60),
    seed=st.integers(0, 5),
)
def test_grouped_batches_have_the_rows_of_the_usual_ones(
    lengths: list[int], batch_size: int, steps: int, seed: int
) -> None:
    order = GroupedOrder(np.array(lengths), batch_size, steps, seed)
    for first in range(0, steps, order.GROUP):
        numbers = range(first, min(first + order.GROUP, steps))
        usual = np.concatenate([batch_indices(len(lengths), batch_size, n, seed) for n in numbers])
        grouped = [order.indices(n) for n in numbers]
        assert sorted(np.concatenate(grouped).tolist()) == sorted(usual.tolist())
        # Batches of a group do not overlap in length: sorted, each ends where the next begins, or before.
        ends = sorted((int(np.array(lengths)[rows].min()), int(np.array(lengths)[rows].max())) for rows in grouped)
        assert all(one[1] <= two[0] for one, two in itertools.pairwise(ends))
    # A resumed run asks for a later step first.
    again = GroupedOrder(np.array(lengths), batch_size, steps, seed)
    np.testing.assert_array_equal(again.indices(steps - 1), order.indices(steps - 1))


@given(
    lengths=st.lists(st.integers(1, 24), min_size=1, max_size=60),
    batch_size=st.integers(1, 6),
    count=st.integers(1, 4),
)
def test_no_other_lengths_of_batches_compute_fewer_columns(lengths: list[int], batch_size: int, count: int) -> None:
    found = batch_lengths(np.array(lengths), batch_size, count).tolist()
    assert found == sorted(set(found)) and len(found) <= count and found[-1] == max(lengths)
    ordered = sorted(lengths)
    tops = [*ordered[batch_size - 1 :: batch_size], ordered[-1]]

    def columns(widths: tuple[int, ...]) -> int:
        return sum(min(width for width in widths if width >= top) for top in tops)

    others = itertools.combinations(sorted(set(tops)), min(count, len(set(tops))))
    assert columns(tuple(found)) == min(columns(widths) for widths in others if widths[-1] == max(lengths))


def test_grouped_rows_leave_little_padding() -> None:
    # As many rows as RTE has, with lengths like those of sentence pairs: most are short, a few fill the row.
    lengths = np.clip(np.random.default_rng(0).lognormal(np.log(45), 0.6, 2490).astype(int), 8, 128)
    steps = 3 * 2490 // 32
    order, widths = GroupedOrder(lengths, 32, steps, 0), batch_lengths(lengths, 32)
    batches = [lengths[order.indices(step)] for step in range(steps)]
    computed = sum(32 * widths[np.searchsorted(widths, batch.max())] for batch in batches)
    assert 1 - sum(batch.sum() for batch in batches) / computed < 0.18
    # As they come, more than half of what is computed is padding.
    assert 1 - lengths.mean() / 128 > 0.55


def test_lengths_of_rows_end_with_their_last_token() -> None:
    ids = np.array([[5, 6, 0, 0], [0, 0, 0, 0], [5, 0, 7, 0], [1, 2, 3, 4]])
    rows = TokenArrays(Path(), {"input_ids": ids}, {"rows": 4})
    assert row_lengths(rows, 0).tolist() == [2, 0, 3, 4]
