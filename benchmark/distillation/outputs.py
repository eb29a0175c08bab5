"""The model outputs that distillation losses need."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmark.models.heads import MaskedLM

if TYPE_CHECKING:
    from benchmark.config import EncoderConfig
    from benchmark.models.encoder import EncoderOutput
    from benchmark.models.trees import Params
    from benchmark.training.masking import MaskedBatch


class Needs(NamedTuple):
    """The outputs of a model to keep; hashable, so that it can be a static argument of a compiled program.

    With `last_layer` the stacks over layers hold the last layer alone.
    """

    logits: bool = False
    next_sentence_logits: bool = False
    embeddings: bool = False
    hidden_states: bool = False
    attention_scores: bool = False
    values: bool = False
    last_layer: bool = False

    @property
    def wanted(self) -> dict[str, bool]:
        """The flags of `Encoder`, which hands out the last state in any case."""
        return {
            "output_hidden_states": self.hidden_states and not self.last_layer,
            "output_attentions": self.attention_scores,
            "output_values": self.values,
        }


class Outputs(NamedTuple):
    """Outputs of a model on a masked batch; None for those that were not asked for.

    Attributes:
        logits: masked-LM logits at the places to predict, `[batch, predictions, vocab]`, or those of a task's head.
        next_sentence_logits: `[batch, 2]`.
        embeddings: output of the embedding layer, `[batch, length, hidden]`.
        hidden_states: outputs of the layers, `[layers, batch, length, hidden]`.
        attention_scores: scores before the softmax, `[layers, batch, heads, length, length]`.
        values: value vectors, `[layers, batch, length, heads, head_size]`.
    """

    logits: jax.Array | None
    next_sentence_logits: jax.Array | None
    embeddings: jax.Array | None
    hidden_states: jax.Array | None
    attention_scores: jax.Array | None
    values: jax.Array | None


# The batch axis of each output: the same tree with numbers as leaves.
BATCH_AXES = Outputs(0, 0, 0, 1, 1, 1)  # type: ignore[arg-type]


def outputs(
    encoder: EncoderConfig, params: Params, batch: MaskedBatch, needs: Needs, compute_dtype: str = "float32"
) -> Outputs:
    """Runs a model on a masked batch and keeps the outputs in `needs`; `compute_dtype` is that of products."""
    result = MaskedLM(encoder, dtype=jnp.dtype(compute_dtype), next_sentence=needs.next_sentence_logits).apply(
        {"params": params},
        batch.input_ids,
        batch.attention_mask,
        batch.token_type_ids,
        batch.positions,
        **needs.wanted,
    )
    return select_outputs(needs, result.encoder, result.logits, result.next_sentence_logits)


def select_outputs(
    needs: Needs, model: EncoderOutput, logits: jax.Array, next_sentence_logits: jax.Array | None = None
) -> Outputs:
    """Keeps the outputs in `needs`, of an encoder's output and its head's logits."""
    states = None
    layers = slice(-1 if needs.last_layer else 0, None)
    if needs.hidden_states:
        states = model.last_hidden_state[None] if needs.last_layer else model.hidden_states
    # Present where they were asked for.
    scores: Any = model.attention_scores
    values: Any = model.values
    return Outputs(
        logits=logits if needs.logits else None,
        next_sentence_logits=next_sentence_logits,
        embeddings=model.embeddings if needs.embeddings else None,
        hidden_states=states,
        attention_scores=scores[layers] if needs.attention_scores else None,
        values=values[layers] if needs.values else None,
    )


@partial(jax.jit, static_argnums=(0, 3, 4))
def teacher_outputs(
    encoder: EncoderConfig, params: Params, batch: MaskedBatch, needs: Needs, compute_dtype: str = "float32"
) -> Outputs:
    """Runs the teacher's `outputs` as a separate program, which all students of a process share."""
    return outputs(encoder, params, batch, needs, compute_dtype)
