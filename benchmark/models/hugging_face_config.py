"""Architectures as Hugging Face's `config.json`, in both directions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from benchmark.config import EncoderConfig
from benchmark.config.checks import ConfigError
from benchmark.models.hugging_face import MODEL_TYPES, TORCH_LAYER_NORM_EPS, CheckpointError
from benchmark.models.hugging_face_layouts import LAYOUTS

# transformers names the tanh approximation of GELU in three ways.
_ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "gelu_fast": "gelu_new",
}
_SAME = {
    name: name
    for name in (
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "max_position_embeddings",
    )
}
_DISTILBERT = _SAME | {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
}
_MOBILEBERT = (
    "embedding_size",
    "trigram_input",
    "key_query_shared_bottleneck",
    "use_bottleneck_attention",
    "num_feedforward_networks",
    "normalization_type",
)
_DISTILBERT_EPS = 1e-12
# Members that make another model of the same tensors, with the reason; false, empty or missing they say nothing.
_UNREAD = {
    "is_decoder": "only encoders are read, in which every token sees all others",
    "add_cross_attention": "only encoders are read, which have no cross-attention",
    "pruned_heads": "layers with all of their heads are expected",
    "quantization_config": "weights that are not quantized are expected",
}
# transformers' MPNet computes with these whatever its configuration says.
_MPNET_BUCKETS, _MPNET_OFFSET = 32, 2
# What the classes of a type compute, where they are less than the encoder family: field -> accepted values.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "intra_bottleneck_size": (None,),
    "trigram_input": (False,),
    "normalization_type": ("layer_norm",),
}
_ACCEPTED: dict[str, dict[str, tuple[Any, ...]]] = {
    "electra": _PLAIN | {"position_offset": (0,), "relative_attention_num_buckets": (0,)},
    "roberta": _PLAIN | {"embedding_projection": (False,), "relative_attention_num_buckets": (0,)},
    "mpnet": _PLAIN
    | {
        "embedding_projection": (False,),
        "position_offset": (_MPNET_OFFSET,),
        "relative_attention_num_buckets": (_MPNET_BUCKETS,),
        "type_vocab_size": (0,),
    },
}


def encoder_from_json(values: Mapping[str, Any]) -> tuple[EncoderConfig, str]:
    """Reads an architecture.

    Args:
        values: content of a `config.json`.

    Returns:
        The architecture and its model type.

    Raises:
        CheckpointError: the encoder family lacks the type or a value, or a field is missing.
    """
    model_type = values.get("model_type")
    if model_type not in MODEL_TYPES:
        raise CheckpointError(f"model_type is {model_type!r}; accepted: {', '.join(MODEL_TYPES)}")
    names = _DISTILBERT if model_type == "distilbert" else _SAME
    if missing := [name for name in names.values() if name not in values]:
        raise CheckpointError(f"{missing[0]} is missing")
    if wrong := [name for name in names.values() if type(values[name]) is not int]:
        raise CheckpointError(f"{wrong[0]} is {values[wrong[0]]!r}; an integer is expected")
    if values.get("position_embedding_type", "absolute") != "absolute":
        raise CheckpointError(f"position_embedding_type is {values['position_embedding_type']!r}; accepted: absolute")
    if wrong := [name for name in _UNREAD if values.get(name)]:
        raise CheckpointError(f"{wrong[0]} is {values[wrong[0]]!r}; {_UNREAD[wrong[0]]}")
    activation = values.get("activation" if model_type == "distilbert" else "hidden_act", "gelu")
    if not isinstance(activation, str) or activation not in _ACTIVATIONS:
        raise CheckpointError(f"hidden_act is {activation!r}; accepted: {', '.join(_ACTIVATIONS)}")
    own: dict[str, Any] = {ours: values[theirs] for ours, theirs in names.items()}
    own |= {"hidden_act": _ACTIVATIONS[activation], "initializer_range": values.get("initializer_range", 0.02)}
    try:
        if model_type == "mobilebert":
            return _mobilebert(values, own), model_type
        return EncoderConfig(**own | _plain(values, own, model_type)), model_type
    except ConfigError as error:
        raise CheckpointError(str(error)) from error


def _plain(values: Mapping[str, Any], own: Mapping[str, Any], model_type: str) -> dict[str, Any]:
    """Returns the fields of a type without bottleneck that are not in `own`, the ones that all types share."""
    fields: dict[str, Any] = {
        "embedding_size": own["hidden_size"],
        "intra_bottleneck_size": None,
        "num_feedforward_networks": 1,
        "normalization_type": "layer_norm",
        "trigram_input": False,
        "key_query_shared_bottleneck": False,
        "type_vocab_size": values.get("type_vocab_size", 2),
        "layer_norm_eps": values.get("layer_norm_eps", 1e-12),
        "pooler": LAYOUTS[model_type].poolers[0],
    }
    if model_type == "distilbert":
        fields |= {"type_vocab_size": 0, "layer_norm_eps": _DISTILBERT_EPS}
    elif model_type == "electra":
        fields["embedding_size"] = _integer(values, "embedding_size", 128)
        fields["embedding_projection"] = fields["embedding_size"] != own["hidden_size"]
    elif model_type == "roberta":
        fields["position_offset"] = _integer(values, "pad_token_id", LAYOUTS[model_type].pad_token_id) + 1
    elif model_type == "mpnet":
        buckets = _integer(values, "relative_attention_num_buckets", _MPNET_BUCKETS)
        if buckets != _MPNET_BUCKETS:
            raise CheckpointError(
                f"relative_attention_num_buckets is {buckets}; accepted: {_MPNET_BUCKETS}, with which transformers'"
                " MPNet computes whatever is configured"
            )
        fields |= {"type_vocab_size": 0, "position_offset": _MPNET_OFFSET, "relative_attention_num_buckets": buckets}
    return fields


def _integer(values: Mapping[str, Any], name: str, default: int) -> int:
    value = values.get(name, default)
    if type(value) is not int or value < 0:
        raise CheckpointError(f"{name} is {value!r}; an integer of at least 0 is expected")
    return value


def _mobilebert(values: Mapping[str, Any], own: dict[str, Any]) -> EncoderConfig:
    defaults = EncoderConfig()
    own |= {name: values.get(name, getattr(defaults, name)) for name in _MOBILEBERT}
    own["type_vocab_size"] = values.get("type_vocab_size", 2)
    own["layer_norm_eps"] = values.get("layer_norm_eps", 1e-12)
    own["pooler"] = "tanh" if values.get("classifier_activation", True) else "none"
    own["intra_bottleneck_size"] = (
        values.get("intra_bottleneck_size", 128) if values.get("use_bottleneck", True) else None
    )
    if own["intra_bottleneck_size"] is None:
        own["key_query_shared_bottleneck"] = own["use_bottleneck_attention"] = False
    elif own["use_bottleneck_attention"]:
        # transformers makes a shared bottleneck then, and does not use it.
        own["key_query_shared_bottleneck"] = False
    config = EncoderConfig(**own)
    if problem := _mobilebert_problem(config):
        raise CheckpointError(problem)
    return config


def _mobilebert_problem(config: EncoderConfig) -> str:
    """Names the reason why transformers' MobileBERT cannot compute this architecture; empty where it can."""
    if config.normalization_type == "layer_norm" and config.layer_norm_eps != TORCH_LAYER_NORM_EPS:
        return (
            f"layer_norm_eps is {config.layer_norm_eps:g}; with normalization_type 'layer_norm' MobileBERT of"
            f" transformers uses {TORCH_LAYER_NORM_EPS:g} in two norms whatever is configured, so nothing else is exact"
        )
    if (
        config.intra_bottleneck_size not in (None, config.hidden_size)
        and not config.key_query_shared_bottleneck
        and not config.use_bottleneck_attention
    ):
        return (
            "key_query_shared_bottleneck and use_bottleneck_attention are both False; transformers' MobileBERT makes"
            " queries and keys of the width of the bottleneck then and cannot run"
        )
    if not config.trigram_input and config.embedding_size == config.hidden_size:
        return (
            "trigram_input is False and embedding_size equals hidden_size; transformers' MobileBERT has an embedding"
            " transformation always, ours only where it is needed"
        )
    return ""


def export_type(config: EncoderConfig) -> str:
    """Chooses the model type under which an architecture can be exported.

    Raises:
        CheckpointError: transformers has no class that computes it.
    """
    if config.relative_attention_num_buckets:
        return _checked(config, "mpnet", "an encoder with relative_attention_num_buckets")
    if config.position_offset:
        return _checked(config, "roberta", "an encoder with position_offset")
    if config.embedding_projection:
        return _checked(config, "electra", "an encoder with embedding_projection")
    plain = config.intra_bottleneck_size is None and not config.trigram_input
    if plain and config.embedding_size == config.hidden_size and config.normalization_type == "layer_norm":
        if config.pooler == "gelu":
            return _checked(config, "electra", "an encoder with pooler 'gelu'")
        if not config.type_vocab_size:
            if config.layer_norm_eps != _DISTILBERT_EPS or config.pooler == "tanh":
                raise CheckpointError(
                    f"an encoder without token types is a DistilBERT, whose layer_norm_eps is {_DISTILBERT_EPS:g} and"
                    f" whose pooler is 'relu' or 'none'; this one has {config.layer_norm_eps:g} and {config.pooler!r}"
                )
            return "distilbert"
        return "bert"
    if not config.type_vocab_size:
        raise CheckpointError("type_vocab_size is 0; transformers' MobileBERT needs at least 1")
    if config.pooler not in ("tanh", "none"):
        raise CheckpointError(f"pooler is {config.pooler!r}; transformers' MobileBERT has 'tanh' or 'none'")
    if problem := _mobilebert_problem(config):
        raise CheckpointError(problem)
    return "mobilebert"


def _checked(config: EncoderConfig, model_type: str, what: str) -> str:
    """Returns the model type, if its classes compute the architecture, which `what` names for the message."""
    family = LAYOUTS[model_type].family
    for name, accepted in _ACCEPTED[model_type].items():
        if getattr(config, name) not in accepted:
            words = " or ".join(map(repr, accepted))
            raise CheckpointError(
                f"{name} is {getattr(config, name)!r}; {what} is of transformers' {family}, which has {words}"
            )
    if not config.embedding_projection and config.embedding_size != config.hidden_size:
        raise CheckpointError(
            f"embedding_size is {config.embedding_size}; {what} is of transformers' {family}, which has hidden_size ="
            f" {config.hidden_size}"
        )
    if model_type != "mpnet" and not config.type_vocab_size:
        raise CheckpointError(f"type_vocab_size is 0; {what} is of transformers' {family}, which has at least 1")
    return model_type


def head_problem(config: EncoderConfig, model_type: str, heads: Iterable[str]) -> str:
    """Names the reason why transformers' class with these heads computes something else; empty where it does not."""
    layout, wanted = LAYOUTS[model_type], set(heads)
    act = layout.masked_lm_act
    if "masked_lm" in wanted and act and config.hidden_act != act:
        return (
            f"hidden_act is {config.hidden_act!r}; the masked-LM head of transformers' {layout.family} has {act!r}"
            " whatever is configured, ours that of the encoder"
        )
    return ""


def encoder_to_json(config: EncoderConfig, pad_token_id: int | None = None) -> dict[str, Any]:
    """Writes the `config.json` of an architecture, without the fields of heads.

    Dropout is 0 throughout: distilled students are not trained with it.

    Args:
        config: architecture.
        pad_token_id: id of padding in the vocabulary; None for the usual one of the model type, 1 for RoBERTa and
            MPNet and 0 for the others.

    Raises:
        CheckpointError: transformers has no class that computes it, or none with this id of padding.
    """
    model_type = export_type(config)
    names = _DISTILBERT if model_type == "distilbert" else _SAME
    values: dict[str, Any] = {"model_type": model_type, "pad_token_id": _pad_token_id(config, model_type, pad_token_id)}
    values["tie_word_embeddings"] = True
    values |= {theirs: getattr(config, ours) for ours, theirs in names.items()}
    values["initializer_range"] = config.initializer_range
    if model_type == "distilbert":
        zero = dict.fromkeys(("dropout", "attention_dropout", "seq_classif_dropout", "qa_dropout"), 0.0)
        return values | zero | {"activation": config.hidden_act}
    values |= {"hidden_act": config.hidden_act, "layer_norm_eps": config.layer_norm_eps}
    values |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    if model_type == "mpnet":
        return values | {"relative_attention_num_buckets": config.relative_attention_num_buckets}
    values["type_vocab_size"] = config.type_vocab_size
    if model_type == "electra":
        values["embedding_size"] = config.embedding_size
    if model_type == "mobilebert":
        values |= {name: getattr(config, name) for name in _MOBILEBERT}
        values["use_bottleneck"] = config.intra_bottleneck_size is not None
        values["intra_bottleneck_size"] = config.intra_size
        values["classifier_activation"] = config.pooler == "tanh"
    return values


def _pad_token_id(config: EncoderConfig, model_type: str, given: int | None) -> int:
    """Returns the id of padding, from which transformers computes positions in RoBERTa and MPNet."""
    if not config.position_offset:
        return LAYOUTS[model_type].pad_token_id if given is None else given
    expected = config.position_offset - 1
    if given is not None and given != expected:
        raise CheckpointError(
            f"the vocabulary's id of padding is {given}; transformers' {LAYOUTS[model_type].family} has the first token"
            f" in row pad_token_id + 1 of the position table, and position_offset is {config.position_offset}"
        )
    if expected >= config.vocab_size:
        raise CheckpointError(f"position_offset is {config.position_offset}; at most vocab_size = {config.vocab_size}")
    return expected
