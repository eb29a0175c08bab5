"""Training on from a checkpoint: the new head, the frozen encoder, and the parts of it that fine-tuning keeps."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from benchmark.config import EncoderConfig, OptimizerConfig, PretrainConfig
from benchmark.evaluation.masked_lm import evaluate_masked_lm
from benchmark.models.encoder import Encoder
from benchmark.models.heads import MaskedLM
from benchmark.training.checkpoints import save
from benchmark.training.finetune import initial_params
from benchmark.training.job import TrainingJob
from benchmark.training.masking import SpecialTokens
from benchmark.training.pretrain import adapt, init_params, load_params, with_masked_lm_head
from tasks.arrays.token_arrays import TokenArrays
from tasks.catalogue import get_task
from tests.helpers.hugging_face_models import plain, random_parameters

SPECIAL = SpecialTokens(vocab_size=50, pad_id=0, cls_id=2, sep_id=3, mask_id=4)
CONFIG = PretrainConfig(batch_size=4, optimizer=OptimizerConfig(learning_rate=0.01, warmup_fraction=0.0))


def rows(count: int = 32, length: int = 12) -> TokenArrays:
    ids = np.random.default_rng(0).integers(5, 50, (count, length)).astype(np.int32)
    ids[:, 0], ids[:, -1] = SPECIAL.cls_id, SPECIAL.sep_id
    return TokenArrays(Path(), {"input_ids": ids}, {"rows": count})


def equal(one: Any, two: Any) -> bool:
    return all(jax.tree.leaves(jax.tree.map(lambda a, b: bool(np.array_equal(a, b)), one, two)))


@pytest.fixture(scope="module")
def headless() -> tuple[EncoderConfig, Any]:
    config = plain()
    return config, random_parameters(config, "")


@pytest.mark.parametrize("embedding_size", [24, 16])
def test_a_new_head_compares_states_with_the_word_table(embedding_size: int) -> None:
    # A plain encoder of these widths maps its embeddings; the head reads the first `embedding_size` values of a state.
    config = plain(embedding_size=embedding_size)
    params = with_masked_lm_head(config, random_parameters(config, ""))
    ids = jnp.asarray(rows(2).features["input_ids"])
    ones, positions = jnp.ones_like(ids), jnp.arange(12)[None].repeat(2, 0)
    states = np.asarray(
        Encoder(config).apply({"params": params["encoder"]}, ids, ones, 0 * ids).last_hidden_state, np.float64
    )
    found = MaskedLM(config).apply({"params": params}, ids, ones, 0 * ids, positions).logits
    active = states * 0.5 * (1.0 + erf(states / np.sqrt(2.0)))
    normed = (active - active.mean(-1, keepdims=True)) / np.sqrt(active.var(-1, keepdims=True) + config.layer_norm_eps)
    words = np.asarray(params["encoder"]["embeddings"]["word_embeddings"], np.float64)
    np.testing.assert_allclose(found, normed[..., :embedding_size] @ words.T, atol=1e-4)


def test_a_head_that_is_there_stays(headless: tuple[EncoderConfig, Any]) -> None:
    config, _ = headless
    own = random_parameters(config, "masked_lm")
    assert with_masked_lm_head(config, own) is own


def test_the_encoder_stands_still_as_long_as_asked(headless: tuple[EncoderConfig, Any]) -> None:
    config, params = headless
    start = with_masked_lm_head(config, params)

    def adapted(steps: int, frozen: int) -> Any:
        settings = dataclasses.replace(CONFIG, steps=steps, frozen_encoder_steps=frozen)
        return adapt(config, start, settings, rows(), SPECIAL, TrainingJob("toy"))[0]

    frozen = adapted(3, 3)
    assert equal(frozen["encoder"], params["encoder"]) and equal(frozen["pooler"], params["pooler"])
    assert not equal(frozen["masked_lm"], start["masked_lm"])
    moved = adapted(3, 2)
    assert not equal(moved["encoder"], params["encoder"])
    # A word that no row has is only changed by the decay of weights, which a frozen encoder does not have either.
    assert equal(start["encoder"], params["encoder"])


def test_adaptation_lowers_the_loss_of_its_text(headless: tuple[EncoderConfig, Any]) -> None:
    config, params = headless
    start = with_masked_lm_head(config, params)
    data = rows()
    # Rows of one word each: their masked words follow from the others, whatever the start.
    data.features["input_ids"][:, 1:-1] = 5 + np.arange(32)[:, None]
    settings = dataclasses.replace(CONFIG, steps=60)
    trained, _ = adapt(config, start, settings, data, SPECIAL, TrainingJob("toy"))
    before, after = (evaluate_masked_lm(config, params, data, SPECIAL, 0.15)["loss"] for params in (start, trained))
    assert after < 0.6 * before


def test_fine_tuning_starts_with_the_pooler_of_a_checkpoint(
    headless: tuple[EncoderConfig, Any], tmp_path: Path
) -> None:
    config, params = headless
    task = get_task("glue_sst2_v1")
    start = with_masked_lm_head(config, params)
    save(tmp_path / "params", start)
    loaded = load_params(tmp_path / "params", config)
    assert equal(loaded, start)
    tuned = initial_params(config, loaded, task, 0)
    assert equal(tuned["pooler"], params["pooler"]) and set(tuned) == {"encoder", "pooler", "classifier"}
    # A student that was distilled has no pooler, and gets a fresh one.
    fresh = initial_params(config, init_params(config, 0), task, 0)
    assert set(fresh) == set(tuned) and not equal(fresh["pooler"], params["pooler"])
    # A span head reads every token.
    assert set(initial_params(config, loaded, get_task("squad_v1_1_v1"), 0)) == {"encoder", "span"}
