"""Heads on top of the encoder: masked LM, next sentence, sequence classification and regression, span extraction."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from benchmark.config import EncoderConfig
from benchmark.models.encoder import ACTIVATIONS, Dense, Encoder, EncoderOutput, Norm, initializer
from benchmark.models.gradients import gelu

POOLER_ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {"tanh": jnp.tanh, "relu": jax.nn.relu, "gelu": gelu}


class MaskedLMHead(nn.Module):
    """Dense, activation, layer norm, then logits over the vocabulary with the word table as weights.

    Where `embedding_size < hidden_size` the weights are the word table and an extra trained block, as in MobileBERT.
    With `embedding_projection` the dense map leads to `embedding_size` instead, as in ELECTRA's generator.
    """

    config: EncoderConfig

    @nn.compact
    def __call__(self, hidden: jax.Array, word_embeddings: jax.Array) -> jax.Array:
        """Maps `[..., hidden]` to logits `[..., vocab]`."""
        c = self.config
        width = c.embedding_layer_size
        x = ACTIVATIONS[c.hidden_act](Dense(width, c, name="transform")(hidden))
        x = Norm("layer_norm", c.layer_norm_eps, name="norm")(x)
        logits = x[..., : c.embedding_size] @ word_embeddings.T.astype(x.dtype)
        if c.embedding_size < width:
            extra = self.param("decoder", initializer(c), (width - c.embedding_size, c.vocab_size))
            logits = logits + x[..., c.embedding_size :] @ extra.astype(x.dtype)
        return logits.astype(jnp.float32) + self.param("bias", nn.initializers.zeros, (c.vocab_size,))


def pooled_logits(config: EncoderConfig, hidden: jax.Array, num_outputs: int, name: str) -> jax.Array:
    """Computes the logits of a sequence head, inside the module that owns its parameters: `pooler`, if any, and `name`.

    Args:
        config: architecture.
        hidden: `[batch, length, hidden]`; the first token is read.
        num_outputs: width of the linear map.
        name: its name.

    Returns:
        `[batch, num_outputs]`, float32.
    """
    pooled = hidden[:, 0]
    if config.pooler != "none":
        pooled = POOLER_ACTIVATIONS[config.pooler](Dense(config.hidden_size, config, name="pooler")(pooled))
    return Dense(num_outputs, config, name=name)(pooled).astype(jnp.float32)


class PretrainingOutput(NamedTuple):
    """Output of a model with pretraining heads.

    Attributes:
        logits: of masked LM, float32, `[batch, predictions, vocab]`.
        next_sentence_logits: float32, `[batch, 2]`: the second part follows the first, or is a random one. None without
            that head.
        encoder: output of the encoder.
    """

    logits: jax.Array
    next_sentence_logits: jax.Array | None
    encoder: EncoderOutput


class MaskedLM(nn.Module):
    """Encoder with masked-LM head, whose logits are computed at the asked positions alone.

    `next_sentence` adds BERT's other pretraining head; its parameters are those of `SequenceModel` with
    `head="next_sentence"`.
    """

    config: EncoderConfig
    dtype: DTypeLike = jnp.float32
    next_sentence: bool = False

    @nn.compact
    def __call__(
        self,
        input_ids: jax.Array,
        attention_mask: jax.Array,
        token_type_ids: jax.Array,
        positions: jax.Array,
        *,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        output_values: bool = False,
    ) -> PretrainingOutput:
        """Predicts the tokens at `positions`, `[batch, predictions]`; the other arguments are those of `Encoder`."""
        encoder = Encoder(self.config, dtype=self.dtype, name="encoder")
        output = encoder(
            input_ids,
            attention_mask,
            token_type_ids,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            output_values=output_values,
        )
        chosen = jnp.take_along_axis(output.last_hidden_state, positions[..., None], axis=1)
        words = encoder.variables["params"]["embeddings"]["word_embeddings"]
        logits = MaskedLMHead(self.config, name="masked_lm")(chosen, words)
        pairs = pooled_logits(self.config, output.last_hidden_state, 2, "next_sentence") if self.next_sentence else None
        return PretrainingOutput(logits, pairs, output)


class Discriminator(nn.Module):
    """Encoder with ELECTRA's pretraining head: a logit for each token, above 0 for one that was replaced.

    Source: arXiv 2003.10555, section 2. No stage of a run trains it; it is part of published checkpoints.
    """

    config: EncoderConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, input_ids: jax.Array, attention_mask: jax.Array, token_type_ids: jax.Array) -> jax.Array:
        """Returns `[batch, length]`, float32."""
        c = self.config
        output = Encoder(c, dtype=self.dtype, name="encoder")(input_ids, attention_mask, token_type_ids)
        return DiscriminatorHead(c, name="discriminator")(output.last_hidden_state)


class DiscriminatorHead(nn.Module):
    """Dense map, activation, and a linear map to one number: `[..., hidden] -> [...]`."""

    config: EncoderConfig

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        """Applies the head."""
        c = self.config
        x = ACTIVATIONS[c.hidden_act](Dense(c.hidden_size, c, name="dense")(hidden))
        return Dense(1, c, name="prediction")(x)[..., 0].astype(jnp.float32)


class TaskOutput(NamedTuple):
    """Output of a model with a task head: its `logits`, float32, and the encoder's output."""

    logits: jax.Array
    encoder: EncoderOutput


class SequenceModel(nn.Module):
    """Encoder, pooler and a linear map: `num_outputs` logits, or one number for regression.

    `head` names the parameters of the linear map: `classifier`, or `next_sentence` for BERT's pretraining task.
    """

    config: EncoderConfig
    num_outputs: int
    unroll: int = 1
    dtype: DTypeLike = jnp.float32
    head: str = "classifier"

    def __call__(self, input_ids: jax.Array, attention_mask: jax.Array, token_type_ids: jax.Array) -> jax.Array:
        """Returns `[batch, num_outputs]`."""
        return self.outputs(input_ids, attention_mask, token_type_ids).logits

    @nn.compact
    def outputs(
        self, input_ids: jax.Array, attention_mask: jax.Array, token_type_ids: jax.Array, **wanted: bool
    ) -> TaskOutput:
        """Returns the logits with the encoder's output; `wanted` are the flags of `Encoder`."""
        c = self.config
        encoder = Encoder(c, self.unroll, self.dtype, name="encoder")
        output = encoder(input_ids, attention_mask, token_type_ids, **wanted)
        return TaskOutput(pooled_logits(c, output.last_hidden_state, self.num_outputs, self.head), output)


class SpanModel(nn.Module):
    """Encoder with start and end scores for each token."""

    config: EncoderConfig
    dtype: DTypeLike = jnp.float32

    def __call__(self, input_ids: jax.Array, attention_mask: jax.Array, token_type_ids: jax.Array) -> jax.Array:
        """Returns start and end logits, `[batch, length, 2]`, about -1e9 at padding."""
        return self.outputs(input_ids, attention_mask, token_type_ids).logits

    @nn.compact
    def outputs(
        self, input_ids: jax.Array, attention_mask: jax.Array, token_type_ids: jax.Array, **wanted: bool
    ) -> TaskOutput:
        """Returns the logits with the encoder's output; `wanted` are the flags of `Encoder`."""
        encoder = Encoder(self.config, dtype=self.dtype, name="encoder")
        output = encoder(input_ids, attention_mask, token_type_ids, **wanted)
        logits = Dense(2, self.config, name="span")(output.last_hidden_state).astype(jnp.float32)
        return TaskOutput(jnp.where(attention_mask[..., None] > 0, logits, -1e9), output)
