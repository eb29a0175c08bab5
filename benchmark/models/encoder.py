"""One Flax encoder for BERT and its relatives.

These are DistilBERT, TinyBERT, MiniLM, ELECTRA, RoBERTa, MPNet, MobileBERT, IB-BERT and every searched student. The
wiring follows BERT (arXiv 1810.04805) and MobileBERT's released layer (arXiv 2004.02984, figure 1 and table 1); the
embedding projection is ELECTRA's (arXiv 2003.10555), the relative position bias MPNet's (arXiv 2004.09297).
Layers run under one `nn.scan`, so that compile time does not grow with depth and the parameters of a layer kind are one
array with a leading layer axis. Inside a layer activations are two-dimensional, `[batch * length, width]`, which is the
shape that matrix products like best on every backend.

Parameters are float32. `dtype` is the type of activations and matrix products; statistics of norms and the softmax stay
in float32, as is usual with bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from benchmark.config import EncoderConfig
from benchmark.models.gradients import attention, gelu, relative_attention

# Added to the score of a padded key: large enough to vanish in the softmax, small enough to stay finite.
NEGATIVE = -1e9
# Distance from which on all tokens share the last bucket of the relative position bias, as MPNet fixes it.
MAX_DISTANCE = 128

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "gelu": gelu,
    "gelu_new": lambda x: jax.nn.gelu(x, approximate=True),
}


class EncoderOutput(NamedTuple):
    """Output of an encoder.

    Attributes:
        last_hidden_state: output of the last layer, `[batch, length, hidden]`.
        embeddings: output of the embedding layer, `[batch, length, hidden]`.
        hidden_states: outputs of all layers, `[layers, batch, length, hidden]`, or None where they were not asked for.
        attention_scores: scores before the softmax, padded keys at about -1e9,
            `[layers, batch, heads, length, length]`, or None.
        values: value vectors of the attention, `[layers, batch, length, heads, head_size]`, or None.
    """

    last_hidden_state: jax.Array
    embeddings: jax.Array
    hidden_states: jax.Array | None
    attention_scores: jax.Array | None
    values: jax.Array | None


def initializer(config: EncoderConfig) -> jax.nn.initializers.Initializer:
    """Makes BERT's initializer for weights: a normal distribution truncated at two standard deviations."""
    return jax.nn.initializers.truncated_normal(config.initializer_range)


class Dense(nn.Module):
    """Affine map `[..., inputs] -> [..., features]` with BERT's initializer, in the type of its input."""

    features: int
    config: EncoderConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the map."""
        kernel = self.param("kernel", initializer(self.config), (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return x @ kernel.astype(x.dtype) + bias.astype(x.dtype)


class Norm(nn.Module):
    """Layer norm, or MobileBERT's NoNorm (`scale * x + bias`, no statistics), over the last axis."""

    kind: str
    epsilon: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises `x` of shape `[..., width]`."""
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        if self.kind == "no_norm":
            return x * scale.astype(x.dtype) + bias.astype(x.dtype)
        return (standardize(x.astype(jnp.float32), self.epsilon) * scale + bias).astype(x.dtype)


def standardize(x: jax.Array, epsilon: float) -> jax.Array:
    """Layer norm without gain and bias: zero mean and unit variance over the last axis."""
    mean = jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(x - mean), axis=-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + epsilon)


class Embeddings(nn.Module):
    """Word (or trigram), position and type embeddings, then a norm: `[batch, length] -> [batch, length, hidden]`."""

    config: EncoderConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, input_ids: jax.Array, token_type_ids: jax.Array) -> jax.Array:
        """Embeds token ids."""
        c = self.config
        init = initializer(c)
        words = self.param("word_embeddings", init, (c.vocab_size, c.embedding_size))
        x = words[input_ids].astype(self.dtype)
        if c.trigram_input:
            # The neighbours' embeddings are concatenated as next, current, previous, with zeros beyond the ends.
            following = jnp.pad(x[:, 1:], ((0, 0), (0, 1), (0, 0)))
            previous = jnp.pad(x[:, :-1], ((0, 0), (1, 0), (0, 0)))
            x = jnp.concatenate([following, x, previous], axis=-1)
        width, first = c.embedding_layer_size, c.position_offset
        if c.trigram_input or c.embedding_size != width:
            x = Dense(width, c, name="transformation")(x)
        positions = self.param("position_embeddings", init, (c.max_position_embeddings, width))
        x = x + positions[None, first : first + input_ids.shape[1]].astype(self.dtype)
        if c.type_vocab_size:
            # A table of one row serves every type: the index is cut to the last row.
            types = self.param("token_type_embeddings", init, (c.type_vocab_size, width))
            x = x + types[token_type_ids].astype(self.dtype)
        x = Norm(c.normalization_type, c.layer_norm_eps, name="norm")(x)
        return Dense(c.hidden_size, c, name="projection")(x) if c.embedding_projection else x


def relative_buckets(length: int, num_buckets: int) -> np.ndarray:
    """Bucket of the distance between each two positions, `[length, length]`: queries by keys.

    Half of the buckets are for keys after the query. In each half the first half is for one distance each, the rest for
    ranges that grow by a constant factor up to `MAX_DISTANCE` (arXiv 1910.10683, section 2.1).
    """
    half = num_buckets // 2
    exact = half // 2
    distance = np.arange(length)[None, :] - np.arange(length)[:, None]
    # float32 as in transformers, whose rounding decides at the ends of ranges.
    ratio = np.maximum(np.abs(distance), 1).astype(np.float32) / np.float32(exact)
    far = exact + (np.log(ratio) / np.float32(np.log(MAX_DISTANCE / exact)) * np.float32(half - exact)).astype(np.int64)
    bucket = np.where(np.abs(distance) < exact, np.abs(distance), np.minimum(far, half - 1))
    return bucket + half * (distance > 0)


def relative_bias(table: jax.Array, length: int) -> jax.Array:
    """Looks up the bias of the scores by distance.

    Args:
        table: `[buckets, heads]`.
        length: tokens of a sequence.

    Returns:
        `[1, heads, length, length]`, float32.
    """
    return table.astype(jnp.float32)[relative_buckets(length, len(table))].transpose(2, 0, 1)[None]


class EncoderLayer(nn.Module):
    """One layer, with or without bottleneck; the body of the scan.

    The carry is the layer's input, `[batch * length, hidden]`. `accelerated` is True for a program for an accelerator;
    None stands for the backend of this process.
    """

    config: EncoderConfig
    batch: int
    length: int
    output_hidden_states: bool
    output_attentions: bool
    output_values: bool
    accelerated: bool | None = None

    @nn.compact
    def __call__(
        self, hidden: jax.Array, bias: jax.Array, relative: jax.Array | None = None
    ) -> tuple[jax.Array, tuple[jax.Array | None, jax.Array | None, jax.Array | None]]:
        """Applies the layer.

        Args:
            hidden: `[batch * length, hidden]`.
            bias: 0 for real keys and about -1e9 for padding, `[batch, 1, 1, length]`.
            relative: bias by distance, `[1, heads, length, length]`, or None.

        Returns:
            The new carry, and those that were asked for of hidden state `[batch, length, hidden]`, scores
            `[batch, heads, length, length]` and value vectors `[batch, length, heads, head_size]`.
        """
        c = self.config

        def dense(features: int, name: str) -> Dense:
            return Dense(features, c, name=name)

        def norm(name: str) -> Norm:
            return Norm(c.normalization_type, c.layer_norm_eps, name=name)

        # Inputs of attention, `[batch * length, hidden]`; with a bottleneck `[batch * length, intra]`, except those
        # that are `hidden` itself.
        if c.intra_bottleneck_size is None:
            residual = query_key = value = hidden
        else:
            residual = norm("input_bottleneck_norm")(dense(c.intra_size, "input_bottleneck")(hidden))
            if c.use_bottleneck_attention:
                query_key = value = residual
            elif c.key_query_shared_bottleneck:
                query_key = norm("attention_bottleneck_norm")(dense(c.intra_size, "attention_bottleneck")(hidden))
                value = hidden
            else:
                query_key = value = hidden

        def heads(x: jax.Array) -> jax.Array:
            return x.reshape(self.batch, self.length, c.num_attention_heads, c.head_size)

        # Self-attention: `[batch, length, heads, head_size]` each, scores `[batch, heads, length, length]`.
        query = heads(dense(c.intra_size, "query")(query_key))
        key = heads(dense(c.intra_size, "key")(query_key))
        values = heads(dense(c.intra_size, "value")(value))
        accelerated = jax.default_backend() != "cpu" if self.accelerated is None else self.accelerated
        if accelerated and not self.output_attentions:
            # Accelerators may have special kernels for it.
            both = bias if relative is None else bias + relative
            scores, context = None, jax.nn.dot_product_attention(query, key, values, both)
        elif relative is None:
            scores, context = attention(query, key, values, bias)
        else:
            scores, context = relative_attention(query, key, values, bias, relative)
        # Output of attention, added to the residual of the inner width: `[batch * length, intra]`.
        context = context.reshape(self.batch * self.length, c.intra_size)
        x = norm("attention_norm")(dense(c.intra_size, "attention_output")(context) + residual)
        activation = ACTIVATIONS[c.hidden_act]
        # Feed-forward networks one after the other, each with its own residual. MobileBERT has several: with one, a
        # narrow layer would have most of its parameters in the attention (arXiv 2004.02984).
        for i in range(c.num_feedforward_networks):
            inner = activation(dense(c.intermediate_size, f"intermediate_{i}")(x))
            x = norm(f"output_norm_{i}")(dense(c.intra_size, f"output_{i}")(inner) + x)
        if c.intra_bottleneck_size is not None:
            # Back to `[batch * length, hidden]`, with the residual around the whole layer.
            x = norm("output_bottleneck_norm")(dense(c.hidden_size, "output_bottleneck")(x) + hidden)
        state = x.reshape(self.batch, self.length, -1) if self.output_hidden_states else None
        return x, (state, scores if self.output_attentions else None, values if self.output_values else None)


class Encoder(nn.Module):
    """Embeddings and layers.

    `unroll` lays that many layers out in a row in the compiled program (all of them for the fastest inference of
    shallow models); parameters and results are the same.
    """

    config: EncoderConfig
    unroll: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        input_ids: jax.Array,
        attention_mask: jax.Array,
        token_type_ids: jax.Array,
        *,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        output_values: bool = False,
    ) -> EncoderOutput:
        """Encodes a batch.

        Args:
            input_ids: integers, `[batch, length]`.
            attention_mask: 1 for tokens and 0 for padding, `[batch, length]`.
            token_type_ids: segment numbers, `[batch, length]`.
            output_hidden_states: keeps every layer's output.
            output_attentions: keeps every layer's attention scores.
            output_values: keeps every layer's value vectors.

        Returns:
            An `EncoderOutput`.
        """
        c = self.config
        batch, length = input_ids.shape
        embeddings = Embeddings(c, self.dtype, name="embeddings")(input_ids, token_type_ids)
        bias = jnp.where(attention_mask[:, None, None, :] > 0, 0.0, NEGATIVE)
        layers = nn.scan(
            EncoderLayer,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,
            length=c.num_hidden_layers,
            unroll=min(self.unroll, c.num_hidden_layers),
        )(c, batch, length, output_hidden_states, output_attentions, output_values, name="layers")
        shared = []
        if c.relative_attention_num_buckets:
            shape = (c.relative_attention_num_buckets, c.num_attention_heads)
            shared = [relative_bias(self.param("relative_attention_bias", initializer(c), shape), length)]
        last, (states, scores, values) = layers(embeddings.reshape(batch * length, -1), bias, *shared)
        return EncoderOutput(last.reshape(batch, length, -1), embeddings, states, scores, values)
