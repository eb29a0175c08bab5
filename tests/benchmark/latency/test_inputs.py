"""Rows for measurements: the best source, real masks, fresh batches, and files that are whole or absent."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.latency.inputs import (
    FEATURES,
    Rows,
    batches,
    choose_rows,
    embedded_rows,
    number_of_inputs,
    read_rows,
    rows_of_data,
    rows_of_text,
    write_rows,
)
from benchmark.latency.timing import LatencyError
from tasks.system.errors import InputError


def source(rows: int, width: int, first: int = 1) -> dict[str, np.ndarray]:
    """Rows that differ; row `i` has `i % width + 1` tokens and then padding, which is 0."""
    ids = np.zeros((rows, width), np.uint16)
    for i, row in enumerate(ids):
        row[: i % width + 1] = first + i
    return {"input_ids": ids, "token_type_ids": np.ones_like(ids)}


def test_the_narrowest_source_that_is_wide_enough_is_taken() -> None:
    sources = {"wide": source(9, 64), "empty": source(0, 16), "fit": source(9, 24), "narrow": source(9, 8)}
    assert choose_rows(sources, 20, 0, 0).source == "fit"
    assert choose_rows(sources, 24, 0, 0).source == "fit"
    assert choose_rows(sources, 25, 0, 0).source == "wide"
    assert choose_rows(sources, 99, 0, 0).source == "wide"
    with pytest.raises(LatencyError, match="no row"):
        choose_rows({"empty": source(0, 16)}, 8, 0, 0)


@given(st.integers(1, 30), st.integers(1, 12), st.integers(1, 16), st.integers(0, 5))
def test_rows_keep_their_tokens_and_masks(count: int, width: int, length: int, seed: int) -> None:
    given_rows = source(count, width)
    rows = choose_rows({"only": given_rows}, length, 0, seed)
    ids, mask, types = (rows.features[name] for name in FEATURES)
    assert ids.shape == mask.shape == types.shape == (count, length)
    assert ids.dtype == mask.dtype == types.dtype == np.int32
    np.testing.assert_array_equal(mask, ids != 0)
    shared = min(width, length)
    expected = sorted(map(tuple, given_rows["input_ids"][:, :shared].tolist()))
    assert sorted(map(tuple, ids[:, :shared].tolist())) == expected
    assert not ids[:, shared:].any() and not types[:, shared:].any()
    assert rows.real_share == pytest.approx((ids != 0).mean())


def test_a_seed_decides_the_rows() -> None:
    one, same, other = (choose_rows({"a": source(50, 8)}, 8, 0, seed).features["input_ids"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@given(st.integers(1, 20), st.integers(1, 7), st.integers(0, 9))
def test_every_row_comes_once_before_any_comes_again(count: int, batch_size: int, seed: int) -> None:
    rows = choose_rows({"a": source(count, 4)}, 4, 0, 0)
    drawn = list(itertools.islice(batches(rows, batch_size, seed), count))
    firsts = np.concatenate([batch[0][:, 0] for batch in drawn])
    for start in range(0, count * batch_size, count):
        assert len(set(firsts[start : start + count].tolist())) == count


def test_number_of_inputs_is_bounded_in_bytes() -> None:
    assert number_of_inputs(1, 128) == 1024
    assert number_of_inputs(32, 384) * 32 * 384 * 12 <= 64 * 2**20
    assert number_of_inputs(10**6, 384) == 4


def test_files_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "inputs.npz"
    rows = {n: choose_rows({"a": source(9, 8)}, n, 0, 0) for n in (4, 8)}
    digest = write_rows(path, rows)
    for length, one in rows.items():
        again = read_rows(path, length)
        assert again.source == "a"
        for name in FEATURES:
            np.testing.assert_array_equal(again.features[name], one.features[name])
    assert write_rows(path, rows) == digest != write_rows(path, {4: rows[4]})
    assert [p.name for p in path.parent.iterdir()] == ["inputs.npz"]
    with pytest.raises(LatencyError, match="no rows of length 8"):
        read_rows(path, 8)
    path.write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(LatencyError, match="no rows of length 4"):
        read_rows(path, 4)
    with pytest.raises(LatencyError, match="no rows of length 4"):
        read_rows(tmp_path / "missing.npz", 4)


def test_rows_of_the_embedded_data(tmp_path: Path) -> None:
    rows = embedded_rows((16, 48), 300, 0, tmp_path)
    for length, one in rows.items():
        assert one.features["input_ids"].shape == (512, length)
        assert one.largest_id < 300
        assert 0.5 < one.real_share <= 1.0
        # They begin with [CLS], and no two of them are alike.
        assert len(set(one.features["input_ids"][:, 0].tolist())) == 1
        assert len({row.tobytes() for row in one.features["input_ids"]}) > 400


def test_rows_of_a_text_file(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("a cat sat\n\n  \na dog sat on a cat\n")
    rows = rows_of_text(text, None, 60, (6,), 0, tmp_path)[6]
    assert rows.source == "text.txt"
    assert rows.features["input_ids"].shape == (2, 6)
    for bad in (tmp_path / "missing.txt", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            rows_of_text(bad, None, 60, (6,), 0, tmp_path)
    text.write_text(" \n")
    with pytest.raises(InputError, match="at least one line"):
        rows_of_text(text, None, 60, (6,), 0, tmp_path)


@pytest.mark.parametrize(
    "content", [None, "{", "{}", "[]", '{"tasks": {"a": {"test": "missing"}}, "vocabulary": {"pad_id": 0}}']
)
def test_data_that_are_not_there(tmp_path: Path, content: Any) -> None:
    if content is not None:
        (tmp_path / "data.json").write_text(content)
    with pytest.raises(LatencyError, match=r"data\.json: no data to measure with"):
        rows_of_data(tmp_path, (8,), 0)


def test_the_largest_id_is_that_of_all_rows() -> None:
    rows = choose_rows({"a": source(9, 8, first=30)}, 8, 0, 0)
    assert rows.largest_id == 38
    assert isinstance(rows, Rows)
