"""Distillation: the student's start, which parameters move, what is compiled, and a resume to the same bits."""

import dataclasses
import importlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from benchmark.config import DistillConfig, EncoderConfig, OptimizerConfig, PhaseConfig, TrainerConfig
from benchmark.distillation.distill import distill
from benchmark.distillation.initial import Start, init_student, student_shapes
from benchmark.distillation.objectives import PhaseObjective
from benchmark.distillation.phases import run_phase
from benchmark.distillation.teacher_cache import Teacher, TeacherCache
from benchmark.training.job import TrainingJob
from benchmark.training.masking import SpecialTokens
from benchmark.training.pretrain import init_params
from tasks.arrays.token_arrays import TokenArrays
from tasks.system.errors import StageError

# For its imports, which tests replace.
module: Any = importlib.import_module(distill.__module__)
phase_module: Any = importlib.import_module(run_phase.__module__)

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
    {},
)
OPTIMIZER = OptimizerConfig(learning_rate=0.01)
TRANSFER = PhaseConfig(
    name="transfer",
    steps=3,
    optimizer=OPTIMIZER,
    per_layer=True,
    frozen=("embeddings", "heads"),
    weights={"feature_map": 100.0, "feature_mean": 5000.0, "feature_variance": 5.0, "attention": 1.0},
)
DISTILL = PhaseConfig(
    name="distillation", steps=5, optimizer=OPTIMIZER, weights={"masked_lm": 1.0}, ground_truth_ratio=0.5
)
LAYERS = (1, 3)
RECIPE = DistillConfig(phases=(TRANSFER, DISTILL), batch_size=4, checkpoint_every=2, one_program=True)


def with_steps(recipe: DistillConfig, *steps: int) -> DistillConfig:
    phases = [dataclasses.replace(phase, steps=n) for phase, n in zip(recipe.phases, steps, strict=True)]
    return dataclasses.replace(recipe, phases=tuple(phases), checkpoint_every=1000)


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    return Teacher(TEACHER.encoder, init_params(TEACHER.encoder, 7))


@pytest.fixture(scope="module")
def rows() -> TokenArrays:
    ids = np.random.default_rng(0).integers(5, 40, (32, 12)).astype(np.int32)
    ids[:, 0], ids[:, -1] = SPECIAL.cls_id, SPECIAL.sep_id
    return TokenArrays(Path(), {"input_ids": ids}, {"rows": len(ids)})


@pytest.fixture(scope="module", autouse=True)
def traces() -> Any:
    """How often each loss was traced; equal losses share one compiled step: many tests run the same student."""
    steps: dict[Any, Any] = {}
    counted: Counter[Any] = Counter()
    make_step, make_loss = module.make_train_step, module.loss_function

    def remembered_loss(*key: Any) -> Any:
        loss = make_loss(*key)

        def counting(*arguments: Any) -> Any:
            counted[key] += 1
            return loss(*arguments)

        counting.key = key  # type: ignore[attr-defined]
        return counting

    def remembered_step(loss: Any, optimizer: Any, **options: Any) -> Any:
        # All tests have the same optimizer.
        return steps.setdefault(getattr(loss, "key", loss), make_step(loss, optimizer, **options))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "loss_function", remembered_loss)
        patch.setattr(module, "make_train_step", remembered_step)
        yield counted


def run(
    recipe: DistillConfig, teacher: Teacher, rows: TokenArrays, directory: Path | None = None, **options: Any
) -> Any:
    params, _ = distill(STUDENT, teacher, recipe, rows, SPECIAL, TrainingJob("student", directory, **options))
    return params


def equal(one: Any, two: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True))


def start_of(student: EncoderConfig, teacher: Teacher, **changes: Any) -> dict[str, Any]:
    return init_student(student, teacher, dataclasses.replace(RECIPE, **changes), 0)


def test_student_takes_over_embeddings(teacher: Teacher) -> None:
    own, start = init_params(STUDENT, 0), start_of(STUDENT, teacher)
    assert equal(start["student"]["encoder"]["embeddings"], teacher.params["encoder"]["embeddings"])
    assert equal(start["student"]["encoder"]["layers"], own["encoder"]["layers"])
    assert equal(start_of(STUDENT, teacher, copy_embeddings=False)["student"], own)
    assert "projection" not in start


def test_a_narrower_student_takes_over_what_fits(teacher: Teacher) -> None:
    narrow = dataclasses.replace(STUDENT, hidden_size=12)
    start = start_of(narrow, teacher)
    embeddings, source = start["student"]["encoder"]["embeddings"], teacher.params["encoder"]["embeddings"]
    assert np.array_equal(embeddings["word_embeddings"], source["word_embeddings"])
    own = init_params(narrow, 0)["encoder"]["embeddings"]
    assert np.array_equal(embeddings["position_embeddings"], own["position_embeddings"])
    assert start["projection"]["kernel"].shape == (12, 16)
    assert "embedding_projection" not in start
    phases = (dataclasses.replace(TRANSFER, weights={**TRANSFER.weights, "embedding": 1.0}), DISTILL)
    both = start_of(narrow, teacher, phases=phases)
    assert both["embedding_projection"]["kernel"].shape == (12, 16)
    assert not np.array_equal(both["embedding_projection"]["kernel"], both["projection"]["kernel"])
    assert set(start_of(narrow, teacher, phases=(DISTILL,))) == {"student"}


def test_a_student_starts_from_the_teachers_layers(teacher: Teacher) -> None:
    twin = dataclasses.replace(teacher.encoder, num_hidden_layers=2)
    start = start_of(twin, teacher, copy_layers=True, layer_map="skip")["student"]
    for own, source in zip(
        jax.tree.leaves(start["encoder"]["layers"]), jax.tree.leaves(teacher.params["encoder"]["layers"]), strict=True
    ):
        assert np.array_equal(own[0], source[0])
        assert np.array_equal(own[1], source[3])
    assert equal(start["masked_lm"], teacher.params["masked_lm"])
    # Without the other option embeddings stay the student's own.
    alone = start_of(twin, teacher, copy_layers=True, copy_embeddings=False)["student"]
    assert equal(alone["encoder"]["embeddings"], init_params(twin, 0)["encoder"]["embeddings"])


def test_a_student_starts_from_another_model_than_the_teacher(teacher: Teacher) -> None:
    # Five layers of the student's width, which the teacher does not have, and no masked-LM head.
    other = dataclasses.replace(STUDENT, num_hidden_layers=5)
    given = {name: tree for name, tree in init_params(other, 9).items() if name == "encoder"}
    config = dataclasses.replace(RECIPE, copy_layers=True, layer_map="last")
    deep = dataclasses.replace(STUDENT, num_hidden_layers=2)
    start = init_student(deep, teacher, config, 0, Start(other, given))["student"]
    own = init_params(deep, 0)
    assert equal(start["encoder"]["embeddings"], given["encoder"]["embeddings"])
    assert equal(start["encoder"]["layers"], jax.tree.map(lambda leaf: leaf[-2:], given["encoder"]["layers"]))
    assert equal(start["masked_lm"], own["masked_lm"])


def test_a_student_starts_as_a_whole_model(teacher: Teacher) -> None:
    given = init_params(STUDENT, 9)
    start = init_student(STUDENT, teacher, RECIPE, 0, Start(STUDENT, given, whole=True))["student"]
    assert equal(start["encoder"], given["encoder"]) and equal(start["masked_lm"], given["masked_lm"])
    wide = dataclasses.replace(STUDENT, hidden_size=32)
    with pytest.raises(StageError, match="encoder.*has shape"):
        init_student(wide, teacher, RECIPE, 0, Start(STUDENT, given, whole=True))


def test_positions_and_the_bias_by_distance_go_with_the_layers(teacher: Teacher) -> None:
    shared = dataclasses.replace(teacher.encoder, position_offset=2, relative_attention_num_buckets=8)
    source = Teacher(shared, init_params(shared, 7))
    twin = dataclasses.replace(shared, num_hidden_layers=2)
    start = start_of(twin, source, copy_layers=True)["student"]["encoder"]
    bias = "relative_attention_bias"
    assert np.array_equal(start[bias], source.params["encoder"][bias])
    assert equal(start["embeddings"], source.params["encoder"]["embeddings"])
    # Without the layers the bias is the student's own; with another offset so are the positions.
    other = dataclasses.replace(twin, position_offset=0)
    own, alone = init_params(other, 0)["encoder"], start_of(other, source)["student"]["encoder"]
    assert np.array_equal(alone[bias], own[bias])
    changed = {name for name in own["embeddings"] if not equal(own["embeddings"][name], alone["embeddings"][name])}
    assert changed == {"word_embeddings", "token_type_embeddings", "transformation"}
    without = dataclasses.replace(twin, relative_attention_num_buckets=0)
    for build in (init_student, lambda s, t, c, _: student_shapes(s, t.encoder, c)):
        with pytest.raises(StageError, match="encoder.*relative_attention_bias.*None in the student"):
            build(without, source, dataclasses.replace(RECIPE, copy_layers=True), 0)


def test_layers_of_other_shapes_are_refused_in_one_line(teacher: Teacher) -> None:
    with pytest.raises(StageError, match="copy_layers.*has shape.*in the student.*in the model") as caught:
        start_of(STUDENT, teacher, copy_layers=True)
    assert "\n" not in str(caught.value)


class Stop(Exception):  # noqa: N818
    """Ends a run from a hook."""


def states(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Records name and parameters at the end of each phase, before the next one donates them."""
    seen: list[tuple[str, Any]] = []
    original = phase_module.fit

    def recorded(start: Any, steps: Any, job: TrainingJob, **options: Any) -> Any:
        state, report = original(start, steps, job, **options)
        seen.append((job.name, jax.tree.map(np.array, state.params)))
        return state, report

    monkeypatch.setattr(phase_module, "fit", recorded)
    return seen


def test_what_moves_and_when(teacher: Teacher, rows: TokenArrays, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = states(monkeypatch)
    before = jax.tree.map(np.array, teacher.params)
    start = start_of(STUDENT, teacher)["student"]
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
    original = phase_module.fit
    seen: list[Any] = []

    def first_stage(state: Any, steps: Any, job: TrainingJob, **options: Any) -> Any:
        state, _ = original(state, dataclasses.replace(steps, total=steps.total // 2), job, **options)
        seen.append(state.params["student"]["encoder"]["layers"])
        raise Stop

    monkeypatch.setattr(phase_module, "fit", first_stage)
    with pytest.raises(Stop):
        run(RECIPE, teacher, rows)
    start = start_of(STUDENT, teacher)["student"]["encoder"]["layers"]
    for a, b in zip(jax.tree.leaves(seen[0]), jax.tree.leaves(start), strict=True):
        assert np.array_equal(a[1], b[1])
    assert not np.array_equal(seen[0]["query"]["kernel"][0], start["query"]["kernel"][0])


def test_distilling_lowers_the_loss(teacher: Teacher, rows: TokenArrays, tmp_path: Path) -> None:
    # One word throughout, which every student learns: of words by chance there is nothing to learn in so few steps.
    ids = np.where(rows.features["input_ids"] > SPECIAL.mask_id, 7, rows.features["input_ids"])
    constant = TokenArrays(Path(), {"input_ids": ids}, {"rows": len(ids)})
    recipe = with_steps(RECIPE, 60, 100)
    stood = dataclasses.replace(OPTIMIZER, learning_rate=0.0)
    still = tuple(dataclasses.replace(phase, optimizer=stood) for phase in recipe.phases)
    shares = {}
    for name, given in (("learns", recipe), ("still", dataclasses.replace(recipe, phases=still))):
        run(given, teacher, constant, tmp_path / name, trainer=TrainerConfig(log_every=1))
        losses = []
        for phase in ("transfer", "distillation"):
            lines = (tmp_path / name / phase / "metrics.jsonl").read_text().splitlines()
            losses += [json.loads(line)["loss"] for line in lines]
        # One at a time: the losses of the transfer's two stages and of the other phase do not compare.
        parts = losses[:60], losses[60:120], losses[120:]
        shares[name] = [np.mean(part[-8:]) / np.mean(part[:8]) for part in parts]
    # With other seeds for all 0.27 to 0.85; where nothing moves batches differ, by less than 0.02.
    assert max(shares["learns"]) < 0.95 < min(shares["still"])


def test_one_program_gives_the_same_parameters(teacher: Teacher, rows: TokenArrays, traces: Counter[Any]) -> None:
    one = run(RECIPE, teacher, rows)
    two = run(dataclasses.replace(RECIPE, one_program=False), teacher, rows)
    # Two programs may round in another order, which Adam's division carries on for a few steps.
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)
    # All stages of the transfer share a program here too.
    assert [traces[STUDENT, LAYERS, PhaseObjective.from_phases([phase]), "float32"] for phase in RECIPE.phases] == [
        1,
        1,
    ]


@pytest.mark.parametrize(("parts", "together"), [(1, 1), (2, 2)])
def test_teacher_in_the_step_gives_the_same_parameters(
    teacher: Teacher, rows: TokenArrays, parts: int, together: int
) -> None:
    """As a program of its own, and in the student's: whole, in parts, several steps at once; nothing is cached then."""
    trainer = TrainerConfig(teacher_in_step=True, gradient_accumulation_steps=parts, steps_per_dispatch=together)
    # Another map, so that losses of other tests are not traced here again.
    cache, recipe = TeacherCache(2**30), dataclasses.replace(RECIPE, layer_map="last")
    within = run(recipe, dataclasses.replace(teacher, cache=cache), rows, trainer=trainer)
    for a, b in zip(jax.tree.leaves(within), jax.tree.leaves(run(recipe, teacher, rows)), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)
    assert cache.computed == cache.live == 0


def test_every_stage_and_phase_runs_the_same_program(teacher: Teacher, rows: TokenArrays, traces: Counter[Any]) -> None:
    run(RECIPE, teacher, rows)
    run(with_steps(RECIPE, 1, 2), teacher, rows)
    # Two stages and a phase; a step calls its loss function only while it is traced for a compile.
    assert traces[STUDENT, LAYERS, PhaseObjective.from_phases(RECIPE.phases), "float32"] == 1


def test_phases_that_differ_in_numbers_alone_share_a_program(
    teacher: Teacher, rows: TokenArrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    heavier = {"masked_lm": 2.0}
    slower = dataclasses.replace(OPTIMIZER, learning_rate=1e-4, warmup_fraction=0.5)
    other = dataclasses.replace(DISTILL, name="again", optimizer=slower, weights=heavier, ground_truth_ratio=0.1)
    lamb = dataclasses.replace(DISTILL, name="lamb", optimizer=OptimizerConfig(name="lamb"))
    recipe = dataclasses.replace(RECIPE, phases=(DISTILL, other, TRANSFER, lamb), one_program=False)
    ran: dict[str, tuple[Any, Any]] = {}

    def not_run(phase: Any, params: Any, job: TrainingJob, **options: Any) -> Any:
        ran[phase.config.name] = phase.step, phase.optimizer
        return params

    monkeypatch.setattr(module, "run_phase", not_run)
    run(recipe, teacher, rows)
    assert ran[DISTILL.name][0] is ran["again"][0] and ran[DISTILL.name][1] is ran["again"][1]
    assert ran[DISTILL.name][0] is not ran[TRANSFER.name][0]
    assert ran[DISTILL.name][1] is not ran["lamb"][1]


def test_rows_without_pairs_are_refused_where_next_sentence_counts(teacher: Teacher, rows: TokenArrays) -> None:
    recipe = dataclasses.replace(
        RECIPE, phases=(dataclasses.replace(DISTILL, weights={"masked_lm": 1.0, "next_sentence": 1.0}),)
    )
    with pytest.raises(
        StageError, match=r"weights = .*'next_sentence': 1.0.* .*'distillation'.*DataConfig.sentence_pairs"
    ):
        run(recipe, teacher, rows)


def test_unmasked_input_reaches_student_and_teacher(
    teacher: Teacher, rows: TokenArrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    original = module.teacher_outputs

    def watched(encoder: Any, params: Any, batch: Any, *options: Any) -> Any:
        seen.append(np.asarray(batch.input_ids))
        return original(encoder, params, batch, *options)

    monkeypatch.setattr(module, "teacher_outputs", watched)
    phase = dataclasses.replace(TRANSFER, mask_input=False, per_layer=False, steps=2)
    for recipe in (phase, dataclasses.replace(phase, mask_input=True)):
        run(dataclasses.replace(RECIPE, phases=(recipe,)), teacher, rows)
    whole, masked = seen[:2], seen[2:]
    for one, two in zip(whole, masked, strict=True):
        assert not (one == SPECIAL.mask_id).any()
        assert (two == SPECIAL.mask_id).any()
        kept = two != SPECIAL.mask_id
        # All but the chosen places agree, up to the tenth of those that masking replaces by another token.
        assert (one == two)[kept].mean() > 0.9


def test_students_see_the_same_batches(teacher: Teacher, rows: TokenArrays) -> None:
    assert equal(run(RECIPE, teacher, rows), run(RECIPE, teacher, rows))
    assert not equal(run(RECIPE, teacher, rows), run(RECIPE, teacher, rows, seed=1))


@pytest.mark.parametrize("stop_at", [1, 5, 6, 10])
def test_an_interrupted_distillation_ends_with_the_same_bits(
    teacher: Teacher, rows: TokenArrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    whole = run(RECIPE, teacher, rows)
    original = module.take_rows

    def stopping(rows: TokenArrays, batch_size: int, step: int, *options: Any) -> Any:
        if step == stop_at:
            raise KeyboardInterrupt
        return original(rows, batch_size, step, *options)

    monkeypatch.setattr(module, "take_rows", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(RECIPE, teacher, rows, tmp_path)
    monkeypatch.setattr(module, "take_rows", original)
    assert equal(run(RECIPE, teacher, rows, tmp_path), whole)


def test_a_distillation_in_parts_ends_with_the_same_bits(teacher: Teacher, rows: TokenArrays, tmp_path: Path) -> None:
    whole, total = distill(STUDENT, teacher, RECIPE, rows, SPECIAL, TrainingJob("s"))
    seen: list[Any] = []
    # Inside a phase, twice at the same place, at the border of two phases, and beyond the end.
    first = RECIPE.phases[0].total_steps(STUDENT.num_hidden_layers)
    assert 3 < first < total - 2
    for stop, steps in ((3, 3), (3, 3), (first, first), (first + 2, first + 2), (total + 5, total)):
        params, done = distill(STUDENT, teacher, RECIPE, rows, SPECIAL, TrainingJob("s", tmp_path), stop_after=stop)
        assert done == steps
        seen.append(params)
    assert equal(seen[0], seen[1]) and not equal(seen[1], seen[2]) and not equal(seen[2], seen[3])
    assert equal(seen[-1], whole)


def test_students_that_share_a_cache_end_with_the_same_bits(teacher: Teacher, rows: TokenArrays) -> None:
    """A second student with all of the teacher's outputs kept, and one with room for some of them only."""
    alone = run(RECIPE, teacher, rows)
    large = TeacherCache(2**30)
    for _ in range(2):
        assert equal(run(RECIPE, dataclasses.replace(teacher, cache=large), rows), alone)
    steps = sum(phase.total_steps(STUDENT.num_hidden_layers) for phase in RECIPE.phases)
    assert (large.computed, large.reused, large.live) == (steps, steps, 0)
    small = TeacherCache(large.memory_bytes // 2)
    for _ in range(2):
        assert equal(run(RECIPE, dataclasses.replace(teacher, cache=small), rows), alone)
    assert small.live == 2 * (steps - small.computed) > 0
    # Other masks or another seed are other batches.
    other = run(RECIPE, dataclasses.replace(teacher, cache=large), rows, seed=1)
    assert large.computed == 2 * steps and not equal(other, alone)


def test_other_widths_and_heads_need_no_care(teacher: Teacher, rows: TokenArrays) -> None:
    narrow = dataclasses.replace(STUDENT, hidden_size=12, num_attention_heads=1, num_hidden_layers=1)
    params, steps = distill(narrow, teacher, RECIPE, rows, SPECIAL, TrainingJob("narrow"))
    assert steps == 3 + 5
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, init_params(narrow, 0))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
