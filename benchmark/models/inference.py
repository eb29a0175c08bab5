"""The encoder as a fixed program for serving: parameters are constants of it, so that nothing is unpacked in a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmark.config import EncoderConfig
from benchmark.models.encoder import Encoder

# Up to here the layers are laid out in a row, which saves the loop's bookkeeping; beyond, compiling would take longer
# than the calls save.
UNROLLED_LAYERS = 12


def compile_encoder(encoder: EncoderConfig, params: Any, batch: int, length: int) -> Callable[..., jax.Array]:
    """Compiles an encoder ahead of time for one shape.

    Args:
        encoder: architecture.
        params: its parameters.
        batch: number of sequences of a call.
        length: their length.

    Returns:
        `run(input_ids, attention_mask, token_type_ids) -> last hidden state`: int32 `[batch, length]` in, float32
        `[batch, length, hidden]` out. It never compiles again.
    """
    depth = encoder.num_hidden_layers
    model = Encoder(encoder, depth if depth <= UNROLLED_LAYERS else 1)
    constants = jax.tree.map(jnp.asarray, params)

    def run(input_ids: jax.Array, attention_mask: jax.Array, token_type_ids: jax.Array) -> jax.Array:
        return model.apply({"params": constants}, input_ids, attention_mask, token_type_ids).last_hidden_state

    ids = jax.ShapeDtypeStruct((batch, length), jnp.int32)
    compiled: Callable[..., jax.Array] = jax.jit(run).lower(ids, ids, ids).compile()
    return compiled
