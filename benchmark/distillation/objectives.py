"""The loss of a phase: a weighted sum of terms, of which only those that have a weight are computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from benchmark.config.losses import LOSSES, sort_losses
from benchmark.distillation import losses
from benchmark.distillation.outputs import Needs, Outputs, outputs
from benchmark.training.state import Mean

if TYPE_CHECKING:
    from benchmark.config import EncoderConfig, PhaseConfig
    from benchmark.models.trees import Params, PyTree
    from benchmark.training.state import Settings, TermsFunction

FUNCTIONS: Mapping[str, Callable[..., jax.Array]] = MappingProxyType(
    {name: getattr(losses, loss.function) for name, loss in LOSSES.items()}
)
"""The function of each loss of the table."""

# Number of items of the mean of a loss, of a batch and its float mask `[batch, length]`.
_COUNTS: dict[str, Callable[[PyTree, jax.Array], jax.Array]] = {
    "tokens": lambda _, mask: mask.sum(),
    "token_pairs": lambda _, mask: jnp.square(mask.sum(axis=1)).sum(),
    "predictions": lambda batch, _: batch.weights.sum(),
    "sentence_pairs": lambda batch, _: (batch.next_sentence_labels >= 0).sum(),
}


@dataclass(frozen=True)
class PhaseObjective:
    """The losses in the compiled step of a phase, without their weights.

    Attributes:
        terms: names of the losses in `benchmark.config.losses`.
        soft_labels: True where masked LM also learns from the teacher's distribution.
        last_layer: True where layer terms compare the last layers alone.
    """

    terms: frozenset[str]
    soft_labels: bool
    last_layer: bool

    @classmethod
    def from_phases(cls, phases: Iterable[PhaseConfig]) -> PhaseObjective:
        """Makes the smallest objective that holds all of the phases."""
        phases = tuple(phases)
        return cls(
            terms=frozenset(term for phase in phases for term in phase.terms),
            soft_labels=any("masked_lm" in phase.terms and phase.ground_truth_ratio < 1.0 for phase in phases),
            last_layer=all(phase.layers == "last" for phase in phases),
        )

    @property
    def student_needs(self) -> Needs:
        """Outputs of the student that it reads."""
        return Needs(**{LOSSES[term].reads: True for term in self.terms}, last_layer=self.last_layer)

    @property
    def teacher_needs(self) -> Needs:
        """Outputs of the teacher that it reads: none for losses that learn from labels, but logits for soft labels."""
        read = {LOSSES[term].reads: True for term in self.terms if not LOSSES[term].learns_from_labels}
        return Needs(**read | ({"logits": True} if self.soft_labels else {}), last_layer=self.last_layer)

    @property
    def projections(self) -> tuple[str, ...]:
        """Names of its maps from the student's width to the teacher's."""
        needs = self.student_needs
        named = {"projection": needs.hidden_states, "embedding_projection": needs.embeddings}
        return tuple(name for name, used in named.items() if used)

    def settings(self, phase: PhaseConfig, layer_weights: np.ndarray) -> dict[str, np.ndarray]:
        """Makes the settings of a step of `phase`, for the loss of `loss_function`.

        Args:
            phase: the phase; the terms that it lacks get weight 0.
            layer_weights: factor of each student layer's share of the layer terms, `[layers]`.

        Returns:
            The weight of each term, `layers` (one number where the objective compares last layers alone),
            `ground_truth_ratio` and `temperature`.
        """
        weights = {term: np.asarray(phase.weights.get(term, 0.0), np.float32) for term in self.terms}
        layers = layer_weights[-1:] if self.last_layer else layer_weights
        if phase.layers == "last":
            layers = layers * (np.arange(len(layers)) == len(layers) - 1)
        return weights | {
            "layers": layers.astype(np.float32),
            "ground_truth_ratio": np.asarray(phase.ground_truth_ratio, np.float32),
            "temperature": np.asarray(phase.temperature, np.float32),
        }


def loss_function(
    student: EncoderConfig,
    layers: tuple[int, ...],
    objective: PhaseObjective,
    compute_dtype: str = "float32",
    read: Callable[..., Outputs] = outputs,
    functions: Mapping[str, Callable[..., jax.Array]] = FUNCTIONS,
) -> TermsFunction:
    """Makes the loss of an objective, for `make_train_step`.

    Args:
        student: architecture.
        layers: teacher layer of each student layer.
        objective: the terms.
        compute_dtype: type of the student's activations and products; the losses are computed in float32.
        read: the student's outputs, `(encoder, params, batch, needs, compute_dtype) -> Outputs`.
        functions: the function of each loss.

    Returns:
        `(params, batch, settings) -> (terms, {})`. `params` holds `student` and, where widths differ, the
        objective's projections; the batch is that of `read` (a `MaskedBatch`) and the teacher's `Outputs` on it;
        `settings` come from `PhaseObjective.settings`. The terms are weighted as they enter the sum, in the order of
        the table.
    """
    # Every map gives the last student layer the teacher's last; student and teacher hand out nothing else in that case.
    mapped = np.zeros(1, np.int64) if objective.last_layer else np.asarray(layers)

    def loss(
        params: Params, batch: tuple[PyTree, Outputs], settings: Settings
    ) -> tuple[dict[str, Mean], dict[str, Mean]]:
        masked, teacher = batch
        own = _projected(read(student, params["student"], masked, objective.student_needs, compute_dtype), params)
        mask = masked.attention_mask.astype(jnp.float32)  # [batch, length]
        names = sort_losses(objective.terms)
        counts = {over: _COUNTS[over](masked, mask) for over in dict.fromkeys(LOSSES[n].mean_over for n in names)}
        terms = {}
        for name in names:
            entry, function = LOSSES[name], functions[name]
            ours, theirs = getattr(own, entry.reads), getattr(teacher, entry.reads)
            if entry.compares_layers:
                # Stacks [layers, batch, length, ...]; of the teacher's layers those that the student's imitate.
                theirs = _chosen(theirs, mapped)
            if entry.reads_logits:
                # Other terms may have asked for the teacher's logits, but hard labels alone are no mixture.
                theirs = None if entry.learns_from_labels and not objective.soft_labels else theirs
                value = function(ours, theirs, masked, settings)
            else:
                value = function(ours, theirs, mask)
            # One number, or one for each layer, `[layers]`, of which a stage may weigh a few with 0.
            value = settings[name] * value
            if entry.compares_layers:
                value = (value * settings["layers"]).sum()
            terms[name] = Mean(value, counts[entry.mean_over])
        return terms, {}

    return loss


def _chosen(stack: jax.Array, mapped: np.ndarray) -> jax.Array:
    """Takes layers `mapped` of a stack, as a slice, which needs no copy, where they lie evenly."""
    first, step = int(mapped[0]), int(mapped[1] - mapped[0]) if len(mapped) > 1 else 1
    if step > 0 and np.array_equal(mapped, first + step * np.arange(len(mapped))):
        return stack[first : int(mapped[-1]) + 1 : step]
    return stack[mapped]


def _projected(own: Outputs, params: Params) -> Outputs:
    """Maps the student's outputs to the teacher's width where there is a map to it."""
    if "projection" in params and own.hidden_states is not None:
        own = own._replace(hidden_states=_product(own.hidden_states, params["projection"]["kernel"]))
    if "embedding_projection" in params and own.embeddings is not None:
        own = own._replace(embeddings=_product(own.embeddings, params["embedding_projection"]["kernel"]))
    return own


def _product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`[..., width] @ [width, features]` as a product of two matrices, whose gradient takes a quarter less on a CPU."""
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], -1)
