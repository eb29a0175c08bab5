"""What moves in a phase, how fast, and which layers' losses count in a stage."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from benchmark.config import EncoderConfig, OptimizerConfig, PhaseConfig
from benchmark.distillation.rates import rate_factors, stage_weights
from benchmark.training.optimizers import learning_rate
from benchmark.training.pretrain import init_params

STUDENT = EncoderConfig(
    vocab_size=20,
    embedding_size=4,
    hidden_size=8,
    num_hidden_layers=3,
    num_attention_heads=2,
    intra_bottleneck_size=4,
    intermediate_size=4,
    num_feedforward_networks=1,
    max_position_embeddings=8,
    pooler="tanh",
)
PARAMS: dict[str, Any] = {
    "student": init_params(STUDENT, 0, next_sentence=True),
    "projection": {"kernel": np.zeros((8, 16), np.float32)},
}
PHASE = PhaseConfig(name="phase", steps=10, optimizer=OptimizerConfig(), weights={"hidden": 1.0})


def factors(phase: PhaseConfig, stage: int = 0) -> dict[str, Any]:
    """Factors in full size, by group of parameters; layers as a list of one array for each layer."""
    full = jax.tree.map(lambda p, r: np.broadcast_to(r, np.shape(p)), PARAMS, rate_factors(PARAMS, phase, stage, 3))
    student = full["student"]
    embeddings = dict(student["encoder"]["embeddings"])
    positions = embeddings.pop("position_embeddings")
    heads = {name: student[name] for name in ("masked_lm", "pooler", "next_sentence")}
    groups = {"embeddings": embeddings, "position_embeddings": positions, "heads": heads, "map": full["projection"]}
    layers = [jax.tree.map(lambda leaf, i=i: leaf[i], student["encoder"]["layers"]) for i in range(3)]
    return groups | {f"layer {i}": layer for i, layer in enumerate(layers)}


def values(phase: PhaseConfig, stage: int = 0) -> dict[str, float]:
    """The one factor of each group."""
    found = {}
    for group, tree in factors(phase, stage).items():
        every = {float(value) for leaf in jax.tree.leaves(tree) for value in np.unique(leaf)}
        assert len(every) == 1, group
        found[group] = every.pop()
    return found


def test_the_bias_by_distance_moves_with_the_positions() -> None:
    config = dataclasses.replace(STUDENT, relative_attention_num_buckets=4)
    params: dict[str, Any] = {"student": init_params(config, 0)}
    for frozen, moves in ((("position_embeddings",), 0.0), (("embeddings",), 0.0), (("layers",), 1.0)):
        rates = rate_factors(params, dataclasses.replace(PHASE, frozen=frozen), 0, 3)["student"]["encoder"]
        assert float(rates["relative_attention_bias"].max()) == moves


ALL = ("embeddings", "position_embeddings", "heads", "map", "layer 0", "layer 1", "layer 2")


@pytest.mark.parametrize(
    ("frozen", "still"),
    [
        ((), set()),
        (("position_embeddings",), {"position_embeddings"}),
        (("embeddings",), {"embeddings", "position_embeddings"}),
        (("heads",), {"heads"}),
        (("embeddings", "layers"), {"embeddings", "position_embeddings", "layer 0", "layer 1", "layer 2"}),
    ],
)
def test_frozen_groups_have_factor_0(frozen: tuple[str, ...], still: set[str]) -> None:
    found = values(dataclasses.replace(PHASE, frozen=frozen))
    assert found == {group: 0.0 if group in still else 1.0 for group in ALL}


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_layers_of_a_stage(stage: int) -> None:
    soft = dataclasses.replace(
        PHASE, per_layer=True, current_layer_rate=3.0, earlier_layers_rate=0.3, frozen=("embeddings", "heads")
    )
    found = values(soft, stage)
    assert found.pop("map") == 1.0
    assert [found.pop(group) for group in ALL[:3]] == [0.0, 0.0, 0.0]
    expected = [0.3] * stage + [3.0] + [0.0] * (2 - stage)
    assert [found[f"layer {i}"] for i in range(3)] == pytest.approx(expected)


def test_shapes_are_those_of_every_stage_and_phase() -> None:
    stages = dataclasses.replace(PHASE, per_layer=True)
    frozen = dataclasses.replace(PHASE, frozen=("layers", "heads"))
    shapes = [
        jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), rate_factors(PARAMS, phase, stage, 3))
        for phase, stage in [(PHASE, 0), (stages, 0), (stages, 2), (frozen, 0)]
    ]
    assert all(one == shapes[0] for one in shapes)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # MobileBERT's TF2 program: the layer of the stage alone, over the number of the stage.
        ("current", [[1, 0, 0], [0, 1 / 2, 0], [0, 0, 1 / 3]]),
        # Its TF1 program: the layer of the stage alone, over the number of layers.
        ("gated", [[1 / 3, 0, 0], [0, 1 / 3, 0], [0, 0, 1 / 3]]),
        ("mean", [[1, 0, 0], [1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3]]),
    ],
)
def test_stage_losses(kind: str, expected: list[list[float]]) -> None:
    phase = dataclasses.replace(PHASE, per_layer=True, stage_loss=kind)
    found = [stage_weights(phase, stage, 3) for stage in range(3)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert stage_weights(PHASE, 0, 3).tolist() == [1.0, 1.0, 1.0]


def test_decay_from_the_start_is_that_of_berts_program() -> None:
    # Warm-up as a share of the peak, then the line from the peak at step 0 to the end at the last step.
    config = OptimizerConfig(learning_rate=1.5e-3, warmup_fraction=0.02, end_factor=1e-4, decay_from="start")
    total = 500_000
    for step in (0, 9_998, 9_999):
        assert learning_rate(config, step, total) == pytest.approx(1.5e-3 * (step + 1) / 10_000)
    for step in (10_000, 250_000, 499_999):
        expected = (1.5e-3 - 1.5e-7) * (1 - step / total) + 1.5e-7
        assert learning_rate(config, step, total) == pytest.approx(expected, rel=1e-9)


def test_an_end_factor_of_one_is_a_constant_rate() -> None:
    config = OptimizerConfig(learning_rate=0.5, warmup_fraction=0.2, end_factor=1.0)
    assert [learning_rate(config, step, 10) for step in range(10)] == [0.25, *[0.5] * 9]
