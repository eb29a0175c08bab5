"""Reader and writer of Hugging Face checkpoint directories: `config.json` and safetensors files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.models.hugging_face import CheckpointError, heads_of, plain_names, to_parameters, to_state
from benchmark.models.hugging_face_config import encoder_from_json, encoder_to_json, export_type, head_problem
from benchmark.models.hugging_face_layouts import LAYOUTS
from tasks.system.errors import shown

if TYPE_CHECKING:
    from flax import linen as nn

    from benchmark.config import EncoderConfig

SINGLE, INDEX, PICKLE = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"
# transformers refuses a file that does not name the framework of its layout.
_METADATA = {"format": "pt"}
# Bytes of a file's name.
_LONGEST_NAME = 255
_FLOATS = ("float16", "bfloat16", "float32", "float64")
# Heads other than the pooler -> suffix of their class in transformers.
_CLASSES: dict[frozenset[str], str] = {
    frozenset(): "Model",
    frozenset({"masked_lm"}): "ForMaskedLM",
    frozenset({"masked_lm", "next_sentence"}): "ForPreTraining",
    frozenset({"next_sentence"}): "ForNextSentencePrediction",
    frozenset({"discriminator"}): "ForPreTraining",
    frozenset({"classifier"}): "ForSequenceClassification",
    frozenset({"span"}): "ForQuestionAnswering",
}


@dataclass(frozen=True)
class Checkpoint:
    """A model read from a Hugging Face directory.

    Attributes:
        encoder: architecture.
        model_type: one of `benchmark.models.hugging_face.MODEL_TYPES`.
        heads: names in `benchmark.models.hugging_face.HEADS` that the file holds.
        params: tree with `encoder` and the heads, float32.
        num_tensors: number of tensors in the file.
    """

    encoder: EncoderConfig
    model_type: str
    heads: tuple[str, ...]
    params: dict[str, Any]
    num_tensors: int


def read(directory: Path, *, allow_pickle: bool = False) -> Checkpoint:
    """Reads a checkpoint and accounts for each of its tensors.

    Args:
        directory: holds `config.json` and `model.safetensors`, or an index of shards.
        allow_pickle: reads `pytorch_model.bin` where there are no safetensors.

    Raises:
        CheckpointError: a file is missing or damaged, the architecture is outside the family, or a tensor is unknown,
            missing, or has another shape or type.
    """
    encoder, model_type = read_config(directory)
    state = _read_tensors(directory, allow_pickle)
    try:
        heads = heads_of(plain_names(state, model_type), model_type)
        if problem := head_problem(encoder, model_type, heads):
            raise CheckpointError(problem)
        params = to_parameters(state, parameter_shapes(encoder, heads, state), encoder, model_type)
    except CheckpointError as error:
        raise CheckpointError(f"{directory}: {error}") from None
    return Checkpoint(encoder, model_type, heads, params, len(state))


def read_config(directory: Path) -> tuple[EncoderConfig, str]:
    """Reads the architecture and the model type in the `config.json` of a directory.

    Raises:
        CheckpointError: it is missing or damaged, or the architecture is outside the family.
    """
    path = directory / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{path}: missing; a Hugging Face directory with config.json and {SINGLE} is expected")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise CheckpointError("not an object")
        return encoder_from_json(values)
    # A CheckpointError is a ValueError, as are the errors of the JSON reader.
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: {error}") from None


def parameter_shapes(encoder: EncoderConfig, heads: tuple[str, ...], state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns the shapes of our parameters, from the modules themselves, without computing anything.

    Args:
        encoder: architecture.
        heads: names of the heads.
        state: tensors of the checkpoint, which have the number of labels of a classifier.
    """
    import jax
    import jax.numpy as jnp

    from benchmark.models.encoder import Encoder
    from benchmark.models.heads import Discriminator, MaskedLM, SequenceModel, SpanModel

    ids = jnp.zeros((1, 2), jnp.int32)
    biases = [state[name] for name in ("classifier.bias", "classifier.out_proj.bias") if name in state]
    labels = biases[0].shape[0] if biases else 2
    models: dict[str, tuple[nn.Module, int]] = {
        "masked_lm": (MaskedLM(encoder), 4),
        "next_sentence": (SequenceModel(encoder, 2, head="next_sentence"), 3),
        "discriminator": (Discriminator(encoder), 3),
        "classifier": (SequenceModel(encoder, labels), 3),
        "span": (SpanModel(encoder), 3),
        # Any model with a pooler serves for its shapes.
        "pooler": (SequenceModel(encoder, 1), 3),
    }
    result: dict[str, Any] = {}
    for name, (model, num_inputs) in {"encoder": (Encoder(encoder), 3), **models}.items():
        if name == "encoder" or name in heads:
            tree = jax.eval_shape(model.init, jax.random.key(0), *[ids] * num_inputs)["params"]
            result[name] = tree if name == "encoder" else tree.get(name, {})
    return result


def require_weights(directory: Path, allow_pickle: bool) -> None:
    """Refuses a directory without weights, without reading them.

    Raises:
        CheckpointError: it has none, or only a pickle, which is not allowed.
    """
    if (directory / SINGLE).is_file() or (directory / INDEX).is_file():
        return
    pickle = directory / PICKLE
    if not pickle.is_file():
        raise CheckpointError(f"{directory}: no {SINGLE}, {INDEX} or {PICKLE}; one of them is expected")
    if not allow_pickle:
        raise CheckpointError(
            f"{pickle}: is a pickle file; convert it to safetensors, or read it with --allow_pickle (in a run:"
            " CheckpointConfig.allow_pickle = True) if you trust it"
        )


def _read_tensors(directory: Path, allow_pickle: bool) -> dict[str, np.ndarray]:
    require_weights(directory, allow_pickle)
    if (directory / SINGLE).is_file():
        return _read_safetensors(directory / SINGLE)
    if (directory / INDEX).is_file():
        return _read_shards(directory)
    pickle = directory / PICKLE
    import torch

    try:
        state = torch.load(pickle, map_location="cpu", weights_only=True)
    # The reader's errors have no common base; each of them means that the file is not accepted.
    except Exception as error:  # noqa: BLE001
        raise CheckpointError(f"{pickle}: damaged, or more than tensors ({type(error).__name__})") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{pickle}: holds a {type(state).__name__}; a dictionary of tensors is expected")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise CheckpointError(f"{pickle}: {name!r} is a {type(tensor).__name__}; names of tensors are expected")
        if not tensor.is_floating_point() and not name.endswith("_ids"):
            dtype = str(tensor.dtype).removeprefix("torch.")
            raise CheckpointError(f"{pickle}: {name} is {dtype}; accepted: {', '.join(_FLOATS)}")
    return {name: tensor.float().numpy() for name, tensor in state.items()}


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.flax import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: damaged: {error}") from None
    for name, tensor in tensors.items():
        if tensor.dtype.name not in _FLOATS and not name.endswith("_ids"):
            raise CheckpointError(f"{path}: {name} is {tensor.dtype.name}; accepted: {', '.join(_FLOATS)}")
    return {name: np.asarray(tensor) for name, tensor in tensors.items()}


def _shard_index(directory: Path) -> dict[str, str]:
    """Reads the index of shards: name of a tensor -> name of its file."""
    path = directory / INDEX
    try:
        places: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        names = list(places.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: not an index of shards: {error!r}") from None
    for name in names:
        if not isinstance(name, str) or name in ("", ".", "..") or Path(name).name != name or len(name) > _LONGEST_NAME:
            raise CheckpointError(
                f"{path}: shard {shown(repr(name))}; the name of a file in the folder of the index is expected"
            )
    return places


def shard_names(directory: Path) -> list[str]:
    """Names the files that the index of shards lists.

    Raises:
        CheckpointError: the index is damaged.
    """
    return sorted(set(_shard_index(directory).values()))


def _read_shards(directory: Path) -> dict[str, np.ndarray]:
    path, places = directory / INDEX, _shard_index(directory)
    state: dict[str, np.ndarray] = {}
    for name in shard_names(directory):
        if not (directory / name).is_file():
            raise CheckpointError(f"{path}: shard {name!r} is missing; expected in the folder of the index")
        found = _read_safetensors(directory / name)
        if elsewhere := sorted(tensor for tensor in found if places.get(tensor, name) != name):
            raise CheckpointError(f"{directory / name}: holds {elsewhere[0]}, which the index has in another shard")
        state |= found
    if differing := sorted(set(state) ^ set(places)):
        raise CheckpointError(f"{path}: index and shards differ in {differing[0]}")
    return state


def write(
    directory: Path,
    encoder: EncoderConfig,
    params: Mapping[str, Any],
    *,
    pad_token_id: int | None = None,
    **extra: Any,
) -> dict[str, Any]:
    """Writes `config.json` and `model.safetensors`, loadable with `transformers.AutoModel*.from_pretrained`.

    Args:
        directory: destination; it is made.
        encoder: architecture.
        params: tree with `encoder` and any heads.
        pad_token_id: see `encoder_to_json`.
        extra: further members of `config.json`.

    Returns:
        The content of `config.json`.

    Raises:
        CheckpointError: transformers has no class that computes this architecture, or none with these heads.
    """
    from safetensors.numpy import save_file

    model_type = export_type(encoder)
    heads = frozenset(params) - {"encoder", "pooler"}
    layout = LAYOUTS[model_type]
    known = {path[0] for path in layout.heads.values()}
    if heads not in _CLASSES or not heads <= known:
        raise CheckpointError(f"transformers has no {layout.family} class with heads {', '.join(sorted(heads))}")
    if heads & {"classifier", "next_sentence"} and encoder.pooler not in layout.poolers:
        raise CheckpointError(
            f"pooler is {encoder.pooler!r}; the {layout.family}{_CLASSES[heads]} of transformers has"
            f" {' or '.join(map(repr, layout.poolers))}"
        )
    if problem := head_problem(encoder, model_type, heads):
        raise CheckpointError(problem)
    config = encoder_to_json(encoder, pad_token_id) | {"dtype": "float32"} | extra
    config["architectures"] = [layout.family + _CLASSES[heads]]
    if "classifier" in heads:
        labels = len(params["classifier"]["bias"])
        config["id2label"] = {str(i): f"LABEL_{i}" for i in range(labels)} | extra.get("id2label", {})
        config["label2id"] = {label: int(i) for i, label in config["id2label"].items()}
    directory.mkdir(parents=True, exist_ok=True)
    save_file(to_state(params, encoder, model_type), directory / SINGLE, metadata=_METADATA)
    (directory / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return config
