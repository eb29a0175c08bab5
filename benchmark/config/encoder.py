"""Settings of one encoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmark.config.checks import Checked, ConfigError, setting

# Largest size of an axis: jax and the file formats count in 32 bits.
_LARGEST = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(Checked):
    """Architecture of one encoder; the names are those of the Hugging Face BERT and MobileBERT configurations.

    The defaults are MobileBERT's (arXiv 2004.02984, its released configuration).
    """

    vocab_size: int = setting(30522, at_least=8, at_most=_LARGEST)
    embedding_size: int = setting(128, at_least=1, at_most=_LARGEST)
    hidden_size: int = setting(512, at_least=1, at_most=_LARGEST)
    num_hidden_layers: int = setting(24, at_least=1, at_most=_LARGEST)
    num_attention_heads: int = setting(4, at_least=1, at_most=_LARGEST)
    # Width inside a layer; None gives a plain BERT layer.
    intra_bottleneck_size: int | None = setting(128, at_least=1, at_most=_LARGEST)
    intermediate_size: int = setting(512, at_least=1, at_most=_LARGEST)
    num_feedforward_networks: int = setting(4, at_least=1, at_most=256)
    hidden_act: str = setting("relu", choices=("relu", "gelu", "gelu_new"))
    normalization_type: str = setting("no_norm", choices=("layer_norm", "no_norm"))
    trigram_input: bool = setting(True)
    key_query_shared_bottleneck: bool = setting(True)
    use_bottleneck_attention: bool = setting(False)
    # Position and type tables and the norm of the embeddings as wide as `embedding_size`, and a dense map to
    # `hidden_size` after them, as in ELECTRA. False: everything as wide as `hidden_size`.
    embedding_projection: bool = setting(False)
    max_position_embeddings: int = setting(512, at_least=1, at_most=_LARGEST)
    # Row of the position table that the first token has; RoBERTa and MPNet count from 2.
    position_offset: int = setting(0, at_least=0, at_most=_LARGEST)
    # Rows of a bias of attention scores by distance, one table for all layers; 0: no bias. MPNet has 32.
    relative_attention_num_buckets: int = setting(0, at_least=0, at_most=256)
    # 0: an encoder without token types, as DistilBERT.
    type_vocab_size: int = setting(2, at_least=0, at_most=_LARGEST)
    layer_norm_eps: float = setting(1e-12, at_least=0.0)
    initializer_range: float = setting(0.02, at_least=0.0)
    # Start of the trained position table: at random, as in BERT, or at sinusoids (arXiv 1706.03762) times
    # `initializer_range`, from which tiny models learn to attend by distance much sooner.
    position_initializer: str = setting("normal", choices=("normal", "sinusoidal"))
    # Input of a sequence head: the first token's state, or a dense map of it with tanh (BERT, RoBERTa, MPNet), relu
    # (DistilBERT) or gelu (ELECTRA).
    pooler: str = setting("none", choices=("none", "tanh", "relu", "gelu"))

    @property
    def intra_size(self) -> int:
        """Width inside a layer: the bottleneck's where there is one, else `hidden_size`."""
        return self.intra_bottleneck_size or self.hidden_size

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.intra_size // self.num_attention_heads

    @property
    def embedding_layer_size(self) -> int:
        """Width of the position and type tables and of the norm of the embeddings."""
        return self.embedding_size if self.embedding_projection else self.hidden_size

    @property
    def max_length(self) -> int:
        """The most tokens of a sequence: rows of the position table from `position_offset` on."""
        return self.max_position_embeddings - self.position_offset

    @property
    def max_length_text(self) -> str:
        """The limit `max_length` in words, as error messages name it."""
        if not self.position_offset:
            return f"max_position_embeddings = {self.max_position_embeddings}"
        return f"max_position_embeddings - position_offset = {self.max_length}"

    def check(self) -> None:
        """Refuses widths that do not go together."""
        if self.intra_size % self.num_attention_heads:
            self.refuse("num_attention_heads", f"a divisor of the layer's inner width {self.intra_size}")
        if self.intra_bottleneck_size is None and self.num_feedforward_networks != 1:
            self.refuse("num_feedforward_networks", "1 in a layer without a bottleneck")
        if self.embedding_projection:
            if self.trigram_input:
                self.refuse("embedding_projection", "False with trigram_input, whose map has the width hidden_size")
            if self.embedding_size == self.hidden_size:
                self.refuse("embedding_projection", f"False where embedding_size is hidden_size = {self.hidden_size}")
        elif self.embedding_size > self.hidden_size:
            self.refuse("embedding_size", f"at most hidden_size = {self.hidden_size} without embedding_projection")
        if self.max_length < 1:
            self.refuse("position_offset", f"below max_position_embeddings = {self.max_position_embeddings}")
        if self.relative_attention_num_buckets % 2 or self.relative_attention_num_buckets == 2:
            self.refuse("relative_attention_num_buckets", "0 or an even number of 4 or more")


def encoder_from_dict(values: Mapping[str, Any]) -> EncoderConfig:
    """Builds an EncoderConfig from the JSON object of a record or a baseline.

    Raises:
        ConfigError: a field is unknown, or EncoderConfig refuses a value.
    """
    known = {f.name for f in dataclasses.fields(EncoderConfig)}
    for name in values:
        if name not in known:
            raise ConfigError(f"EncoderConfig.{name}", values[name], "one of the fields " + ", ".join(sorted(known)))
    return EncoderConfig(**values)
