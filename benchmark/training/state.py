"""The training state and its train step: accumulation, a guard against NaN, several steps at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from benchmark.config import TrainerConfig
from benchmark.training import partitioning

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from benchmark.models.trees import Params, PyTree

# Training without further settings.
DEFAULTS = TrainerConfig()

# Arrays by name that a step reads and no compiled program depends on; constants may be whole trees.
Settings: TypeAlias = "dict[str, PyTree]"
# (parameters, batch, settings) -> loss or its terms, and other metrics; see `make_train_step`.
LossFunction: TypeAlias = (
    "Callable[[Params, PyTree, Settings], tuple[jax.Array | Mapping[str, Mean], Mapping[str, Mean | jax.Array]]]"
)
# The same where the loss is a dictionary of terms.
TermsFunction: TypeAlias = "Callable[[Params, PyTree, Settings], tuple[dict[str, Mean], dict[str, Mean]]]"
# (state, batch, rate, settings[, constants]) -> state and metrics; see `make_train_step`.
TrainStep: TypeAlias = "Callable[..., tuple[TrainState, dict[str, jax.Array]]]"

# Names of metrics that `benchmark.training.fit` reads at every step and does not write down as they are.
SOUND = "sound"
TOKENS = "tokens"


class TrainState(NamedTuple):
    """Parameters and optimizer state; step number, data order and keys follow from the fit loop's counter."""

    params: Params
    opt_state: optax.OptState


class Mean(NamedTuple):
    """A mean over a part of the batch, and its number of items: predictions, tokens or rows.

    The mean over two parts is the mean of their means, weighted by that number.
    """

    value: jax.Array
    weight: jax.Array


def init_state(params: Params, optimizer: optax.GradientTransformation) -> TrainState:
    """Makes the first state of a training of `params`."""
    return TrainState(params, optimizer.init(params))


def _means(
    outcome: tuple[jax.Array | Mapping[str, Mean], Mapping[str, Mean | jax.Array]],
) -> tuple[dict[str, Mean], dict[str, Mean]]:
    """Terms of the loss and other metrics as `Mean`; a plain number is a mean over rows, equal in all parts."""
    loss, metrics = outcome
    terms = loss if isinstance(loss, Mapping) else {"loss": loss}
    one = jnp.ones(())
    return tuple(  # type: ignore[return-value]
        {name: value if isinstance(value, Mean) else Mean(value, one) for name, value in group.items()}
        for group in (terms, metrics)
    )


def _loss(terms: dict[str, Mean], metrics: dict[str, Mean]) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The sum of the terms, and terms and metrics as numbers."""
    values = {name: mean.value for name, mean in {**terms, **metrics}.items()}
    return sum((mean.value for mean in terms.values()), jnp.zeros(())), values


def divide(batch: PyTree, parts: int, batch_axes: PyTree = 0) -> PyTree:
    """Divides a batch into equal parts, stacked along a new first axis.

    Part `i` holds every `parts`-th row from row `i` on. Where the rows of a batch lie on several devices, in
    contiguous blocks, each device holds its share of every part, and nothing is moved.

    Args:
        batch: arrays with a batch axis each.
        parts: number of parts.
        batch_axes: the batch axis of every array, as a prefix of the tree of `batch`.

    Returns:
        The arrays with shape `[parts, ..., rows / parts, ...]`.

    Raises:
        ValueError: the rows cannot be divided evenly.
    """

    def divided(axis: int, leaf: jax.Array) -> jax.Array:
        rows = leaf.shape[axis]
        if rows % parts:
            raise ValueError(f"a batch of {rows} rows cannot be divided into {parts} equal parts")
        shape = (*leaf.shape[:axis], rows // parts, parts, *leaf.shape[axis + 1 :])
        return jnp.moveaxis(leaf.reshape(shape), axis + 1, 0)

    return jax.tree.map(divided, jax.tree.broadcast(batch_axes, batch), batch)


def _accumulated(
    loss_function: LossFunction, params: Params, divided: PyTree, settings: Settings
) -> tuple[tuple[jax.Array, dict[str, jax.Array]], Params]:
    """Values and gradients of the whole batch, computed from its parts one after the other.

    A term of the loss is a mean over predictions or tokens, of which the parts have different numbers. The weight of a
    part must be known before its gradient is taken, so a first pass counts; the counts do not depend on the model, and
    the compiler leaves the model out of that pass.
    """

    def counts(part: PyTree) -> dict[str, jax.Array]:
        terms, metrics = _means(loss_function(params, part, settings))
        return {name: jnp.asarray(mean.weight, jnp.float32) for name, mean in {**terms, **metrics}.items()}

    found = jax.lax.map(counts, divided)
    shares = {name: count / jnp.maximum(count.sum(), 1.0) for name, count in found.items()}

    def weighted(params: Params, part: PyTree, share: dict[str, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
        groups = _means(loss_function(params, part, settings))
        return _loss(*({n: Mean(m.value * share[n], m.weight) for n, m in group.items()} for group in groups))

    def add(sums: PyTree, inputs: tuple[PyTree, dict[str, jax.Array]]) -> tuple[PyTree, None]:
        return jax.tree.map(jnp.add, sums, jax.value_and_grad(weighted, has_aux=True)(params, *inputs)), None

    shapes = jax.eval_shape(
        jax.value_and_grad(weighted, has_aux=True), params, *jax.tree.map(lambda x: x[0], (divided, shares))
    )
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return jax.lax.scan(add, zeros, (divided, shares))[0]


def make_train_step(
    loss_function: LossFunction,
    optimizer: optax.GradientTransformation,
    *,
    accumulation_steps: int = 1,
    batch_axes: PyTree = 0,
    count_tokens: Callable[[PyTree], jax.Array] | None = None,
    mesh: Mesh | None = None,
) -> TrainStep:
    """Compiles one optimisation step.

    Args:
        loss_function: `(params, batch, settings) -> (loss, metrics)`. The loss is a scalar, a mean over the rows of the
            batch, or a dictionary of terms to be summed, each a `Mean`; so may the metrics be. `settings` is a
            dictionary of arrays: those of the step, which may change without a new compile, and `constants`.
        optimizer: as `make_optimizer` gives it, without learning rate.
        accumulation_steps: parts into which a batch is divided; they are computed one after the other, in the memory of
            one, and give the loss and the gradient of the whole batch up to rounding.
        batch_axes: see `divide`.
        count_tokens: the number of real tokens of a batch, for the tokens per second that a fit reports.
        mesh: the mesh that state and batch lie on; None for one device.

    Returns:
        `step(state, batch, rate, settings, constants) -> (state, metrics)`; `rate` is a scalar, or a tree of factors
        shaped like the parameters (each leaf broadcasts against its parameter); `constants` are optional, a dictionary
        of arrays or trees that all steps share. The state is donated. `metrics` holds the loss, its terms, the other
        metrics, the gradient norm, `tokens` where they are counted, and `sound`: True where loss, gradient and update
        are finite. Where loss or gradient are not, the parameters stay as they were, and no parameter ever takes a
        value that is not finite; the run is expected to end there, as the optimizer's state is spoilt.
    """

    def whole(params: Params, batch: PyTree, settings: Settings) -> tuple[jax.Array, dict[str, jax.Array]]:
        return _loss(*_means(loss_function(params, batch, settings)))

    def step(
        state: TrainState, batch: PyTree, rate: PyTree, settings: Settings, constants: Settings | None = None
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        settings = settings | (constants or {})
        if accumulation_steps == 1:
            (loss, parts), gradients = jax.value_and_grad(whole, has_aux=True)(state.params, batch, settings)
        else:
            divided = divide(batch, accumulation_steps, batch_axes)
            (loss, parts), gradients = _accumulated(loss_function, state.params, divided, settings)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        if isinstance(rate, Mapping):
            params = jax.tree.map(lambda p, u, r: p - r * u, state.params, updates, rate)
        else:
            params = jax.tree.map(lambda p, u: p - rate * u, state.params, updates)
        metrics = {**parts, "loss": loss, "gradient_norm": optax.tree.norm(gradients)}
        sound = jnp.isfinite(loss) & jnp.isfinite(metrics["gradient_norm"])
        # The optimizer's own state is left as it is: no later step uses it, and its values do not get in here.
        params = jax.tree.map(lambda new, old: jnp.where(sound & jnp.isfinite(new), new, old), params, state.params)
        # An optimizer may divide by zero where loss and gradient are finite.
        metrics[SOUND] = sound & jnp.isfinite(optax.tree.norm(updates))
        if count_tokens is not None:
            metrics[TOKENS] = count_tokens(batch)
        new_state = TrainState(params, opt_state), jax.tree.map(jnp.asarray, metrics)
        return partitioning.constrain(mesh, new_state)

    return jax.jit(step, donate_argnums=0)


@lru_cache(maxsize=8)
def repeat_step(step: TrainStep) -> TrainStep:
    """Compiles several steps into one program, which saves the host's share of each step.

    Args:
        step: as `make_train_step` gives it.

    Returns:
        `steps(state, batches, rates, settings, constants) -> (state, metrics)`, where every array but those of state
        and constants has one more axis, the first, along which the steps lie. The state is donated.
    """

    def steps(
        state: TrainState, batches: PyTree, rates: PyTree, settings: Settings, *constants: Settings
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        return jax.lax.scan(lambda state, inputs: step(state, *inputs, *constants), state, (batches, rates, settings))

    return jax.jit(steps, donate_argnums=0)
