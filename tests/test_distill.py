"""Distillation: the layer map, the student's start, which parameters move, and a resume to the same bits."""

import dataclasses
import importlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from benchmark.config import DistillConfig, EncoderConfig, OptimizerConfig
from benchmark.distillation.distill import Teacher, distill, init_student, uniform_layer_map
from benchmark.training.masking import SpecialTokens
from benchmark.training.pretrain import init_params
from tasks.arrays import TokenArrays

# For its imports, which tests replace.
module: Any = importlib.import_module(distill.__module__)

SPECIAL = SpecialTokens(vocab_size=40, pad_id=0, cls_id=2, sep_id=3, mask_id=4)
STUDENT = EncoderConfig(
    vocab_size=40,
    embedding_size=8,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intra_bottleneck_size=8,
    intermediate_size=8,
    num_feedforward_networks=1,
    max_position_embeddings=16,
    initializer_range=0.1,
)
TEACHER = Teacher(
    dataclasses.replace(
        STUDENT,
        num_hidden_layers=4,
        num_attention_heads=4,
        intra_bottleneck_size=None,
        intermediate_size=16,
        normalization_type="layer_norm",
        key_query_shared_bottleneck=False,
    ),
    None,
)
OPTIMIZER = OptimizerConfig(learning_rate=0.01)
RECIPE = DistillConfig(
    layer_steps=3,
    distill_steps=5,
    batch_size=4,
    transfer_optimizer=OPTIMIZER,
    distill_optimizer=OPTIMIZER,
    checkpoint_every=2,
    one_program=True,
)


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    return Teacher(TEACHER.encoder, init_params(TEACHER.encoder, 7))


@pytest.fixture(scope="module")
def rows() -> TokenArrays:
    ids = np.random.default_rng(0).integers(5, 40, (32, 12)).astype(np.int32)
    ids[:, 0], ids[:, -1] = SPECIAL.cls_id, SPECIAL.sep_id
    return TokenArrays(Path(), {"input_ids": ids}, {"rows": len(ids)})


@pytest.fixture(scope="module", autouse=True)
def compile_once() -> Any:
    """Losses that differ in the number of steps alone share one compiled step: many tests run the same student."""
    steps: dict[Any, Any] = {}
    original, losses = module.make_train_step, module.distillation_loss

    def remembered_loss(student: EncoderConfig, layer_map: Any, config: DistillConfig, **options: Any) -> Any:
        loss: Any = losses(student, layer_map, config, **options)
        same = dataclasses.replace(config, layer_steps=0, distill_steps=1, checkpoint_every=1)
        loss.key = (student, layer_map, same, tuple(options.items()))
        return loss

    def remembered_step(loss: Any, direction: Any) -> Any:
        return steps.setdefault(loss.key, original(loss, direction))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "distillation_loss", remembered_loss)
        patch.setattr(module, "make_train_step", remembered_step)
        yield


def run(
    recipe: DistillConfig, teacher: Teacher, rows: TokenArrays, directory: Path | None = None, **options: Any
) -> Any:
    settings: dict[str, Any] = {"seed": 0, "name": "student", "progress": lambda line: None} | options
    params, _ = distill(STUDENT, teacher, recipe, rows, SPECIAL, directory=directory, **settings)
    return params


def equal(one: Any, two: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True))


def test_uniform_layer_map() -> None:
    assert uniform_layer_map(4, 12) == (2, 5, 8, 11)
    assert uniform_layer_map(5, 12) == (1, 3, 6, 8, 11)
    assert uniform_layer_map(12, 12) == tuple(range(12))
    assert uniform_layer_map(1, 24) == (23,)
    with pytest.raises(ValueError, match="3 layers cannot imitate a teacher of 2"):
        uniform_layer_map(3, 2)


def test_student_takes_over_embeddings(teacher: Teacher) -> None:
    own, start = init_params(STUDENT, 0), init_student(STUDENT, teacher, 0, copy_embeddings=True)
    assert equal(start["student"]["encoder"]["embeddings"], teacher.params["encoder"]["embeddings"])
    assert equal(start["student"]["encoder"]["layers"], own["encoder"]["layers"])
    assert equal(init_student(STUDENT, teacher, 0, copy_embeddings=False)["student"], own)
    assert "projection" not in start


def test_a_narrower_student_takes_over_what_fits(teacher: Teacher) -> None:
    narrow = dataclasses.replace(STUDENT, hidden_size=12)
    start = init_student(narrow, teacher, 0, copy_embeddings=True)
    embeddings, source = start["student"]["encoder"]["embeddings"], teacher.params["encoder"]["embeddings"]
    assert np.array_equal(embeddings["word_embeddings"], source["word_embeddings"])
    own = init_params(narrow, 0)["encoder"]["embeddings"]
    assert np.array_equal(embeddings["position_embeddings"], own["position_embeddings"])
    assert start["projection"]["kernel"].shape == (12, 16)


def test_transfer_rates() -> None:
    params = {"student": init_params(STUDENT, 0), "projection": {"kernel": np.zeros((16, 16), np.float32)}}
    for stage in range(2):
        rates = module._transfer_rates(params, stage, 2)
        factors = jax.tree.map(lambda p, r: np.broadcast_to(r, np.shape(p)), params, rates)
        assert not any(leaf.any() for leaf in jax.tree.leaves(factors["student"]["encoder"]["embeddings"]))
        assert not any(leaf.any() for leaf in jax.tree.leaves(factors["student"]["masked_lm"]))
        assert factors["projection"]["kernel"].all()
        for leaf in jax.tree.leaves(factors["student"]["encoder"]["layers"]):
            assert [bool(layer.all()) for layer in leaf] == [number <= stage for number in range(2)]
            assert [bool(layer.any()) for layer in leaf] == [number <= stage for number in range(2)]


class Stop(Exception):  # noqa: N818
    """Ends a run from a hook."""


def states(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Records name and parameters at the end of each phase, before the next one donates them."""
    seen: list[tuple[str, Any]] = []
    original = module.fit

    def recorded(*arguments: Any, **options: Any) -> Any:
        state, report = original(*arguments, **options)
        seen.append((options["name"], jax.tree.map(np.array, state.params)))
        return state, report

    monkeypatch.setattr(module, "fit", recorded)
    return seen


def test_what_moves_and_when(teacher: Teacher, rows: TokenArrays, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = states(monkeypatch)
    before = jax.tree.map(np.array, teacher.params)
    start = init_student(STUDENT, teacher, 0, copy_embeddings=True)["student"]
    final = run(RECIPE, teacher, rows)
    assert [name for name, _ in seen] == ["student transfer", "student distillation"]
    transferred = seen[0][1]["student"]
    # Transfer moves layers alone; masked-LM distillation moves everything.
    assert equal(transferred["encoder"]["embeddings"], start["encoder"]["embeddings"])
    assert equal(transferred["masked_lm"], start["masked_lm"])
    assert not equal(transferred["encoder"]["layers"], start["encoder"]["layers"])
    assert not equal(final["encoder"]["embeddings"], start["encoder"]["embeddings"])
    # The step donates its state; the teacher's own arrays, whose embeddings the student copied, live on.
    assert equal(teacher.params, before)


def test_layers_above_the_stage_stand_still(
    teacher: Teacher, rows: TokenArrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = module.fit
    seen: list[Any] = []

    def first_stage(state: Any, step: Any, inputs: Any, total: int, **options: Any) -> Any:
        state, _ = original(state, step, inputs, total // 2, **options)
        seen.append(state.params["student"]["encoder"]["layers"])
        raise Stop

    monkeypatch.setattr(module, "fit", first_stage)
    with pytest.raises(Stop):
        run(RECIPE, teacher, rows)
    start = init_student(STUDENT, teacher, 0, copy_embeddings=True)["student"]["encoder"]["layers"]
    for a, b in zip(jax.tree.leaves(seen[0]), jax.tree.leaves(start), strict=True):
        assert np.array_equal(a[1], b[1])
    assert not np.array_equal(seen[0]["query"]["kernel"][0], start["query"]["kernel"][0])


def test_distilling_lowers_the_loss(teacher: Teacher, rows: TokenArrays, tmp_path: Path) -> None:
    # One phase is checked at a time: the losses of different transfer stages do not compare.
    longer = dataclasses.replace(RECIPE, layer_steps=60, distill_steps=100, checkpoint_every=1000)
    run(longer, teacher, rows, tmp_path)
    for phase in ("transfer", "distillation"):
        lines = (tmp_path / phase / "metrics.jsonl").read_text().splitlines()
        losses = [json.loads(line)["loss"] for line in lines]
        assert losses[-1] < losses[0], phase


def test_one_program_gives_the_same_parameters(teacher: Teacher, rows: TokenArrays) -> None:
    one = run(RECIPE, teacher, rows)
    two = run(dataclasses.replace(RECIPE, one_program=False), teacher, rows)
    # Two programs may round in another order, which Adam's division carries on for a few steps.
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)


def test_students_see_the_same_batches(teacher: Teacher, rows: TokenArrays) -> None:
    assert equal(run(RECIPE, teacher, rows), run(RECIPE, teacher, rows))
    assert not equal(run(RECIPE, teacher, rows), run(RECIPE, teacher, rows, seed=1))


@pytest.mark.parametrize("stop_at", [1, 5, 6, 10])
def test_an_interrupted_distillation_ends_with_the_same_bits(
    teacher: Teacher, rows: TokenArrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    whole = run(RECIPE, teacher, rows)
    original = module.take_rows

    def stopping(rows: TokenArrays, batch_size: int, step: int, seed: int) -> Any:
        if step == stop_at:
            raise KeyboardInterrupt
        return original(rows, batch_size, step, seed)

    monkeypatch.setattr(module, "take_rows", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(RECIPE, teacher, rows, tmp_path)
    monkeypatch.setattr(module, "take_rows", original)
    assert equal(run(RECIPE, teacher, rows, tmp_path), whole)


def test_other_widths_and_heads_need_no_care(teacher: Teacher, rows: TokenArrays) -> None:
    narrow = dataclasses.replace(STUDENT, hidden_size=12, num_attention_heads=1, num_hidden_layers=1)
    options: dict[str, Any] = {"seed": 0, "directory": None, "name": "narrow", "progress": lambda line: None}
    params, steps = distill(narrow, teacher, RECIPE, rows, SPECIAL, **options)
    assert steps == 3 + 5
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, init_params(narrow, 0))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
