"""Fine-tuning and prediction on made-up tasks that are easy to learn."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from benchmark.config import FinetuneConfig, OptimizerConfig
from benchmark.evaluation.predict import predict
from benchmark.models.heads import SequenceModel
from benchmark.training import checkpoints
from benchmark.training import finetune as training_module
from benchmark.training.batches import TaskData, batch_lengths, make_batch, used_length
from benchmark.training.finetune import (
    SMALLEST_CLASS_HEAD,
    finetune,
    finetune_steps,
    label_bias,
    restore_params,
    task_head,
    without_unused_outputs,
)
from benchmark.training.job import TrainingJob
from benchmark.training.pretrain import init_params
from tasks.arrays.token_arrays import TokenArrays
from tasks.catalogue import get_task
from tests.helpers.encoders import small_encoder

SST2, MNLI, STSB = (get_task(f"glue_{name}_v1") for name in ("sst2", "mnli_matched", "stsb"))
SQUAD = get_task("squad_v1_1_v1")
LENGTH = 16
ENCODER = small_encoder()
CONFIG = FinetuneConfig(seeds=(0,), batch_size=16, optimizer=OptimizerConfig(learning_rate=0.01))


def toy_rows(kind: str, count: int, seed: int) -> TokenArrays:
    """Rows in which token 10 or 11 at place 1 is the label, and the answer is where token 12 stands."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, count)
    place = rng.integers(2, LENGTH - 1, count)
    ids = rng.integers(13, 40, (count, 24)).astype(np.uint16)
    ids[:, 0], ids[:, 1] = 2, 10 + label
    ids[np.arange(count), place] = 12
    ids[:, LENGTH - 1 :] = 0
    features: dict[str, np.ndarray] = {"input_ids": ids, "token_type_ids": np.zeros((count, 24), np.uint8)}
    if kind == "span":
        features |= {"start_position": place, "end_position": place}
    else:
        features["label"] = label.astype(np.float32 if kind == "regression" else np.int64)
    return TokenArrays(Path(), features, {"rows": count})


@pytest.fixture(scope="module")
def pretrained() -> Any:
    return init_params(ENCODER, 0)


def tuned(pretrained: Any, task: Any, seed: int = 0, epochs: float = 8.0) -> Any:
    data = TaskData(task, toy_rows(task.kind, 256, 0), LENGTH, 0)
    return finetune(ENCODER, pretrained, data, CONFIG, epochs, TrainingJob("toy", seed=seed)).params


def test_unused_labels_do_not_exist() -> None:
    logits = jnp.asarray(np.random.default_rng(0).standard_normal((5, SMALLEST_CLASS_HEAD)), jnp.float32)
    labels = jnp.array([0, 1, 1, 0, 1])

    def padded(x: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(x + label_bias(SST2), labels).mean()

    def plain(x: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(x[:, :2], labels).mean()

    assert float(padded(logits)) == pytest.approx(float(plain(logits)), rel=1e-6)
    np.testing.assert_allclose(jax.grad(padded)(logits), jax.grad(plain)(logits), atol=1e-7)
    assert not label_bias(MNLI).any()


@pytest.mark.parametrize(("last", "expected"), [(0, 8), (7, 8), (8, 16), (22, 23)])
def test_used_length(last: int, expected: int) -> None:
    ids = np.zeros((3, 23), np.uint16)
    ids[:, 0], ids[1, last] = 2, 5
    assert used_length(TokenArrays(Path(), {"input_ids": ids}, {"rows": 3}), 0, multiple=8) == expected


def test_rows_of_padding_alone_have_a_length() -> None:
    assert used_length(TokenArrays(Path(), {"input_ids": np.zeros((2, 40))}, {"rows": 2}), 0, multiple=16) == 16


def test_batches_are_cut_and_typed() -> None:
    batch = make_batch(toy_rows("regression", 6, 0), np.array([4, 1]), 8, 0)
    assert {name: (values.shape, values.dtype.name) for name, values in batch.items()} == {
        "input_ids": ((2, 8), "int32"),
        "token_type_ids": ((2, 8), "int32"),
        "label": ((2,), "float32"),
        "attention_mask": ((2, 8), "int32"),
    }
    assert make_batch(toy_rows("span", 6, 0), np.array([0]), 24, 0)["attention_mask"].sum() == LENGTH - 1


def test_number_of_steps() -> None:
    assert finetune_steps(CONFIG, 8.0, 256) == 128
    assert finetune_steps(CONFIG, 8.0, 257) == 129
    limited = dataclasses.replace(CONFIG, max_steps=100)
    assert (finetune_steps(limited, 8.0, 256), finetune_steps(limited, 8.0, 64)) == (100, 32)


def test_classification_learns(pretrained: Any) -> None:
    before = jax.tree.map(np.array, pretrained)
    held_out = toy_rows("classification", 100, 1)
    params = tuned(pretrained, SST2)
    outputs = predict(ENCODER, params, SST2, held_out, LENGTH, 0, batch_size=64)
    assert outputs.shape == (100, 2)
    assert (outputs.argmax(axis=1) == held_out.features["label"]).mean() > 0.95
    # The last batch of 36 rows is filled up to 64; rows come out as they do in a batch of their own.
    tail = TokenArrays(Path(), {n: v[64:] for n, v in held_out.features.items()}, {"rows": 36})
    np.testing.assert_array_equal(predict(ENCODER, params, SST2, tail, LENGTH, 0, batch_size=64), outputs[64:])
    # Whatever the batch, a row has the same prediction.
    for size in (7, 128):
        batched = predict(ENCODER, params, SST2, held_out, LENGTH, 0, batch_size=size)
        np.testing.assert_allclose(batched, outputs, atol=1e-5)
        assert np.array_equal(batched.argmax(1), outputs.argmax(1))
    # The pretrained parameters serve other seeds and tasks: the donated state must not have been theirs.
    for a, b in zip(jax.tree.leaves(pretrained), jax.tree.leaves(before), strict=True):
        np.testing.assert_array_equal(a, b)


def test_outputs_that_stand_for_no_label_can_be_cut_off(pretrained: Any) -> None:
    rows = toy_rows("classification", 20, 1)
    params = tuned(pretrained, SST2, epochs=0.5)
    cut = without_unused_outputs(params, SST2)
    assert cut["classifier"]["kernel"].shape == (16, 2) and cut["classifier"]["bias"].shape == (2,)
    batch = make_batch(rows, np.arange(20), LENGTH, 0)
    inputs = [batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")]
    found = SequenceModel(ENCODER, 2).apply({"params": cut}, *inputs)
    np.testing.assert_allclose(found, predict(ENCODER, params, SST2, rows, LENGTH, 0), atol=1e-5)
    for task in (STSB, SQUAD):
        assert without_unused_outputs(params, task) is params


def test_a_task_with_more_labels_has_a_wider_head(pretrained: Any, tmp_path: Path) -> None:
    task = dataclasses.replace(MNLI, name="made_up_v1", label_names=("a", "b", "c", "d", "e"))
    assert task_head(SST2) == task_head(MNLI) == ("classification", SMALLEST_CLASS_HEAD)
    assert task_head(task) == ("classification", 5)
    assert label_bias(task).tolist() == [0.0] * 5
    features = dict(toy_rows("classification", 256, 0).features)
    features["label"] = np.arange(256) % 5
    features["input_ids"] = features["input_ids"].copy()
    features["input_ids"][:, 1] = 5 + features["label"]
    rows = TokenArrays(Path(), features, {"rows": 256})
    data = TaskData(task, rows, LENGTH, 0)
    params = finetune(ENCODER, pretrained, data, CONFIG, 8.0, TrainingJob("toy")).params
    outputs = predict(ENCODER, params, task, rows, LENGTH, 0)
    assert outputs.shape == (256, 5)
    assert (outputs.argmax(axis=1) == features["label"]).mean() > 0.95
    checkpoints.save(tmp_path / "kept", without_unused_outputs(params, task))
    restored = restore_params(tmp_path / "kept", ENCODER, task)
    np.testing.assert_array_equal(predict(ENCODER, restored, task, rows, LENGTH, 0), outputs)


def test_a_seed_decides_everything(pretrained: Any) -> None:
    one, same, other = (tuned(pretrained, SST2, seed, epochs=0.5) for seed in (0, 0, 1))
    pairs = [list(zip(jax.tree.leaves(one), jax.tree.leaves(tree), strict=True)) for tree in (same, other)]
    assert all(np.array_equal(a, b) for a, b in pairs[0])
    assert not all(np.array_equal(a, b) for a, b in pairs[1])


def test_regression_and_spans_learn(pretrained: Any) -> None:
    numbers, spans = toy_rows("regression", 40, 1), toy_rows("span", 40, 1)
    outputs = predict(ENCODER, tuned(pretrained, STSB), STSB, numbers, LENGTH, 0, batch_size=64)
    assert outputs.shape == (40,)
    assert np.corrcoef(outputs, numbers.features["label"])[0, 1] > 0.9
    logits = predict(ENCODER, tuned(pretrained, SQUAD), SQUAD, spans, LENGTH, 0, batch_size=64)
    assert logits.shape == (40, LENGTH, 2)
    for side, name in enumerate(("start_position", "end_position")):
        assert (logits[..., side].argmax(axis=1) == spans.features[name]).mean() > 0.95
    # Padding is never an answer.
    assert (logits[:, LENGTH - 1] < -1e8).all()


def test_rows_of_similar_length_share_a_batch_and_teach_the_same(
    pretrained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = toy_rows("classification", 256, 0)
    ids = rows.features["input_ids"]
    lengths = np.random.default_rng(1).integers(3, LENGTH, 256)
    ids[np.arange(24) >= lengths[:, None]] = 0
    widths: list[int] = []
    real = make_batch

    def noted(rows: TokenArrays, indices: np.ndarray, length: int, pad_id: int) -> Any:
        widths.append(length)
        assert lengths[indices].max() <= length
        return real(rows, indices, length, pad_id)

    monkeypatch.setattr(training_module, "make_batch", noted)
    config = dataclasses.replace(CONFIG, group_by_length=True)
    data = TaskData(SST2, rows, LENGTH, 0)
    params, report = finetune(ENCODER, pretrained, data, config, 8.0, TrainingJob("toy"))
    assert set(widths) == set(batch_lengths(lengths, 16).tolist()) and len(widths) == 8 * 256 // 16
    assert np.mean(widths) < 0.8 * LENGTH
    # Every epoch has every row once.
    assert (report.tokens, report.columns) == (8 * lengths.sum(), 16 * sum(widths)) and report.diverged == ""
    outputs = predict(ENCODER, params, SST2, rows, LENGTH, 0)
    assert (outputs.argmax(axis=1) == rows.features["label"]).mean() > 0.95
