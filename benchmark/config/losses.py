"""The table of distillation losses: the output that each one reads, its function, its mean and its source.

It is the only list of their names. A phase weighs them by name (`PhaseConfig.weights`), so that a recipe is checked
before jax is loaded; `benchmark.distillation.objectives` takes the functions out of `benchmark.distillation.losses`.
The order is that in which the terms of a phase are added.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

LAYER_STACKS = ("hidden_states", "attention_scores", "values")
"""Outputs with one entry for each layer; a loss on one of them gives one number for each layer."""


@dataclass(frozen=True)
class Loss:
    """One loss.

    Attributes:
        reads: the output of student and teacher that it reads, a field of `benchmark.distillation.outputs.Outputs`.
        function: its name in `benchmark.distillation.losses`: `(student, teacher, mask)` where it compares states, and
            `(student, teacher, batch, settings)` where it reads the logits of a head.
        mean_over: the items of its mean: real tokens, pairs of them, predictions, or pairs of sentences.
        source: its publication.
        learns_from_labels: True where it learns from the labels of the text. Such a loss reads nothing of the teacher
            but logits, where `PhaseConfig.ground_truth_ratio` leaves them a share, and no task has it.
    """

    reads: Literal["hidden_states", "attention_scores", "values", "embeddings", "logits", "next_sentence_logits"]
    function: str
    mean_over: Literal["tokens", "token_pairs", "predictions", "sentence_pairs"]
    source: str
    learns_from_labels: bool = False

    @property
    def compares_layers(self) -> bool:
        """True where it gives one number for each layer."""
        return self.reads in LAYER_STACKS

    @property
    def reads_logits(self) -> bool:
        """True where it reads the logits of a head."""
        return self.reads.endswith("logits")


_BERT, _DISTILBERT = "BERT, arXiv 1810.04805", "DistilBERT, arXiv 1910.01108"
_MINILM, _TINYBERT = "MiniLM, arXiv 2002.10957", "TinyBERT, arXiv 1909.10351"
_MOBILEBERT = "MobileBERT, arXiv 2004.02984"
_MOBILEBERT_CODE = f"{_MOBILEBERT}, released programs"

LOSSES: Mapping[str, Loss] = MappingProxyType(
    {
        "feature_map": Loss("hidden_states", "feature_map_loss", "tokens", _MOBILEBERT),
        "feature_mean": Loss("hidden_states", "feature_mean_loss", "tokens", _MOBILEBERT_CODE),
        "feature_variance": Loss("hidden_states", "feature_variance_loss", "tokens", _MOBILEBERT_CODE),
        "attention": Loss("attention_scores", "attention_loss", "tokens", _MOBILEBERT),
        "hidden": Loss("hidden_states", "hidden_loss", "tokens", _TINYBERT),
        "attention_score": Loss("attention_scores", "attention_score_loss", "token_pairs", _TINYBERT),
        "cosine": Loss("hidden_states", "cosine_loss", "tokens", _DISTILBERT),
        "attention_relation": Loss("attention_scores", "attention_relation_loss", "tokens", _MINILM),
        "value_relation": Loss("values", "value_relation_loss", "tokens", _MINILM),
        "embedding": Loss("embeddings", "embedding_loss", "tokens", _TINYBERT),
        "masked_lm": Loss("logits", "masked_lm_loss", "predictions", f"{_BERT}, and {_MOBILEBERT}", True),
        "soft_cross_entropy": Loss("logits", "prediction_loss", "predictions", _DISTILBERT),
        "next_sentence": Loss("next_sentence_logits", "sentence_order_loss", "sentence_pairs", _BERT, True),
    }
)


def sort_losses(names: Iterable[str]) -> tuple[str, ...]:
    """Sorts losses into the order of the table."""
    chosen = frozenset(names)
    return tuple(name for name in LOSSES if name in chosen)
