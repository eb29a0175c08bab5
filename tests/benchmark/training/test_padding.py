"""Attention masks: those of transformers, also for texts that hold [PAD]."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from benchmark.latency.inputs import choose_rows
from benchmark.training.batches import make_batch
from benchmark.training.losses import is_first_largest
from benchmark.training.masking import SpecialTokens, mask_tokens
from benchmark.training.padding import attention_mask, row_lengths
from tasks.arrays.token_arrays import TokenArrays
from tasks.encoding import preprocessors, vocabulary

TEXTS = ["a [PAD] film", "[PAD] [PAD]", "film [PAD]", "a good film [PAD] [PAD] a", ""]
PAIRS = ["", "[PAD]", "film", "good [PAD] a", "[PAD]"]


def encoded(tmp_path: Path, first: int = 0) -> tuple[TokenArrays, vocabulary.Vocabulary, list[list[int]]]:
    """Rows of the texts, and the masks that transformers makes of them."""
    from transformers import BertTokenizerFast

    special = list(vocabulary.SPECIAL_TOKENS)
    special.insert(first, special.pop(0))
    vocabulary.write([*special, "a", "good", "film"], tmp_path / "vocab.txt")
    words = vocabulary.load(tmp_path / "vocab.txt")
    rows = preprocessors.encode_rows(vocabulary.tokenizer(words), words, TEXTS, PAIRS, 12)
    theirs = BertTokenizerFast(str(tmp_path / "vocab.txt"))(TEXTS, PAIRS, padding="max_length", max_length=12)
    assert rows["input_ids"].tolist() == theirs["input_ids"]
    assert words.pad_id == first
    return TokenArrays(Path(), rows, {"rows": len(TEXTS)}), words, theirs["attention_mask"]


def test_a_text_may_hold_pad(tmp_path: Path) -> None:
    for first in (0, 3):
        rows, words, expected = encoded(tmp_path, first)
        # The old rule, which marked a token by its id alone, fails here.
        assert (rows.features["input_ids"] != words.pad_id).astype(int).tolist() != expected
        batch = make_batch(rows, np.arange(len(TEXTS)), 12, words.pad_id)
        assert batch["attention_mask"].tolist() == expected
        measured = choose_rows({"rows": rows.features}, 12, words.pad_id, 0).features
        order = [measured["input_ids"].tolist().index(row) for row in rows.features["input_ids"].tolist()]
        assert measured["attention_mask"][order].tolist() == expected


def test_masked_lm_reads_pad_of_a_text_and_never_predicts_it(tmp_path: Path) -> None:
    import jax

    rows, words, expected = encoded(tmp_path)
    special = SpecialTokens(words.size, words.pad_id, words.cls_id, words.sep_id, words.mask_id)
    for seed in range(20):
        masked = mask_tokens(jax.random.key(seed), jnp.asarray(rows.features["input_ids"]), special, 0.9)
        assert masked.attention_mask.dtype == jnp.int32
        assert masked.attention_mask.tolist() == expected
        assert not np.any((np.asarray(masked.labels) == words.pad_id) & (np.asarray(masked.weights) > 0))


def test_a_row_that_is_cut_keeps_the_pad_of_its_text() -> None:
    rows = choose_rows({"rows": {"input_ids": np.array([[2, 7, 0, 7, 3, 0]])}}, 3, 0, 0)
    assert rows.features["attention_mask"].tolist() == [[1, 1, 1]]


@given(arrays.arrays(np.int32, st.tuples(st.integers(1, 6), st.integers(1, 9)), elements=st.integers(0, 2)))
def test_masks_follow_the_last_token(ids: np.ndarray) -> None:
    expected = []
    for row in ids.tolist():
        tokens = list(row)
        while tokens and tokens[-1] == 1:
            tokens.pop()
        expected.append([1] * len(tokens) + [0] * (len(row) - len(tokens)))
    mask = attention_mask(ids, 1)
    assert (mask.dtype, mask.tolist()) == (np.int32, expected)
    assert row_lengths(ids, 1).tolist() == [sum(row) for row in expected]


@given(arrays.arrays(np.float32, (5, 4), elements=st.sampled_from([-np.inf, -1.0, 0.0, 1.0, np.inf])))
def test_of_equal_logits_the_first_is_the_answer(logits: np.ndarray) -> None:
    for label in range(4):
        found = is_first_largest(jnp.asarray(logits), jnp.full(5, label))
        assert found.tolist() == (logits.argmax(-1) == label).tolist()


def test_equal_logits_and_nan_are_no_success() -> None:
    labels = jnp.arange(4)
    assert is_first_largest(jnp.zeros((4, 4)), labels).tolist() == [True, False, False, False]
    assert not is_first_largest(jnp.full((4, 4), jnp.nan), labels).any()
    assert not is_first_largest(jnp.zeros((4, 4)).at[:, 2].set(jnp.nan), labels).any()
