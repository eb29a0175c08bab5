"""Tensors of Hugging Face checkpoints that are no part of a model here: what is left out, and why."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from benchmark.models.hugging_face_layouts import LAYOUTS

if TYPE_CHECKING:
    import numpy as np

    from benchmark.config import EncoderConfig

# TinyBERT's published checkpoints keep the maps from the student's states to the teacher's width, one for all layers
# (`fit_dense`) or one for each (`fit_denses`, version 2); only its distillation uses them (arXiv 1909.10351).
_FIT_DENSE = re.compile(r"fit_dense\.(weight|bias)|fit_denses\.\d+\.(weight|bias)")
_CLASSIFIER = ("classifier.weight", "classifier.bias")
# Ends of the names of transformers' classes whose `classifier` scores something else than the whole text.
_OTHER_CLASSIFIERS = ("ForTokenClassification", "ForMultipleChoice")


def without_others(
    plain: Mapping[str, np.ndarray], encoder: EncoderConfig, model_type: str, architectures: Collection[str]
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Leaves out the tensors that belong neither to the encoder nor to one of our heads.

    A head for tokens or for multiple choice has the names of one for whole texts. It is told from that by
    `architectures`, by the names of layouts whose head for whole texts is `classifier.out_proj`, or by the lack of the
    pooler that a head for whole texts reads.

    Args:
        plain: name as `plain_names` gives it -> array.
        encoder: architecture.
        model_type: one of `benchmark.models.hugging_face.MODEL_TYPES`.
        architectures: names of classes in `config.json`.

    Returns:
        The other tensors, and one line for each kind that was left out.
    """
    notes = []
    fit = [name for name in plain if model_type == "bert" and _FIT_DENSE.fullmatch(name)]
    if fit:
        notes.append(
            f"{_listed(fit)} left out: TinyBERT's maps to the width of its teacher, for its distillation alone"
        )
    head = [name for name in _CLASSIFIER if name in plain and _scores_something_else(plain, encoder, model_type)]
    named = next((name for name in architectures if name.endswith(_OTHER_CLASSIFIERS)), "")
    if named:
        head = [name for name in _CLASSIFIER if name in plain]
    if head:
        notes.append(f"{_listed(head)} left out: the head of {named or 'another task'}, no classifier of whole texts")
    left_out = {*fit, *head}
    return {name: value for name, value in plain.items() if name not in left_out}, tuple(notes)


def _scores_something_else(plain: Mapping[str, np.ndarray], encoder: EncoderConfig, model_type: str) -> bool:
    layout = LAYOUTS[model_type]
    if "classifier" not in layout.heads:
        return True
    pooler = layout.pooler(with_classifier=True)
    return encoder.pooler != "none" and not any(name.startswith(f"{pooler}.") for name in plain)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
