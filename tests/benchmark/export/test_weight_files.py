"""Files of weights: shards, pickles and training states in them, and what is found without reading the content."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from benchmark.export import checkpoint_files
from benchmark.export.weight_files import read_headers, read_tensors, shard_names
from benchmark.models.hugging_face import CheckpointError
from tests.helpers.hugging_face_models import plain, random_parameters


@pytest.mark.parametrize("shard", [5, None, [], "", "..", "../model.safetensors", "/etc/passwd", "a" * 400])
def test_shards_are_files_in_the_folder_of_their_index(tmp_path: Path, shard: Any) -> None:
    checkpoint_files.write(tmp_path, plain(), random_parameters(plain(), ""))
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": shard}}))
    with pytest.raises(CheckpointError, match="name of a file in the folder of the index"):
        shard_names(tmp_path)
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
        ({"a": 1}, "has the keys 'a'; names of tensors are expected"),
        ({3: torch.zeros(2)}, "has the keys 3; names of tensors are expected"),
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


STATE = {"a": torch.arange(6.0).reshape(2, 3), "b.weight": torch.ones(2, dtype=torch.bfloat16)}


@pytest.mark.parametrize("key", ["model", "state_dict", "model_state_dict"])
def test_the_tensors_of_a_training_state_are_read(tmp_path: Path, key: str) -> None:
    optimizer = {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]}
    torch.save({key: STATE, "epoch": 3, "optimizer": optimizer, "args": None}, tmp_path / "pytorch_model.bin")
    found = read_tensors(tmp_path, allow_pickle=True)
    assert {name: value.dtype.name for name, value in found.items()} == {"a": "float32", "b.weight": "float32"}
    np.testing.assert_array_equal(found["a"], [[0, 1, 2], [3, 4, 5]])
    shapes = {name: value.shape for name, value in read_headers(tmp_path, allow_pickle=True).items()}
    assert shapes == {"a": (2, 3), "b.weight": (2,)}
    with pytest.raises(CheckpointError, match="is a pickle file"):
        read_tensors(tmp_path, allow_pickle=False)


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        ({"epoch": 3, "lr": 0.1}, "has the keys 'epoch', 'lr'; names of tensors are expected, or a training state"),
        ({"model": STATE, "ema": STATE}, "has the keys 'model', 'ema', and 2 of them are dictionaries of tensors"),
        ({f"k{i}": i for i in range(11)}, "'k7' and 3 more; names of tensors"),
        ({}, r"has the keys \(none\)"),
    ],
)
def test_a_pickle_without_one_model_names_its_keys(tmp_path: Path, content: Any, keys: str) -> None:
    torch.save(content, tmp_path / "pytorch_model.bin")
    for reading in (read_tensors, read_headers):
        with pytest.raises(CheckpointError, match=f"pytorch_model.bin: .*{keys}") as caught:
            reading(tmp_path, True)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("part", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_found_without_reading_its_content(tmp_path: Path, name: str, part: float) -> None:
    state = {"a": torch.zeros(300, 20), "b": torch.zeros(7)}
    if name.endswith("bin"):
        torch.save(state, tmp_path / name)
    else:
        save_file({key: value.numpy() for key, value in state.items()}, tmp_path / name)
    assert {k: v.shape for k, v in read_headers(tmp_path, True).items()} == {"a": (300, 20), "b": (7,)}
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * part)])
    for reading in (read_headers, read_tensors):
        with pytest.raises(CheckpointError, match=f"{name}: damaged"):
            reading(tmp_path, True)
