"""The tables that say which parameter is divided how, and what joins processes; without devices."""

from __future__ import annotations

import dataclasses
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

import run_benchmark
from benchmark.config import EncoderConfig, MeshConfig, OptimizerConfig
from benchmark.models.heads import MaskedLM, SequenceModel, SpanModel
from benchmark.training import distributed, partitioning
from benchmark.training.optimizers import make_optimizer
from benchmark.training.state import init_state
from tasks.system.errors import BAD_INPUT, InputError, StageError
from tests.conftest import NUMERICS_FLAG

MOBILEBERT = EncoderConfig()
BERT = EncoderConfig(
    embedding_size=256,
    hidden_size=256,
    num_hidden_layers=2,
    intra_bottleneck_size=None,
    intermediate_size=1024,
    num_feedforward_networks=1,
    trigram_input=False,
    key_query_shared_bottleneck=False,
    pooler="tanh",
)
ELECTRA = dataclasses.replace(BERT, embedding_size=128, embedding_projection=True, pooler="gelu")
MPNET = dataclasses.replace(BERT, position_offset=2, type_vocab_size=0, relative_attention_num_buckets=32)
MESH: Any = AbstractMesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)


def shapes(encoder: EncoderConfig) -> Any:
    """Parameters of every model on an encoder, without values."""
    ids = jnp.zeros((1, 8), jnp.int32)
    models: list[tuple[Any, int]] = [(MaskedLM(encoder), 4), (SpanModel(encoder), 3)]
    models += [(SequenceModel(encoder, 3, head=head), 3) for head in ("classifier", "next_sentence")]
    key = jax.random.key(0)
    return [jax.eval_shape(model.init, key, *[ids] * count)["params"] for model, count in models]


def specs(tree: Any) -> dict[str, PartitionSpec]:
    found = jax.tree.leaves_with_path(partitioning.shardings(MESH, tree))
    return {jax.tree_util.keystr(path, simple=True, separator="/"): where.spec for path, where in found}


@pytest.mark.parametrize("encoder", [MOBILEBERT, BERT, ELECTRA, MPNET])
def test_every_parameter_is_in_the_table(encoder: EncoderConfig) -> None:
    for path, leaf in jax.tree.leaves_with_path(shapes(encoder)):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        assert partitioning.dimension_names(name, len(leaf.shape)) is not None, name


def test_the_second_of_two_maps_is_divided_by_its_inputs() -> None:
    found = specs(shapes(BERT)[0])
    layers = "encoder/layers/"
    for name in ("query", "key", "value", "intermediate_0"):
        assert found[f"{layers}{name}/kernel"] == PartitionSpec(None, None, "model")
        assert found[f"{layers}{name}/bias"] == PartitionSpec(None, "model")
    for name in ("attention_output", "output_0"):
        assert found[f"{layers}{name}/kernel"] == PartitionSpec(None, "model", None)
        assert found[f"{layers}{name}/bias"] == PartitionSpec(None, None)
    assert found["encoder/embeddings/word_embeddings"] == PartitionSpec("model", None)
    assert found["masked_lm/bias"] == PartitionSpec("model")
    assert not any("data" in spec for spec in found.values())


def test_what_a_mesh_axis_does_not_divide_stays_whole() -> None:
    # 30,522 words divide by 2, but not by 4; the feed-forward networks divide by both.
    for devices, words in ((2, "model"), (4, None)):
        mesh: Any = AbstractMesh((1, devices), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
        found = partitioning.shardings(mesh, shapes(BERT)[0])["encoder"]
        assert found["embeddings"]["word_embeddings"].spec == PartitionSpec(words, None)
        assert found["layers"]["intermediate_0"]["kernel"].spec == PartitionSpec(None, None, "model")


@pytest.mark.parametrize("optimizer", ["adamw", "lamb"])
def test_the_optimizer_follows_its_parameters(optimizer: str) -> None:
    small = dataclasses.replace(BERT, vocab_size=64, hidden_size=16, embedding_size=16, intermediate_size=32)
    update = make_optimizer(OptimizerConfig(name=optimizer))
    state = jax.eval_shape(lambda p: init_state(p, update), shapes(small)[0])
    found = specs(state)
    parameters = {k.removeprefix("params/"): v for k, v in found.items() if k.startswith("params/")}
    for path, spec in parameters.items():
        moments = [v for k, v in found.items() if k.startswith("opt_state/") and k.endswith("/" + path)]
        assert moments == [spec] * 2, path
    rest = [v for k, v in found.items() if not k.endswith(tuple("/" + path for path in parameters))]
    assert set(rest) == {PartitionSpec()}


@hypothesis.given(
    shape=st.lists(st.integers(1, 64), min_size=1, max_size=4).map(tuple),
    data=st.integers(1, 8),
    model=st.integers(1, 8),
)
def test_parts_are_even(shape: tuple[int, ...], data: int, model: int) -> None:
    names = ("batch", "heads", "length", "embed")[: len(shape)]
    sizes = {"data": data, "model": model}
    spec = partitioning.partition(sizes, names, shape)
    for axis, size, limit in zip(spec, shape, (data, model, 1, 1), strict=False):
        assert size % sizes.get(axis, 1) == 0
        assert (axis is not None) == (size % limit == 0 and axis in sizes)


def test_one_device_changes_nothing() -> None:
    rows = {"ids": np.arange(6).reshape(3, 2)}
    assert partitioning.make_mesh(MeshConfig(data=1)) is None
    assert partitioning.place_rows(None, rows, 3) is rows
    assert partitioning.divide_rows(None, rows) is rows
    assert partitioning.constrain(None, rows) is rows
    assert partitioning.own_rows(None, 3).tolist() == [0, 1, 2]


def test_a_mesh_larger_than_the_machine_is_refused() -> None:
    count = jax.device_count()
    with pytest.raises(StageError, match=rf"MeshConfig.data = {count}, MeshConfig.model = 2: expected at most {count}"):
        partitioning.make_mesh(MeshConfig(data=count, model=2))
    with pytest.raises(StageError, match="expected at most"):
        partitioning.make_mesh(MeshConfig(model=count + 1))


def test_a_batch_that_does_not_divide_is_refused() -> None:
    partitioning.check_batch(MESH, "PretrainConfig.batch_size", 8)
    with pytest.raises(StageError, match=r"PretrainConfig.batch_size = 10: expected a multiple of 4"):
        partitioning.check_batch(MESH, "PretrainConfig.batch_size", 10)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"JAX_COORDINATOR_ADDRESS": "host:1"}, "JAX_NUM_PROCESSES is not set"),
        ({"JAX_PROCESS_ID": "0", "JAX_NUM_PROCESSES": "2"}, "JAX_COORDINATOR_ADDRESS is not set"),
        (
            {"JAX_COORDINATOR_ADDRESS": "host:1", "JAX_PROCESS_ID": "2", "JAX_NUM_PROCESSES": "2"},
            "JAX_NUM_PROCESSES=2, JAX_PROCESS_ID=2: expected",
        ),
        (
            {"JAX_COORDINATOR_ADDRESS": "host:1", "JAX_PROCESS_ID": "one", "JAX_NUM_PROCESSES": "2"},
            "JAX_PROCESS_ID=one: expected",
        ),
        (
            {"JAX_COORDINATOR_ADDRESS": "host", "JAX_PROCESS_ID": "0", "JAX_NUM_PROCESSES": "2"},
            "JAX_COORDINATOR_ADDRESS=host: expected",
        ),
    ],
)
def test_processes_that_cannot_be_found(environment: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        distributed.join(environment)


def test_a_wrong_environment_is_bad_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
    command = ["--gin_file=gin/quickstart.gin", "--distributed", f"--workdir={tmp_path / 'run'}", NUMERICS_FLAG]
    assert run_benchmark.main(command) == BAD_INPUT
    assert capsys.readouterr().err.startswith("error: --distributed: JAX_COORDINATOR_ADDRESS is not set")
    assert not (tmp_path / "run").exists()


def test_a_process_by_itself_leads() -> None:
    assert distributed.is_leader()
    assert distributed.process_count() == 1
    assert distributed.broadcast({"a": [1]}) == {"a": [1]}
    distributed.wait("nobody")
    assert distributed.one_at_a_time(lambda job: job + 1)(1) == 2
    # Only a process that failed beside others ends here.
    distributed.leave(1)
