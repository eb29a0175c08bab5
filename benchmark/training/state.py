"""The training state and the step that updates it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from benchmark.training import partitioning

LossFunction = Callable[..., tuple[jax.Array, dict[str, jax.Array]]]


class TrainState(NamedTuple):
    """Parameters and optimiser state; step number, data order and keys follow from the fit loop's counter."""

    params: Any
    opt_state: Any


def init_state(params: Any, direction: optax.GradientTransformation) -> TrainState:
    """A fresh state for `params`."""
    return TrainState(params, direction.init(params))


def make_train_step(
    loss_function: LossFunction, direction: optax.GradientTransformation, *, mesh: Mesh | None = None
) -> Callable[..., Any]:
    """Compiles one optimisation step.

    Args:
        loss_function: `(params, batch, settings) -> (loss, parts)`; `settings` is a dictionary of arrays that may
            change from step to step without a new compile.
        direction: optimiser without learning rate.
        mesh: the mesh that state and batch lie on; None for one device.

    Returns:
        `step(state, batch, rate, settings) -> (state, metrics)`; `rate` is a scalar, or a tree of factors shaped like
        the parameters (each leaf broadcasts against its parameter). The state is donated. `metrics` holds the loss, its
        parts and the gradient norm.
    """

    def step(state: TrainState, batch: Any, rate: Any, settings: dict[str, Any]) -> Any:
        (loss, parts), gradients = jax.value_and_grad(loss_function, has_aux=True)(state.params, batch, settings)
        updates, opt_state = direction.update(gradients, state.opt_state, state.params)
        if isinstance(rate, Mapping):
            params = jax.tree.map(lambda p, u, r: p - r * u, state.params, updates, rate)
        else:
            params = jax.tree.map(lambda p, u: p - rate * u, state.params, updates)
        metrics = {"loss": loss, "gradient_norm": optax.tree.norm(gradients), **parts}
        new_state = TrainState(params, opt_state), jax.tree.map(jnp.asarray, metrics)
        return partitioning.constrain(mesh, new_state)

    return jax.jit(step, donate_argnums=0)
