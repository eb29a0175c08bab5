"""The encoder as a fixed program for serving one shape.

Shallow encoders have their layers laid out in a row and their parameters as constants of the program, so that the share
of a layer need not be cut out of the stacked arrays in a call. In deep ones layers stay in a loop, which cuts in any
case, and parameters are arguments: as constants they would only be compiled along (MobileBERT: 4.8 instead of 0.7
CPU-seconds).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from benchmark.models.encoder import Encoder

if TYPE_CHECKING:
    from benchmark.config import EncoderConfig
    from benchmark.models.trees import Params

# Up to here the layers are laid out in a row, which saves the loop's bookkeeping; beyond, compiling would take longer
# than the calls save.
UNROLLED_LAYERS = 12


def compile_encoder(encoder: EncoderConfig, params: Params, batch: int, length: int) -> Callable[..., jax.Array]:
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
    unrolled = depth <= UNROLLED_LAYERS
    model = Encoder(encoder, depth if unrolled else 1)
    on_device = jax.tree.map(jnp.asarray, params)

    def run(values: Params, input_ids: jax.Array, attention_mask: jax.Array, token_type_ids: jax.Array) -> jax.Array:
        return model.apply({"params": values}, input_ids, attention_mask, token_type_ids).last_hidden_state

    ids = jax.ShapeDtypeStruct((batch, length), jnp.int32)
    if unrolled:
        constant: Callable[..., jax.Array] = jax.jit(partial(run, on_device)).lower(ids, ids, ids).compile()
        return constant
    compiled: Callable[..., jax.Array] = jax.jit(run).lower(on_device, ids, ids, ids).compile()
    return partial(compiled, on_device)
