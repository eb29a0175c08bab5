"""Pseudo-perplexity against `transformers`, one token after the other."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from benchmark.evaluation.masked_lm import evaluate_masked_lm
from benchmark.evaluation.pseudo_perplexity import chosen_rows, pseudo_perplexity
from benchmark.export import checkpoint_files
from benchmark.process import setup
from benchmark.training.pretrain import init_params
from tasks.arrays.token_arrays import TokenArrays
from tests.benchmark.evaluation.test_masked_lm import ENCODER, NUM_ROWS, RATE, ROWS, SPECIAL, STUDENT
from tests.helpers.encoders import small_encoder


def test_is_that_of_transformers(tmp_path: Path) -> None:
    ids = np.asarray(ROWS.features["input_ids"]).copy()
    # Not known to the vocabulary, so that it is no prediction.
    ids[0, 2] = SPECIAL.unk_id
    rows = TokenArrays(Path(), {**ROWS.features, "input_ids": ids}, {"rows": NUM_ROWS})
    checkpoint_files.write(tmp_path, ENCODER, STUDENT)
    model = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path, attn_implementation="eager").eval()
    losses: list[float] = []
    documents: list[int] = []
    for row in chosen_rows(NUM_ROWS, 6):
        text = [int(token) for token in ids[row] if token != SPECIAL.pad_id]
        for place, token in enumerate(text):
            if token in (SPECIAL.cls_id, SPECIAL.sep_id, SPECIAL.unk_id):
                continue
            masked = torch.tensor([[*text[:place], SPECIAL.mask_id, *text[place + 1 :]]])
            with torch.no_grad():
                likelihood = model(masked).logits[0, place].log_softmax(-1)
            losses.append(-float(likelihood[token]))
            documents.append(int(ROWS.features["document"][row]))
    found = pseudo_perplexity(ENCODER, STUDENT, rows, SPECIAL, 6, RATE, batch_size=8)
    mean = math.fsum(losses) / len(losses)
    assert found["pseudo_perplexity_tokens"] == len(losses) and found["pseudo_perplexity_rows"] == 6
    assert found["pseudo_perplexity"] == pytest.approx(math.exp(mean), rel=1e-5)
    sums = [
        sum(loss - mean for loss, own in zip(losses, documents, strict=True) if own == one) for one in set(documents)
    ]
    error = math.exp(mean) * math.sqrt(len(sums)) * np.std(sums, ddof=1) / len(losses)
    assert found["pseudo_perplexity_stderr"] == pytest.approx(error, rel=1e-4)


def test_rows_are_spread_over_the_text() -> None:
    assert chosen_rows(512, 4).tolist() == [0, 128, 256, 384]
    assert chosen_rows(3, 16).tolist() == [0, 1, 2]
    assert chosen_rows(10, 4).tolist() == [0, 2, 5, 7]


@pytest.mark.parametrize("pairs", [False, True])
def test_no_program_is_compiled_for_it(pairs: bool) -> None:
    # No other test has a model of these sizes.
    encoder = small_encoder(intermediate_size=20 + pairs, max_position_embeddings=16, pooler="tanh")
    params = init_params(encoder, 0, next_sentence=pairs)
    types = {"token_type_ids": np.ones((NUM_ROWS, 16), np.uint8), "next_sentence_label": np.ones(NUM_ROWS, np.uint8)}
    rows = TokenArrays(Path(), {**ROWS.features, **(types if pairs else {})}, {"rows": NUM_ROWS})
    evaluate_masked_lm(encoder, params, rows, SPECIAL, RATE, 8)
    with setup.compile_seconds() as compiling:
        pseudo_perplexity(encoder, params, rows, SPECIAL, 2, RATE, batch_size=8)
    assert not compiling
