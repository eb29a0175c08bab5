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
