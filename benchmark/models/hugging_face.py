"""Maps between the tensors of Hugging Face checkpoints and our parameters, in both directions.

The names are those of transformers' BERT, DistilBERT, ELECTRA, MobileBERT, MPNet and RoBERTa classes
(`benchmark.models.hugging_face_layouts`); BERT-shaped TinyBERT and MiniLM are of type `bert`. PyTorch keeps the weight
of a linear map as `[outputs, inputs]`, ours is `[inputs, outputs]`, and ours stacks the layers; both are changes of
layout, so that a round trip gives back the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmark.models.hugging_face_layouts import LAYOUTS
from tasks.system.errors import InputError

if TYPE_CHECKING:
    from benchmark.config import EncoderConfig
    from benchmark.models.trees import Params, PyTree

MODEL_TYPES = tuple(LAYOUTS)
HEADS = ("pooler", "masked_lm", "next_sentence", "discriminator", "classifier", "span")

# Non-trained buffers that older versions of transformers saved.
BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")
# Prefixes of all names in a model that was saved inside `torch.nn.DataParallel` or after `torch.compile`.
WRAPPERS = ("module.", "_orig_mod.")
# PyTorch's default, which transformers' MobileBERT uses in two of its norms whatever its configuration says.
TORCH_LAYER_NORM_EPS = 1e-5


class CheckpointError(InputError):
    """A checkpoint that contradicts its configuration; the message is one line."""


class Tensor(NamedTuple):
    """A tensor of a Hugging Face checkpoint and the parameter that it is.

    Attributes:
        name: Hugging Face's name, without the prefix of the encoder (`bert.`).
        path: keys of our parameter tree.
        transposed: True where ours has its two axes exchanged.
        layer: row of our stacked parameter, None where it is not stacked.
    """

    name: str
    path: tuple[str, ...]
    transposed: bool = False
    layer: int | None = None


def _mobilebert_layer(config: EncoderConfig) -> dict[str, str]:
    """Modules of a MobileBERT layer; of several feed-forward networks the last stands outside the list `ffn`."""
    names = dict(LAYOUTS["mobilebert"].layer)
    last = config.num_feedforward_networks - 1
    for theirs in ("intermediate.dense", "output.dense", "output.LayerNorm"):
        ours = names[theirs].removesuffix("_0")
        names[theirs] = f"{ours}_{last}"
        names |= {f"ffn.{i}.{theirs}": f"{ours}_{i}" for i in range(last)}
    if config.intra_bottleneck_size is not None:
        names |= {
            "bottleneck.input.dense": "input_bottleneck",
            "bottleneck.input.LayerNorm": "input_bottleneck_norm",
            "output.bottleneck.dense": "output_bottleneck",
            "output.bottleneck.LayerNorm": "output_bottleneck_norm",
        }
        if config.key_query_shared_bottleneck and not config.use_bottleneck_attention:
            names["bottleneck.attention.dense"] = "attention_bottleneck"
            names["bottleneck.attention.LayerNorm"] = "attention_bottleneck_norm"
    return names


def _module(theirs: str, path: tuple[str, ...], layer: int | None = None) -> Iterator[Tensor]:
    norm = "norm" in path[-1]
    yield Tensor(f"{theirs}.weight", (*path, "scale" if norm else "kernel"), not norm, layer)
    yield Tensor(f"{theirs}.bias", (*path, "bias"), False, layer)


def encoder_tensors(config: EncoderConfig, model_type: str) -> list[Tensor]:
    """Every tensor of the encoder.

    Args:
        config: architecture.
        model_type: one of `MODEL_TYPES`.
    """
    tables = ["word_embeddings", "position_embeddings"] + (["token_type_embeddings"] if config.type_vocab_size else [])
    result = [Tensor(f"embeddings.{name}.weight", ("encoder", "embeddings", name)) for name in tables]
    result += _module("embeddings.LayerNorm", ("encoder", "embeddings", "norm"))
    if model_type == "mobilebert":
        result += _module("embeddings.embedding_transformation", ("encoder", "embeddings", "transformation"))
    if config.embedding_projection:
        result += _module("embeddings_project", ("encoder", "embeddings", "projection"))
    if config.relative_attention_num_buckets:
        result.append(Tensor("encoder.relative_attention_bias.weight", ("encoder", "relative_attention_bias")))
    layout = LAYOUTS[model_type]
    modules = _mobilebert_layer(config) if model_type == "mobilebert" else layout.layer
    for layer in range(config.num_hidden_layers):
        for theirs, ours in modules.items():
            result += _module(f"{layout.stem}.{layer}.{theirs}", ("encoder", "layers", ours), layer)
    return result


def head_tensors(config: EncoderConfig, model_type: str, heads: Iterable[str]) -> list[Tensor]:
    """Lists every tensor of the heads, without those that repeat another tensor.

    Args:
        config: architecture.
        model_type: one of `MODEL_TYPES`.
        heads: names in `HEADS`.
    """
    wanted, layout = set(heads), LAYOUTS[model_type]
    result: list[Tensor] = []
    if "pooler" in wanted:
        result += _module(layout.pooler(with_classifier="classifier" in wanted), ("pooler",))
    for theirs, path in layout.heads.items():
        if path[0] in wanted:
            result += _module(theirs, path)
    if "masked_lm" in wanted:
        result.append(Tensor(layout.masked_lm_bias, ("masked_lm", "bias")))
        if model_type == "mobilebert" and config.embedding_size < config.hidden_size:
            result.append(Tensor("cls.predictions.dense.weight", ("masked_lm", "decoder")))
    return result


def heads_of(names: Iterable[str], model_type: str) -> tuple[str, ...]:
    """Lists the heads of which a checkpoint holds any tensor.

    Args:
        names: tensor names as `plain_names` gives them.
        model_type: one of `MODEL_TYPES`.
    """
    layout = LAYOUTS[model_type]
    modules = {theirs: path[0] for theirs, path in layout.heads.items()}
    modules |= {name: "pooler" for name in (layout.base_pooler, layout.classifier_pooler) if name}
    found = {head for name in names for theirs, head in modules.items() if name.startswith(f"{theirs}.")}
    found |= {"masked_lm"} if layout.masked_lm_bias in set(names) else set()
    return tuple(head for head in HEADS if head in found)


def plain_names(state: Mapping[str, np.ndarray], model_type: str) -> dict[str, np.ndarray]:
    """Puts tensors under the names of `Tensor`: without prefixes, and with today's names of norms.

    The encoder's prefix is left out, and those of PyTorch's wrappers where all names begin with them. Checkpoints
    converted from TensorFlow, `bert-base-uncased` among them, call a norm's weight `gamma` and its bias `beta`.

    Raises:
        CheckpointError: two tensors have the same name then.
    """
    result: dict[str, np.ndarray] = {}
    wrapper = _wrapper_prefix(state)
    for name, value in state.items():
        plain = name[len(wrapper) :].removeprefix(f"{model_type}.")
        plain = plain.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        if plain in result:
            raise CheckpointError(f"tensor {name} occurs twice, with and without prefix or under an old name")
        result[plain] = value
    return result


def _wrapper_prefix(names: Iterable[str]) -> str:
    """Returns what wrappers of PyTorch put before every name; nothing where one name begins otherwise."""
    names, prefix = list(names), ""
    while found := [w for w in WRAPPERS if names and all(name.startswith(prefix + w) for name in names)]:
        prefix += found[0]
    return prefix


def check_depth(plain: Mapping[str, np.ndarray], config: EncoderConfig, model_type: str) -> None:
    """Refuses tensors of another number of layers.

    Raises:
        CheckpointError: the numbers differ, or there is no layer at all.
    """
    stem = f"{LAYOUTS[model_type].stem}."
    numbers = {name.removeprefix(stem).partition(".")[0] for name in plain if name.startswith(stem)}
    found = len({number for number in numbers if number.isdecimal()})
    if not found:
        raise CheckpointError(
            f"no name begins with '{stem}0.', as those of a layer do; found: {_listed(sorted(plain))}"
        )
    if found != config.num_hidden_layers:
        raise CheckpointError(f"config.json has num_hidden_layers = {config.num_hidden_layers}, the weights {found}")


def _shape(params: Params, tensor: Tensor) -> tuple[int, ...]:
    """Shape of the Hugging Face tensor, from a tree of our shapes."""
    leaf: PyTree = params
    for key in tensor.path:
        leaf = leaf[key]
    shape = tuple(leaf.shape if tensor.layer is None else leaf.shape[1:])
    return shape[::-1] if tensor.transposed else shape


def to_parameters(state: Mapping[str, np.ndarray], shapes: Params, config: EncoderConfig, model_type: str) -> Params:
    """Converts a checkpoint to our parameters; every tensor is accounted for.

    Args:
        state: name -> array, as in the file.
        shapes: our parameter tree with the heads that the checkpoint has; leaves need only a `shape`.
        config: architecture.
        model_type: one of `MODEL_TYPES`.

    Returns:
        A tree of the structure of `shapes`, float32.

    Raises:
        CheckpointError: see `check_tensors`; or a tied tensor differs from its source.
    """
    plain = plain_names(state, model_type)
    wanted = check_tensors(plain, shapes, config, model_type)
    for name, source in LAYOUTS[model_type].tied.items():
        if name in plain and source in plain and not np.array_equal(plain[name], plain[source]):
            raise CheckpointError(f"{name} differs from {source}; only tied output embeddings are supported")
    return _assemble(wanted, plain)


def check_tensors(
    plain: Mapping[str, np.ndarray], shapes: Params, config: EncoderConfig, model_type: str
) -> list[Tensor]:
    """Accounts for every tensor of a checkpoint, by name and shape.

    Args:
        plain: name as `plain_names` gives it -> array, of which only the shape is read.
        shapes: as in `to_parameters`.
        config: architecture.
        model_type: one of `MODEL_TYPES`.

    Returns:
        The tensors of the encoder and of the heads.

    Raises:
        CheckpointError: tensors are unknown, missing or of another shape.
    """
    heads = heads_of(plain, model_type)
    wanted = encoder_tensors(config, model_type) + head_tensors(config, model_type, heads)
    known = {tensor.name for tensor in wanted} | set(BUFFERS)
    known |= {name for name in plain if _is_unused(name, config, model_type, heads)}
    problems = []
    # MobileBERT's extra block of output embeddings is there, and empty, where the word table needs none.
    empty = {name for name, value in plain.items() if 0 in value.shape}
    if unknown := sorted(set(plain) - known - set(LAYOUTS[model_type].tied) - empty):
        problems.append(f"unknown: {_listed(unknown)}")
    if missing := [tensor.name for tensor in wanted if tensor.name not in plain]:
        problems.append(f"missing: {_listed(missing)}")
    for tensor in wanted:
        if tensor.name in plain and tuple(plain[tensor.name].shape) != (expected := _shape(shapes, tensor)):
            problems.append(f"{tensor.name} has shape {tuple(plain[tensor.name].shape)}, expected {expected}")
    if problems:
        raise CheckpointError("; ".join(problems[:8]))
    return wanted


def _is_unused(name: str, config: EncoderConfig, model_type: str, heads: tuple[str, ...]) -> bool:
    """Returns True for a tensor that transformers does not read.

    These are the shared bottleneck with bottleneck attention, and the encoder's pooler next to a classifier with a
    dense map of its own.
    """
    base, own = LAYOUTS[model_type].base_pooler, LAYOUTS[model_type].classifier_pooler
    if base and own and "classifier" in heads and name.startswith(f"{base}."):
        return True
    return config.use_bottleneck_attention and ".bottleneck.attention." in name


def _listed(names: list[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _assemble(wanted: Iterable[Tensor], plain: Mapping[str, np.ndarray]) -> Params:
    """Builds our tree; layers come in rising order."""
    leaves: dict[tuple[str, ...], list[np.ndarray]] = {}
    stacked: set[tuple[str, ...]] = set()
    for tensor in wanted:
        value = np.asarray(plain[tensor.name], np.float32)
        leaves.setdefault(tensor.path, []).append(value.T if tensor.transposed else value)
        if tensor.layer is not None:
            stacked.add(tensor.path)
    tree: Params = {}
    for path, arrays in leaves.items():
        node = tree
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = np.stack(arrays) if path in stacked else np.ascontiguousarray(arrays[0])
    return tree


def to_state(params: Mapping[str, PyTree], config: EncoderConfig, model_type: str) -> dict[str, np.ndarray]:
    """Converts our parameters to tensors, under the names with which transformers saves a model with these heads.

    Args:
        params: tree with `encoder` and any of `HEADS`.
        config: architecture.
        model_type: one of `MODEL_TYPES`.

    Returns:
        Name -> contiguous float32 array. Tied output embeddings are left out, as transformers leaves them out.
    """
    heads = [head for head in HEADS if head in params]
    prefixed = bool(set(heads) - {"pooler"})
    state = {}
    inside = {tensor.name for tensor in encoder_tensors(config, model_type)}
    for tensor in encoder_tensors(config, model_type) + head_tensors(config, model_type, heads):
        leaf: PyTree = params
        for key in tensor.path:
            leaf = leaf[key]
        value = np.asarray(leaf if tensor.layer is None else leaf[tensor.layer], np.float32)
        # A pooler is part of the encoder, as in BERT, or of the classifier, as in DistilBERT.
        of_encoder = tensor.name in inside or tensor.name.startswith("pooler.")
        name = f"{model_type}.{tensor.name}" if prefixed and of_encoder else tensor.name
        state[name] = np.ascontiguousarray(value.T if tensor.transposed else value)
    if model_type == "mobilebert" and "masked_lm" in heads and config.embedding_size == config.hidden_size:
        state["cls.predictions.dense.weight"] = np.zeros((0, config.vocab_size), np.float32)
    return state
