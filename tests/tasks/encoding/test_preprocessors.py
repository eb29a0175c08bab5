"""Rows of token ids."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.encoding import preprocessors, vocabulary

WORDS = ["red", "green", "blue", "one", "two", "three", "four"]


@pytest.fixture(scope="session")
def words(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    vocabulary.write([*vocabulary.SPECIAL_TOKENS, *WORDS], path)
    return vocabulary.load(path), vocabulary.tokenizer(path)


def decode(row):
    tokens = [*vocabulary.SPECIAL_TOKENS, *WORDS]
    return " ".join(tokens[index] for index in row)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 40))
def test_pair_lengths_equal_berts_loop(first, second, room):
    expected = [first, second]
    while sum(expected) > room:
        expected[0 if expected[0] > expected[1] else 1] -= 1
    assert preprocessors.pair_lengths(first, second, room) == tuple(expected)


def test_single_rows(words):
    loaded, tokenizer = words
    rows = preprocessors.encode_rows(tokenizer, loaded, ["Red green", "one two three four red blue", ""], None, 6)
    assert [decode(row) for row in rows["input_ids"]] == [
        "[CLS] red green [SEP] [PAD] [PAD]",
        "[CLS] one two three four [SEP]",
        "[CLS] [SEP] [PAD] [PAD] [PAD] [PAD]",
    ]
    assert not rows["token_type_ids"].any()
    assert (rows["input_ids"].dtype, rows["token_type_ids"].dtype) == (np.int32, np.uint8)


def test_pair_rows(words):
    loaded, tokenizer = words
    rows = preprocessors.encode_rows(tokenizer, loaded, ["red", "one two three four"], ["blue", "red green blue"], 8)
    assert [decode(row) for row in rows["input_ids"]] == [
        "[CLS] red [SEP] blue [SEP] [PAD] [PAD] [PAD]",
        "[CLS] one two three [SEP] red green [SEP]",
    ]
    assert rows["token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1, 1, 1]]


@given(st.integers(0, 500), st.integers(2, 64))
def test_row_lengths_keep_every_token(num_tokens, room):
    lengths = preprocessors.row_lengths(num_tokens, room)
    assert sum(lengths) == num_tokens
    assert len(lengths) == -(-num_tokens // room)
    assert all(1 <= length <= room for length in lengths)
    assert all(length == room for length in lengths[:-2])
    if len(lengths) > 1:
        assert min(lengths) >= room // 2


def test_documents_are_packed_without_crossing(words):
    loaded, tokenizer = words
    first = " ".join(["one"] * 13)
    second = " ".join(["two"] * 9)
    rows, places = preprocessors.pack_documents(tokenizer, loaded, [first, "red blue", second], 8)
    assert [decode(row) for row in rows] == [
        "[CLS] one one one one one one [SEP]",
        "[CLS] one one one one [SEP] [PAD] [PAD]",
        "[CLS] one one one [SEP] [PAD] [PAD] [PAD]",
        "[CLS] two two two two two two [SEP]",
        "[CLS] two two two [SEP] [PAD] [PAD] [PAD]",
    ]
    # "red blue" is too short for a row.
    assert places.tolist() == [0, 0, 0, 2, 2]


def test_nothing_to_pack(words):
    loaded, tokenizer = words
    rows, places = preprocessors.pack_documents(tokenizer, loaded, ["red"], 8)
    assert rows.shape == (0, 8) and places.shape == (0,)


@pytest.mark.parametrize(("size", "dtype"), [(30_522, np.uint16), (65_535, np.uint16), (65_536, np.uint32)])
def test_token_id_dtype(size, dtype):
    assert preprocessors.token_id_dtype(size) == dtype
