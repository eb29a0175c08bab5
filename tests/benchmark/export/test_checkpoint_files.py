"""Files of Hugging Face checkpoints: old names, shards, pickles, and refusals."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from benchmark.export import checkpoint_files
from benchmark.models.hugging_face import CheckpointError
from tests.helpers.hugging_face_models import plain, random_parameters


@pytest.mark.parametrize("head", ["", "masked_lm", "classifier"])
def test_old_names_shards_and_half_precision_are_read(tmp_path: Path, head: str) -> None:
    config = plain()
    params = random_parameters(config, head)
    checkpoint_files.write(tmp_path, config, params)
    state = load_file(tmp_path / "model.safetensors")
    old = {
        k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
        for k, v in state.items()
    }
    prefix = "bert." if head else ""
    old[f"{prefix}embeddings.position_ids"] = np.arange(16)[None]
    if head == "masked_lm":
        old["cls.predictions.decoder.weight"] = old["bert.embeddings.word_embeddings.weight"]
    names = sorted(old)
    (tmp_path / "model.safetensors").unlink()
    for part in range(2):
        half = {
            name: old[name].astype(np.float16) if old[name].dtype == np.float32 else old[name]
            for name in names[part::2]
        }
        save_file(half, tmp_path / f"model-{part}.safetensors")
    places = {name: f"model-{i % 2}.safetensors" for i, name in enumerate(names)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    found = checkpoint_files.read(tmp_path)
    rounded = jax.tree.map(lambda x: x.astype(np.float16).astype(np.float32), params)
    assert jax.tree.all(jax.tree.map(np.array_equal, found.params, rounded))


def test_pickles_are_read_only_when_asked_for(tmp_path: Path) -> None:
    config = plain()
    params = random_parameters(config, "masked_lm")
    checkpoint_files.write(tmp_path, config, params)
    state = {name: torch.from_numpy(value) for name, value in load_file(tmp_path / "model.safetensors").items()}
    (tmp_path / "model.safetensors").unlink()
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pickle file.*--allow_pickle"):
        checkpoint_files.read(tmp_path)
    found = checkpoint_files.read(tmp_path, allow_pickle=True)
    assert jax.tree.all(jax.tree.map(np.array_equal, found.params, params))
    torch.save({"x": Path("more than tensors")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="more than tensors"):
        checkpoint_files.read(tmp_path, allow_pickle=True)


def test_every_tensor_is_accounted_for(tmp_path: Path) -> None:
    config = plain()
    checkpoint_files.write(tmp_path, config, random_parameters(config, "masked_lm"))
    path = tmp_path / "model.safetensors"
    good = load_file(path)
    key = "bert.encoder.layer.1.output.dense.weight"

    def refused(state: dict[str, np.ndarray], message: str) -> None:
        save_file({name: np.ascontiguousarray(value) for name, value in state.items()}, path)
        with pytest.raises(CheckpointError, match=message) as caught:
            checkpoint_files.read(tmp_path)
        assert "\n" not in str(caught.value)

    refused(good | {"bert.surprise": np.zeros(2, np.float32)}, "unknown: surprise")
    refused(
        {name: value for name, value in good.items() if name != key}, "missing: encoder.layer.1.output.dense.weight"
    )
    refused(good | {key: good[key].T}, r"shape \(40, 24\), expected \(24, 40\)")
    refused(good | {key: good[key].astype(np.int8)}, "is int8")
    table = good["bert.embeddings.word_embeddings.weight"]
    refused(good | {"cls.predictions.decoder.weight": table + 1}, "only tied output embeddings")
    path.write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint_files.read(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model_type": "albert"},
            "model_type is 'albert'; accepted: bert, distilbert, electra, mobilebert, mpnet, roberta",
        ),
        ({"hidden_act": "swish"}, "hidden_act is 'swish'; accepted: relu"),
        ({"position_embedding_type": "relative_key"}, "accepted: absolute"),
        ({"num_attention_heads": 5}, "num_attention_heads"),
        ({"hidden_size": None}, "hidden_size"),
    ],
)
def test_other_architectures_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    config = checkpoint_files.write(tmp_path, plain(), random_parameters(plain(), ""))
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(CheckpointError, match=message):
        checkpoint_files.read(tmp_path)


@pytest.mark.parametrize("shard", [5, None, [], "", "..", "../model.safetensors", "/etc/passwd", "a" * 400])
def test_shards_are_files_in_the_folder_of_their_index(tmp_path: Path, shard: Any) -> None:
    checkpoint_files.write(tmp_path, plain(), random_parameters(plain(), ""))
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": shard}}))
    with pytest.raises(CheckpointError, match="name of a file in the folder of the index"):
        checkpoint_files.shard_names(tmp_path)
    with pytest.raises(CheckpointError, match="name of a file in the folder of the index"):
        checkpoint_files.read(tmp_path)


def test_a_tensor_in_another_shard_than_the_index_says_is_refused(tmp_path: Path) -> None:
    checkpoint_files.write(tmp_path, plain(), random_parameters(plain(), ""))
    state = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    first = min(state)
    save_file(state, tmp_path / "one.safetensors")
    save_file({first: state[first] + 1}, tmp_path / "two.safetensors")
    places = dict.fromkeys(state, "one.safetensors") | {first: "two.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(CheckpointError, match=f"one.safetensors: holds {first}, which the index has in another"):
        checkpoint_files.read(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "holds a list; a dictionary of tensors"),
        ({"a": 1}, "'a' is a int; names of tensors"),
        ({3: torch.zeros(2)}, "3 is a Tensor; names of tensors"),
        ({"a": torch.zeros(2, dtype=torch.complex64)}, "a is complex64; accepted: float16"),
        (None, r"pytorch_model.bin: damaged, or more than tensors \(EOFError\)"),
    ],
)
def test_pickles_of_anything_but_named_tensors_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    checkpoint_files.write(tmp_path, plain(), random_parameters(plain(), ""))
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").touch()
    if content is not None:
        torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=message):
        checkpoint_files.read(tmp_path, allow_pickle=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"is_decoder": True}, "config.json: is_decoder is True; only encoders"),
        ({"add_cross_attention": True}, "add_cross_attention is True; only encoders"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads is .*all of their heads"),
        ({"quantization_config": {"bits": 8}}, "quantization_config is .*not quantized"),
        ({"hidden_act": ["gelu"]}, r"hidden_act is \['gelu'\]; accepted: relu"),
    ],
)
def test_members_that_make_another_model_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    values = checkpoint_files.write(tmp_path, plain(), random_parameters(plain(), ""))
    (tmp_path / "config.json").write_text(json.dumps(values | {"is_decoder": False, "pruned_heads": {}}))
    checkpoint_files.read_config(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(values | change))
    with pytest.raises(CheckpointError, match=message):
        checkpoint_files.read_config(tmp_path)


def test_a_configuration_nested_too_deeply_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match="config.json: maximum recursion depth"):
        checkpoint_files.read_config(tmp_path)
