"""Optimizers without their learning rate, and the schedule that gives it.

The learning rate enters a train step as an argument. One compiled step therefore serves every schedule, phase length,
task and seed, and rates that differ between layers are a plain product.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import optax

if TYPE_CHECKING:
    from benchmark.config import OptimizerConfig
    from benchmark.models.trees import Params, PyTree


def _decayed(params: Params) -> PyTree:
    """True for the parameters that weight decay applies to: neither biases nor norm gains, as in BERT."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key not in ("bias", "scale"), params)


def _clip_by_global_norm(limit: float) -> optax.GradientTransformation:
    """Optax's transformation of that name with one factor for all gradients.

    Optax divides and selects in every array, which is two more kernels to compile for each shape of parameters.
    """

    def update(
        updates: Params, state: optax.EmptyState, params: Params | None = None
    ) -> tuple[Params, optax.EmptyState]:
        del params
        return optax.tree.scale(jnp.minimum(1.0, limit / optax.tree.norm(updates)), updates), state

    return optax.GradientTransformation(optax.init_empty_state, update)


def _scale_by_trust_ratio() -> optax.GradientTransformation:
    """Optax's transformation of that name for the parameters that decay, without its two copies of every array."""

    def scaled(decays: bool, update: jax.Array, param: jax.Array) -> jax.Array:
        if not decays:
            return update
        size, length = optax.tree.norm(param), optax.tree.norm(update)
        return update * jnp.where((size > 0) & (length > 0), size / length, 1.0)

    def update(updates: Params, state: optax.EmptyState, params: Params) -> tuple[Params, optax.EmptyState]:
        return jax.tree.map(scaled, _decayed(params), updates, params), state

    return optax.GradientTransformation(optax.init_empty_state, update)


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """Builds the transformation from gradients to the update for learning rate 1.

    Args:
        config: AdamW (arXiv 1711.05101) or LAMB (arXiv 1904.00962; no trust ratio for biases and norms, as in
            MobileBERT's released code), global-norm clipping first.

    Returns:
        An optax transformation; the caller multiplies its result by minus the learning rate.
    """
    steps = [
        _clip_by_global_norm(config.clip_norm),
        optax.scale_by_adam(b1=config.beta1, b2=config.beta2, eps=config.epsilon),
        optax.add_decayed_weights(config.weight_decay, mask=_decayed),
    ]
    if config.name == "lamb":
        steps.append(_scale_by_trust_ratio())
    return optax.chain(*steps)


def learning_rate(config: OptimizerConfig, step: int, total_steps: int) -> float:
    """Learning rate of one step: linear warm-up, then linear decay to `end_factor` of the peak.

    Args:
        config: peak, warm-up fraction, end factor, and where the decay begins.
        step: number of steps already done, from 0.
        total_steps: length of the phase.

    Returns:
        The rate; the first step has one warm-up step's share, never 0.
    """
    warmup = int(config.warmup_fraction * total_steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    begin = warmup if config.decay_from == "warmup" else 0
    progress = (step - begin) / max(1, total_steps - begin)
    return config.learning_rate * (1.0 - (1.0 - config.end_factor) * progress)
