"""The shipped recipes: their numbers, and a short distillation with each.

The numbers are written out here a second time, from the sources that the gin files name.
"""

import dataclasses
import importlib
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
import pytest

from benchmark.cli.gin_loader import load_run_config
from benchmark.config import ConfigError, DistillConfig, EncoderConfig, OptimizerConfig, PhaseConfig
from benchmark.distillation.distill import distill
from benchmark.distillation.initial import init_student
from benchmark.distillation.phases import run_phase
from benchmark.distillation.rates import group_of
from benchmark.distillation.teacher_cache import Teacher
from benchmark.training.job import TrainingJob
from benchmark.training.masking import SpecialTokens
from benchmark.training.pretrain import init_params
from tasks.arrays.token_arrays import TokenArrays
from tasks.system.repository import REPOSITORY

module: Any = importlib.import_module(distill.__module__)
phase_module: Any = importlib.import_module(run_phase.__module__)

NAMES = ("distilbert", "minilm", "mobilebert", "tinybert")
ADAM = OptimizerConfig(name="adamw", weight_decay=0.01, clip_norm=1.0, beta1=0.9, beta2=0.999, epsilon=1e-6)
LAMB = dataclasses.replace(ADAM, name="lamb", learning_rate=1.5e-3)

PUBLISHED = {
    "mobilebert": DistillConfig(
        recipe="mobilebert",
        batch_size=2048,
        mask_rate=0.0392,
        phases=(
            PhaseConfig(
                name="transfer",
                steps=10_000,
                per_layer=True,
                frozen=("embeddings", "heads"),
                weights={"feature_map": 100.0, "feature_mean": 5000.0, "feature_variance": 5.0, "attention": 1.0},
                optimizer=dataclasses.replace(LAMB, warmup_fraction=0.0, end_factor=1.0),
            ),
            PhaseConfig(
                name="distillation",
                steps=500_000,
                weights={"masked_lm": 1.0, "next_sentence": 1.0},
                ground_truth_ratio=0.5,
                optimizer=dataclasses.replace(LAMB, warmup_fraction=0.02, end_factor=1e-4, decay_from="start"),
            ),
        ),
    ),
    "tinybert": DistillConfig(
        recipe="tinybert",
        batch_size=256,
        copy_embeddings=False,
        phases=(
            PhaseConfig(
                name="general",
                steps=round(3 * 2.5e9 / (256 * 128)),
                mask_input=False,
                frozen=("heads",),
                weights={"embedding": 1.0, "hidden": 1.0, "attention_score": 1.0},
                optimizer=dataclasses.replace(ADAM, learning_rate=5e-5, warmup_fraction=0.1),
            ),
        ),
    ),
    "distilbert": DistillConfig(
        recipe="distilbert",
        batch_size=4096,
        layer_map="skip",
        copy_layers=True,
        phases=(
            PhaseConfig(
                name="triple",
                steps=round(3 * 3.3e9 / (4096 * 512)),
                layers="last",
                frozen=("position_embeddings",),
                weights={"soft_cross_entropy": 5.0, "masked_lm": 2.0, "cosine": 1.0},
                temperature=2.0,
                optimizer=OptimizerConfig(
                    name="adamw",
                    learning_rate=5e-4,
                    warmup_fraction=0.05,
                    weight_decay=0.0,
                    clip_norm=5.0,
                    beta2=0.98,
                ),
            ),
        ),
    ),
    "minilm": DistillConfig(
        recipe="minilm",
        batch_size=1024,
        copy_embeddings=False,
        phases=(
            PhaseConfig(
                name="relations",
                steps=400_000,
                layers="last",
                frozen=("heads",),
                weights={"attention_relation": 1.0, "value_relation": 1.0},
                optimizer=dataclasses.replace(ADAM, learning_rate=5e-4, warmup_fraction=0.01),
            ),
        ),
    ),
}

# A masked-LM head for students whose recipe trains none, so that a search can rank them (docs/distillation.md).
PROBE = """
probe/PhaseConfig.name = 'probe'
probe/PhaseConfig.steps = 10
probe/PhaseConfig.frozen = ('embeddings', 'layers')
probe/PhaseConfig.weights = {'masked_lm': 1.0}
probe/PhaseConfig.optimizer = @probe/OptimizerConfig()
"""
ONLY_PHASE = {"tinybert": "general", "minilm": "relations"}


def load_recipe(name: str, directory: Path) -> DistillConfig:
    """A shipped recipe inside a run whose own distillation it replaces."""
    run = (REPOSITORY / "tests" / "e2e" / "tiny.gin").read_text(encoding="utf-8")
    run = "\n".join(
        line
        for line in run.splitlines()
        if not line.startswith(("DistillConfig.", "transfer/", "distill/")) and "gin/distill" not in line
    )
    text = f"{run}\ninclude 'gin/distill/{name}.gin'\n"
    if name in ONLY_PHASE:
        text += PROBE + f"DistillConfig.phases = (@{ONLY_PHASE[name]}/PhaseConfig(), @probe/PhaseConfig())\n"
    file = directory / "run.gin"
    file.write_text(text, encoding="utf-8")
    recipe: Any = load_run_config([str(file)], []).distill
    if name in ONLY_PHASE:
        assert recipe.phases[1].frozen == ("embeddings", "layers")
        recipe = dataclasses.replace(recipe, phases=recipe.phases[:1])
    return cast(DistillConfig, recipe)


def test_every_shipped_recipe_is_tested() -> None:
    shipped = {path.stem for path in (REPOSITORY / "gin" / "distill").glob("*.gin")}
    # Recipes of tasks: tests/benchmark/distillation/test_task.py.
    assert sorted(shipped - {"tinybert_task"}) == sorted(PUBLISHED) == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_numbers_are_the_published_ones(name: str, tmp_path: Path) -> None:
    assert load_recipe(name, tmp_path) == PUBLISHED[name]


def test_schedule_arithmetic_of_mobilebert() -> None:
    recipe = PUBLISHED["mobilebert"]
    assert [phase.total_steps(24) for phase in recipe.phases] == [240_000, 500_000]
    # Five per cent: 24 x 500 + 25,000 = 37,000 steps of 740,000.
    assert sum(phase.total_steps(24) for phase in recipe.scaled(0.05).phases) == 37_000


@pytest.mark.parametrize("name", ONLY_PHASE)
def test_a_search_refuses_a_recipe_that_trains_no_masked_lm_head(name: str, tmp_path: Path) -> None:
    run = load_run_config([str(REPOSITORY / "tests" / "e2e" / "tiny.gin")], [])
    with pytest.raises(ConfigError, match="the search ranks by masked_lm_accuracy"):
        dataclasses.replace(run, distill=PUBLISHED[name])


SPECIAL = SpecialTokens(vocab_size=40, pad_id=0, cls_id=2, sep_id=3, mask_id=4)
TEACHER = EncoderConfig(
    vocab_size=40,
    embedding_size=16,
    hidden_size=16,
    num_hidden_layers=4,
    num_attention_heads=4,
    intra_bottleneck_size=None,
    intermediate_size=16,
    num_feedforward_networks=1,
    normalization_type="layer_norm",
    key_query_shared_bottleneck=False,
    trigram_input=False,
    max_position_embeddings=16,
    initializer_range=0.3,
)
NARROW = dataclasses.replace(
    TEACHER, embedding_size=12, hidden_size=12, num_hidden_layers=2, num_attention_heads=2, initializer_range=0.1
)
STUDENTS = {
    "mobilebert": dataclasses.replace(
        TEACHER,
        num_hidden_layers=2,
        intra_bottleneck_size=8,
        intermediate_size=8,
        normalization_type="no_norm",
        key_query_shared_bottleneck=True,
        initializer_range=0.1,
    ),
    "tinybert": NARROW,
    "distilbert": dataclasses.replace(TEACHER, num_hidden_layers=2),
    "minilm": NARROW,
}
EVERY = {"embeddings", "position_embeddings", "layers", "heads"}
# What moves in each phase. MiniLM's student is compared by its last layer, to which all others lead.
MOVING = {
    "mobilebert": [{"layers"}, EVERY],
    "tinybert": [EVERY - {"heads"} | {"projection", "embedding_projection"}],
    "distilbert": [EVERY - {"position_embeddings"}],
    "minilm": [EVERY - {"heads"}],
}


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    return Teacher(TEACHER, init_params(TEACHER, 7))


@pytest.fixture(scope="module")
def rows() -> TokenArrays:
    rng = np.random.default_rng(0)
    ids = rng.integers(5, 40, (16, 12)).astype(np.int32)
    ids[:, 0], ids[:, 5], ids[:, -1] = SPECIAL.cls_id, SPECIAL.sep_id, SPECIAL.sep_id
    types = np.repeat([[0] * 6 + [1] * 6], 16, axis=0).astype(np.uint8)
    labels = rng.integers(0, 2, 16).astype(np.int32)
    features: dict[str, np.ndarray] = {"input_ids": ids, "token_type_ids": types, "next_sentence_label": labels}
    return TokenArrays(Path(), features, {"rows": len(ids)})


def moved(before: Any, after: Any) -> set[str]:
    """Groups of which any parameter differs; all parameters of the others are equal to the bit."""
    found = set()
    for (path, one), (_, two) in zip(jax.tree.leaves_with_path(before), jax.tree.leaves_with_path(after), strict=True):
        names = tuple(entry.key for entry in path)
        if not np.array_equal(one, two):
            found.add(group_of(names[1:]) if names[0] == "student" else names[0])
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_short_distillation(name: str, teacher: Teacher, rows: TokenArrays, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = 40
    # The published rates are for steps by the hundred thousand.
    recipe = dataclasses.replace(
        PUBLISHED[name],
        batch_size=8,
        mask_rate=0.2,
        # Compiles once for both phases of MobileBERT.
        one_program=True,
        phases=tuple(
            dataclasses.replace(phase, steps=steps, optimizer=dataclasses.replace(phase.optimizer, learning_rate=0.02))
            for phase in PUBLISHED[name].phases
        ),
    )
    losses: list[float] = []
    ends: list[tuple[Any, Any]] = []
    make, train = module.make_train_step, phase_module.fit

    def recording(*arguments: Any, **options: Any) -> Any:
        step = make(*arguments, **options)

        def recorded(*inputs: Any) -> Any:
            state, metrics = step(*inputs)
            losses.append(float(metrics["loss"]))
            return state, metrics

        return recorded

    def watched(state: Any, *arguments: Any, **options: Any) -> Any:
        before = jax.tree.map(np.array, state.params)
        result = train(state, *arguments, **options)
        ends.append((before, jax.tree.map(np.array, result[0].params)))
        return result

    monkeypatch.setattr(module, "make_train_step", recording)
    monkeypatch.setattr(phase_module, "fit", watched)
    student = STUDENTS[name]
    params, total = distill(student, teacher, recipe, rows, SPECIAL, TrainingJob(name))
    assert total == len(losses) == sum(phase.total_steps(2) for phase in recipe.phases)
    # Stages of a transfer have losses of their own, as phases have.
    for first in range(0, total, steps):
        stage = losses[first : first + steps]
        assert np.mean(stage[-8:]) < np.mean(stage[:8]), (name, first)
    assert [moved(*end) for end in ends] == MOVING[name]
    # What is handed back is a student alone: no map between widths, no head that no phase has trained.
    pairs = name == "mobilebert"
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, init_params(student, 0, next_sentence=pairs))


def test_distilbert_starts_from_the_teachers_layers(teacher: Teacher) -> None:
    start = init_student(STUDENTS["distilbert"], teacher, PUBLISHED["distilbert"], 0)["student"]
    for own, source in zip(
        jax.tree.leaves(start["encoder"]["layers"]), jax.tree.leaves(teacher.params["encoder"]["layers"]), strict=True
    ):
        assert np.array_equal(own, np.asarray(source)[[0, 3]])
    for own, source in zip(
        jax.tree.leaves(start["encoder"]["embeddings"]),
        jax.tree.leaves(teacher.params["encoder"]["embeddings"]),
        strict=True,
    ):
        assert np.array_equal(own, source)
