"""Initial parameters, drawn on the host: nothing is compiled, and the values do not depend on the backend."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    import flax.linen as nn

    from benchmark.config import EncoderConfig
    from benchmark.models.trees import Params


def sinusoids(length: int, width: int) -> np.ndarray:
    """Position table of arXiv 1706.03762, section 3.5: sine in even channels, cosine in odd ones, `[length, width]`."""
    channels = np.arange(width)
    angles = np.arange(length)[:, None] / 10000.0 ** (channels // 2 * 2 / width)
    return np.where(channels % 2 == 0, np.sin(angles), np.cos(angles)).astype(np.float32)


def shapes(model: nn.Module, num_inputs: int) -> Params:
    """Evaluates the shapes of a model's parameters, as `jax.ShapeDtypeStruct`; arguments as of `init_tree`."""
    ids = jax.ShapeDtypeStruct((1, 8), jnp.int32)
    variables: dict[str, Params] = jax.eval_shape(model.init, jax.eval_shape(jax.random.key, 0), *[ids] * num_inputs)
    return variables["params"]


def init_tree(model: nn.Module, encoder: EncoderConfig, seed: int, num_inputs: int) -> Params:
    """Draws parameters as BERT does: weights normal, truncated at two standard deviations; norms at 1 and 0.

    Each array has its own stream, keyed by the seed and by its path: parts that two models share start alike.

    Args:
        model: a module whose call takes `num_inputs` arrays of token ids.
        encoder: gives the standard deviation, `initializer_range`.
        seed: the seed.
        num_inputs: number of positional inputs of the model's call.

    Returns:
        The parameter tree, float32.
    """

    def draw(path: tuple[jax.tree_util.DictKey, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        name = path[-1].key
        if name in ("bias", "scale"):
            return np.full(leaf.shape, float(name == "scale"), np.float32)
        if name == "position_embeddings" and encoder.position_initializer == "sinusoidal":
            return sinusoids(*leaf.shape) * np.float32(encoder.initializer_range)
        stream = zlib.crc32("/".join(entry.key for entry in path).encode())
        values = np.random.default_rng((seed, stream)).standard_normal(leaf.shape, np.float32)
        # Truncation: values beyond two standard deviations are drawn again until none is left.
        rng = np.random.default_rng((seed, stream, 1))
        flat = values.reshape(-1)
        outside = np.flatnonzero(np.abs(flat) > 2.0)
        while outside.size:
            flat[outside] = drawn = rng.standard_normal(outside.size, np.float32)
            outside = outside[np.abs(drawn) > 2.0]
        return values * np.float32(encoder.initializer_range)

    return dict(jax.tree.map_with_path(draw, shapes(model, num_inputs)))
