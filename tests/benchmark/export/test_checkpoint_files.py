"""Files of Hugging Face checkpoints: old names, shards, pickles, and refusals."""

import json
from collections.abc import Callable
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 10**30}, r"config.json: EncoderConfig.vocab_size = 10{30}: expected int >= 8 <= 2147483647"),
        ({"layer_norm_eps": 10**400}, r"config.json: EncoderConfig.layer_norm_eps = 10+: expected float"),
        ({"num_hidden_layers": 10**9}, r"config.json has num_hidden_layers = 1000000000, the weights 2"),
        ({"vocab_size": 2**31 - 1}, r"word_embeddings.weight has shape \(50, 24\), expected \(2147483647, 24\)"),
        ({"hidden_size": 2**31 - 2}, r"has shape .*expected .*2147483646"),
    ],
)
def test_absurd_sizes_are_refused_without_the_content_of_the_weights(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    values = checkpoint_files.write(tmp_path, plain(), random_parameters(plain(), ""))
    assert checkpoint_files.check(tmp_path) == ()
    (tmp_path / "config.json").write_text(json.dumps(values | change))
    for reading in (checkpoint_files.check, checkpoint_files.read):
        with pytest.raises(CheckpointError, match=message):
            reading(tmp_path)


def rename(directory: Path, change: Callable[[str], str], **more: np.ndarray) -> dict[str, np.ndarray]:
    """Writes the tensors of a directory under other names, with some more."""
    path = directory / "model.safetensors"
    state = {change(name): value for name, value in load_file(path).items()} | more
    save_file(state, path)
    return state


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_of_wrappers_are_left_out(tmp_path: Path, prefix: str) -> None:
    params = random_parameters(plain(), "masked_lm")
    checkpoint_files.write(tmp_path, plain(), params)
    rename(tmp_path, lambda name: prefix + name)
    found = checkpoint_files.read(tmp_path)
    assert jax.tree.all(jax.tree.map(np.array_equal, found.params, params)) and not found.notes
    # A prefix that not every name has is a part of the names.
    rename(tmp_path, lambda name: name, extra=np.zeros(1, np.float32))
    with pytest.raises(CheckpointError, match=rf"no name begins with 'encoder.layer.0.'.*; found: .*{prefix}"):
        checkpoint_files.read(tmp_path)


@pytest.mark.parametrize("names", [("fit_dense",), tuple(f"fit_denses.{i}" for i in range(3))])
def test_the_maps_of_tinybert_are_left_out_and_named(tmp_path: Path, names: tuple[str, ...]) -> None:
    params = random_parameters(plain(), "masked_lm")
    checkpoint_files.write(tmp_path, plain(), params)
    maps: dict[str, np.ndarray] = {f"{name}.weight": np.ones((48, 24), np.float32) for name in names}
    maps |= {f"{name}.bias": np.ones(48, np.float32) for name in names}
    rename(tmp_path, lambda name: name, **maps)
    found = checkpoint_files.read(tmp_path)
    assert jax.tree.all(jax.tree.map(np.array_equal, found.params, params))
    (note,) = found.notes
    assert note.startswith(f"{min(maps)} and {len(maps) - 1} more left out: TinyBERT's maps")
    assert checkpoint_files.check(tmp_path) == found.notes


@pytest.mark.parametrize(
    "name", ["BertForTokenClassification", "BertForMultipleChoice", "RobertaForTokenClassification"]
)
def test_heads_of_other_tasks_are_no_classifiers_of_texts(tmp_path: Path, name: str) -> None:
    """The directories are written by transformers itself."""
    import transformers

    sizes = {"vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 3}
    sizes |= {"intermediate_size": 40, "max_position_embeddings": 16, "num_labels": 3}
    model = getattr(transformers, name)(getattr(transformers, f"{name.partition('For')[0]}Config")(**sizes))
    model.save_pretrained(tmp_path)
    found = checkpoint_files.read(tmp_path)
    assert set(found.params) - {"pooler"} == {"encoder"} and ("pooler" in found.params) == ("Multiple" in name)
    (note,) = found.notes
    assert note == f"classifier.weight and 1 more left out: the head of {name}, no classifier of whole texts"
    words = model.base_model.embeddings.word_embeddings.weight.detach().numpy()
    np.testing.assert_array_equal(found.params["encoder"]["embeddings"]["word_embeddings"], words)


def test_a_classifier_without_pooler_is_none_of_texts_even_where_nothing_says_so(tmp_path: Path) -> None:
    params = random_parameters(plain(), "classifier")
    values = checkpoint_files.write(tmp_path, plain(), params)
    assert checkpoint_files.read(tmp_path).heads == ("pooler", "classifier")
    del values["architectures"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert checkpoint_files.read(tmp_path).heads == ("pooler", "classifier")
    path = tmp_path / "model.safetensors"
    save_file({name: value for name, value in load_file(path).items() if "pooler" not in name}, path)
    found = checkpoint_files.read(tmp_path)
    assert found.heads == () and "the head of another task" in found.notes[0]
