"""Reader and writer of Hugging Face checkpoint directories: `config.json` and safetensors files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.export.weight_files import SINGLE, read_headers, read_tensors
from benchmark.models.hugging_face import (
    CheckpointError,
    check_depth,
    check_tensors,
    heads_of,
    plain_names,
    to_parameters,
    to_state,
)
from benchmark.models.hugging_face_config import encoder_from_json, encoder_to_json, export_type, head_problem
from benchmark.models.hugging_face_layouts import LAYOUTS
from benchmark.models.hugging_face_left_out import without_others

if TYPE_CHECKING:
    import numpy as np
    from flax import linen as nn

    from benchmark.config import EncoderConfig

# transformers refuses a file that does not name the framework of its layout.
_METADATA = {"format": "pt"}
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
        notes: one line for each kind of tensors that is left out.
    """

    encoder: EncoderConfig
    model_type: str
    heads: tuple[str, ...]
    params: dict[str, Any]
    num_tensors: int
    notes: tuple[str, ...] = ()


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
    state = read_tensors(directory, allow_pickle)
    try:
        plain, heads, notes = _understood(directory, state, encoder, model_type)
        params = to_parameters(plain, parameter_shapes(encoder, heads, plain), encoder, model_type)
    except CheckpointError as error:
        raise CheckpointError(f"{directory}: {error}") from None
    return Checkpoint(encoder, model_type, heads, params, len(state), notes)


def check(directory: Path, *, allow_pickle: bool = False) -> tuple[str, ...]:
    """Refuses what `read` refuses, but for the values of tensors, without reading these.

    Returns:
        `Checkpoint.notes`.

    Raises:
        CheckpointError: as in `read`.
    """
    encoder, model_type = read_config(directory)
    state = read_headers(directory, allow_pickle)
    try:
        plain, heads, notes = _understood(directory, state, encoder, model_type)
        check_tensors(plain, parameter_shapes(encoder, heads, plain), encoder, model_type)
    except CheckpointError as error:
        raise CheckpointError(f"{directory}: {error}") from None
    return notes


def _understood(
    directory: Path, state: Mapping[str, np.ndarray], encoder: EncoderConfig, model_type: str
) -> tuple[dict[str, np.ndarray], tuple[str, ...], tuple[str, ...]]:
    """Returns the tensors of a model under their plain names, its heads, and notes on what was left out."""
    architectures = _config_json(directory).get("architectures") or ()
    named = [name for name in architectures if isinstance(name, str)] if isinstance(architectures, list) else []
    plain, notes = without_others(plain_names(state, model_type), encoder, model_type, named)
    check_depth(plain, encoder, model_type)
    heads = heads_of(plain, model_type)
    if problem := head_problem(encoder, model_type, heads):
        raise CheckpointError(problem)
    return plain, heads, notes


def read_config(directory: Path) -> tuple[EncoderConfig, str]:
    """Reads the architecture and the model type in the `config.json` of a directory.

    Raises:
        CheckpointError: it is missing or damaged, or the architecture is outside the family.
    """
    values = _config_json(directory)
    try:
        return encoder_from_json(values)
    except CheckpointError as error:
        raise CheckpointError(f"{directory / 'config.json'}: {error}") from None


def _config_json(directory: Path) -> dict[str, Any]:
    path = directory / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{path}: missing; a Hugging Face directory with config.json and {SINGLE} is expected")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: {error}") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: not an object")
    return values


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
