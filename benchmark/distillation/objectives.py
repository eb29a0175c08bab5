"""The loss of a phase: a weighted sum of terms, of which only those that have a weight are computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmark.config import EncoderConfig, PhaseConfig
from benchmark.distillation import losses
from benchmark.distillation.outputs import Needs, Outputs, outputs
from benchmark.training.state import LossFunction, Mean

# Term -> the stack over layers that it compares, and its loss `(student, teacher, mask) -> [layers]`.
_LAYER_LOSSES = {
    "feature_map": ("hidden_states", losses.feature_map_loss),
    "feature_mean": ("hidden_states", losses.feature_mean_loss),
    "feature_variance": ("hidden_states", losses.feature_variance_loss),
    "attention": ("attention_scores", losses.attention_loss),
    "hidden": ("hidden_states", losses.hidden_loss),
    "attention_score": ("attention_scores", losses.attention_score_loss),
    "cosine": ("hidden_states", losses.cosine_loss),
    "attention_relation": ("attention_scores", losses.attention_relation_loss),
    "value_relation": ("values", losses.value_relation_loss),
}


@dataclass(frozen=True)
class Objective:
    """What a compiled loss holds; weights are no part of it.

    Attributes:
        terms: its terms.
        soft_labels: whether masked LM also learns from the teacher's distribution.
        last_layer: whether layer terms compare the last layers alone.
    """

    terms: frozenset[str]
    soft_labels: bool
    last_layer: bool

    @classmethod
    def of(cls, phases: Iterable[PhaseConfig]) -> Objective:
        """The smallest objective that holds all of the phases."""
        phases = tuple(phases)
        return cls(
            terms=frozenset(term for phase in phases for term in phase.weights),
            soft_labels=any(phase.masked_lm_weight and phase.ground_truth_ratio < 1.0 for phase in phases),
            last_layer=all(phase.layers == "last" for phase in phases),
        )

    @property
    def student_needs(self) -> Needs:
        """What it reads of the student."""
        fields = {_LAYER_LOSSES[term][0] for term in self.terms if term in _LAYER_LOSSES}
        return Needs(
            logits=bool({"masked_lm", "soft_cross_entropy"} & self.terms),
            next_sentence="next_sentence" in self.terms,
            embeddings="embedding" in self.terms,
            hidden_states="hidden_states" in fields,
            attention_scores="attention_scores" in fields,
            values="values" in fields,
            last_layer=self.last_layer,
        )

    @property
    def teacher_needs(self) -> Needs:
        """What it reads of the teacher: as of the student, but no logits where all labels are hard."""
        soft = self.soft_labels or "soft_cross_entropy" in self.terms
        return self.student_needs._replace(logits=soft, next_sentence=False)

    @property
    def projections(self) -> tuple[str, ...]:
        """Names of the maps from the student's width to the teacher's that it may use."""
        needs = self.student_needs
        named = {"projection": needs.hidden_states, "embedding_projection": needs.embeddings}
        return tuple(name for name, used in named.items() if used)

    def settings(self, phase: PhaseConfig, layer_weights: np.ndarray) -> dict[str, np.ndarray]:
        """Settings of a step of `phase`, for the loss of `loss_function`.

        Args:
            phase: the phase; the terms that it lacks get weight 0.
            layer_weights: what multiplies each student layer's share of the layer terms, `[layers]`.

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
    objective: Objective,
    compute_dtype: str = "float32",
    read: Callable[..., Outputs] = outputs,
    batch_terms: Callable[..., dict[str, jax.Array]] | None = None,
) -> LossFunction:
    """Loss of an objective, for `make_train_step`.

    Args:
        student: architecture.
        layers: teacher layer of each student layer.
        objective: which terms there are.
        compute_dtype: type of the student's activations and products; the losses are computed in float32.
        read: the student's outputs, `(encoder, params, batch, needs, compute_dtype) -> Outputs`.
        batch_terms: the terms that compare no layers, as `batch_losses`, which is the default.

    Returns:
        `(params, batch, settings) -> (terms, {})`. `params` holds `student` and, where widths differ, the
        objective's projections; the batch is what `read` takes (a `MaskedBatch`) and the teacher's `Outputs` on it;
        `settings` come from `Objective.settings`. The terms are weighted as they enter the sum.
    """
    of_batch = batch_terms or batch_losses
    # Every map gives the last student layer the teacher's last, which is all that either hands out in that case.
    mapped = np.zeros(1, np.int64) if objective.last_layer else np.asarray(layers)

    def loss(params: Any, batch: Any, settings: dict[str, Any]) -> tuple[dict[str, Mean], dict[str, Mean]]:
        masked, teacher = batch
        own = _projected(read(student, params["student"], masked, objective.student_needs, compute_dtype), params)
        mask = masked.attention_mask.astype(jnp.float32)
        counts = _counts(objective, masked, mask)
        terms = {}
        for term, (field, function) in _LAYER_LOSSES.items():
            if term in objective.terms:
                value = function(getattr(own, field), _chosen(getattr(teacher, field), mapped), mask)
                terms[term] = Mean((settings[term] * value * settings["layers"]).sum(), counts[term])
        for term, value in of_batch(objective, own, teacher, masked, mask, settings).items():
            terms[term] = Mean(settings[term] * value, counts[term])
        return terms, {}

    return loss


def _chosen(stack: jax.Array, mapped: np.ndarray) -> jax.Array:
    """Layers `mapped` of a stack: a slice, which needs no copy, where they lie evenly."""
    first, step = int(mapped[0]), int(mapped[1] - mapped[0]) if len(mapped) > 1 else 1
    if step > 0 and np.array_equal(mapped, first + step * np.arange(len(mapped))):
        return stack[first : int(mapped[-1]) + 1 : step]
    return stack[mapped]


def _counts(objective: Objective, masked: Any, mask: jax.Array) -> dict[str, jax.Array]:
    """What the mean of each term is taken over: tokens, pairs of tokens, predictions, or pairs of sentences."""
    counts = dict.fromkeys((*_LAYER_LOSSES, "embedding"), mask.sum())
    counts["attention_score"] = jnp.square(mask.sum(axis=1)).sum()
    counts |= dict.fromkeys(("masked_lm", "soft_cross_entropy"), masked.weights.sum())
    if "next_sentence" in objective.terms:
        counts["next_sentence"] = (masked.next_sentence_labels >= 0).sum()
    return counts


def _projected(own: Outputs, params: Any) -> Outputs:
    """The student's outputs, in the teacher's width where there is a map to it."""
    if "projection" in params and own.hidden_states is not None:
        own = own._replace(hidden_states=_product(own.hidden_states, params["projection"]["kernel"]))
    if "embedding_projection" in params and own.embeddings is not None:
        own = own._replace(embeddings=_product(own.embeddings, params["embedding_projection"]["kernel"]))
    return own


def _product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`[..., width] @ [width, features]` as a product of two matrices, whose gradient takes a quarter less on a CPU."""
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], -1)


def batch_losses(
    objective: Objective, own: Outputs, teacher: Outputs, masked: Any, mask: jax.Array, settings: Any
) -> dict[str, jax.Array]:
    """The terms that are one number for a batch, before their weights; `mask` is 1 for tokens, `[batch, length]`."""
    found: dict[str, Any] = {}
    if "embedding" in objective.terms:
        found["embedding"] = losses.embedding_loss(own.embeddings, teacher.embeddings, mask)
    if "masked_lm" in objective.terms:
        labels, weights = masked.labels, masked.weights
        if objective.soft_labels:
            ratio = settings["ground_truth_ratio"]
            found["masked_lm"] = losses.mixed_masked_lm_loss(own.logits, teacher.logits, labels, weights, ratio)
        else:
            hard = optax.softmax_cross_entropy_with_integer_labels(own.logits, labels)
            found["masked_lm"] = (hard * weights).sum() / jnp.maximum(weights.sum(), 1.0)
    if "soft_cross_entropy" in objective.terms:
        found["soft_cross_entropy"] = losses.soft_cross_entropy_loss(
            own.logits, teacher.logits, masked.weights, settings["temperature"]
        )
    if "next_sentence" in objective.terms:
        follows: Any = masked.next_sentence_labels
        found["next_sentence"] = losses.next_sentence_loss(own.next_sentence_logits, follows)
    return found
