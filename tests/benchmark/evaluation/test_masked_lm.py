"""Masked-LM scores against NumPy and SciPy, row by row, and their independence of batches and places."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from scipy.special import log_softmax, rel_entr

from benchmark.evaluation.masked_lm import evaluate_masked_lm, masked_logits, row_clusters, row_key
from benchmark.training.masking import MaskedBatch, SpecialTokens, mask_rows
from benchmark.training.pretrain import init_params
from tasks.arrays.token_arrays import TokenArrays
from tests.helpers.encoders import small_bert, trained_like

ENCODER = small_bert(max_position_embeddings=16)
SPECIAL = SpecialTokens(vocab_size=40, pad_id=0, cls_id=2, sep_id=3, mask_id=4, unk_id=1)
NUM_ROWS, LENGTH, RATE = 22, 16, 0.25


def held_out(**features: np.ndarray) -> TokenArrays:
    """`[CLS] tokens [SEP]` rows of many lengths, from seven documents of different sizes."""
    rng = np.random.default_rng(5)
    ids = rng.integers(5, 40, (NUM_ROWS, LENGTH)).astype(np.uint16)
    for row, size in enumerate(rng.integers(6, LENGTH + 1, NUM_ROWS)):
        ids[row, 0], ids[row, size - 1], ids[row, size:] = 2, 3, 0
    documents = np.repeat([3, 9, 1, 8, 20, 4, 2], [1, 5, 2, 4, 6, 1, 3]).astype(np.uint32)
    own: dict[str, np.ndarray] = {"input_ids": ids, "document": documents}
    return TokenArrays(Path(), own | features, {"rows": NUM_ROWS})


def parameters(seed: int) -> Any:
    return trained_like(init_params(dataclasses.replace(ENCODER, initializer_range=0.3), seed))


ROWS, STUDENT, TEACHER = held_out(), parameters(0), parameters(1)


def teacher_logits(_: int, batch: MaskedBatch) -> jax.Array:
    return masked_logits(ENCODER, TEACHER, batch).tokens


def whole() -> MaskedBatch:
    """All rows as the evaluation masks them, in one batch."""
    numbers = np.arange(NUM_ROWS, dtype=np.uint32)
    ids = np.asarray(ROWS.features["input_ids"]).astype(np.int32)
    batch: MaskedBatch = mask_rows(row_key(ROWS), numbers, ids, SPECIAL, RATE)
    return batch


def test_scores_are_those_of_each_prediction() -> None:
    found = evaluate_masked_lm(ENCODER, STUDENT, ROWS, SPECIAL, RATE, 8, teacher=teacher_logits)
    batch, per_row = whole(), []
    student, teacher = (
        np.asarray(masked_logits(ENCODER, params, batch).tokens, np.float64) for params in (STUDENT, TEACHER)
    )
    for row in range(NUM_ROWS):
        real = np.flatnonzero(np.asarray(batch.weights[row]))
        own, other, labels = student[row, real], teacher[row, real], np.asarray(batch.labels[row])[real]
        likelihood, wanted = log_softmax(own, axis=-1), log_softmax(other, axis=-1)
        right, alike = own.argmax(-1) == labels, own.argmax(-1) == other.argmax(-1)
        loss = -likelihood[np.arange(len(real)), labels]
        divergence = rel_entr(np.exp(wanted), np.exp(likelihood)).sum(-1)
        per_row.append([len(real), 100 * right.sum(), loss.sum(), 100 * alike.sum(), divergence.sum()])
    sums = np.array(per_row)
    count = sums[:, 0].sum()
    names = ("accuracy", "loss", "teacher_agreement", "teacher_kl")
    assert found["predictions"] == count and found["documents"] == 7
    for name, column in zip(names, sums.T[1:], strict=True):
        mean = column.sum() / count
        assert found[name] == pytest.approx(mean, rel=1e-4), name
        # Whole documents are drawn: their residuals are the independent terms of the error.
        residuals = [
            (column - mean * sums[:, 0])[np.asarray(ROWS.features["document"]) == document].sum()
            for document in np.unique(ROWS.features["document"])
        ]
        expected = np.sqrt(7) * np.std(residuals, ddof=1) / count
        assert found[f"{name}_stderr"] == pytest.approx(expected, rel=1e-3), name


def test_batches_do_not_matter() -> None:
    one, other, all_at_once = (
        evaluate_masked_lm(ENCODER, STUDENT, ROWS, SPECIAL, RATE, size, teacher=teacher_logits)
        for size in (8, 5, NUM_ROWS)
    )
    assert one == pytest.approx(other, rel=1e-5) and one == pytest.approx(all_at_once, rel=1e-5)
    counted = ("accuracy", "accuracy_stderr", "predictions", "documents", "teacher_agreement")
    assert {name: one[name] for name in counted} == {name: other[name] for name in counted}


def test_every_model_is_asked_for_the_same_tokens() -> None:
    asked: list[MaskedBatch] = []

    def noted(_: int, batch: MaskedBatch) -> jax.Array:
        asked.append(batch)
        return masked_logits(ENCODER, TEACHER, batch).tokens

    for params, size in ((STUDENT, 8), (TEACHER, 8), (STUDENT, 5)):
        evaluate_masked_lm(ENCODER, params, ROWS, SPECIAL, RATE, size, teacher=noted)
    batch = whole()
    for parts in (asked[:3], asked[3:6], asked[6:]):
        for name in ("input_ids", "positions", "labels", "weights"):
            together = np.concatenate([np.asarray(getattr(part, name)) for part in parts])[:NUM_ROWS]
            assert np.array_equal(together, getattr(batch, name)), name


def test_masks_follow_the_content_of_the_rows() -> None:
    ids = np.asarray(ROWS.features["input_ids"])
    stored_otherwise = TokenArrays(Path("elsewhere"), {"input_ids": ids.astype(np.uint32)}, {"rows": NUM_ROWS})
    changed = ids.copy()
    changed[-1, 1] = 5 + (changed[-1, 1] - 4) % 35
    all_rows = (ROWS, stored_otherwise, held_out(input_ids=changed))
    keys = [jax.random.key_data(row_key(rows)).tolist() for rows in all_rows]
    assert keys[0] == keys[1] != keys[2]


def test_a_teacher_agrees_with_itself() -> None:
    found = evaluate_masked_lm(ENCODER, TEACHER, ROWS, SPECIAL, RATE, 8, teacher=teacher_logits)
    assert (found["teacher_agreement"], found["teacher_kl"]) == (100.0, 0.0)
    assert "teacher_kl" not in evaluate_masked_lm(ENCODER, TEACHER, ROWS, SPECIAL, RATE, 8)


def test_rows_are_the_clusters_where_documents_say_nothing() -> None:
    features = {"input_ids": np.asarray(ROWS.features["input_ids"])}
    without = TokenArrays(Path(), features, {"rows": NUM_ROWS})
    for rows in (without, held_out(document=np.full(NUM_ROWS, 6))):
        assert row_clusters(rows).tolist() == list(range(NUM_ROWS))
    alone = TokenArrays(Path(), {"input_ids": features["input_ids"][:1]}, {"rows": 1})
    assert evaluate_masked_lm(ENCODER, STUDENT, alone, SPECIAL, RATE, 8)["accuracy_stderr"] is None
