"""The training of a system before fine-tuning in its record."""

from __future__ import annotations

from pydantic import Field

from benchmark.records.masked_lm import MaskedLMScores
from benchmark.records.strict_schema import Count, Digest, StrictModel


class Replicate(StrictModel):
    """One distillation of a student, with its `DistillConfig.seeds` entry, and the masked-LM scores of what it made."""

    seed: int = Field(ge=0)
    masked_lm_accuracy: float | None = Field(default=None, ge=0, le=100, allow_inf_nan=False)
    masked_lm_loss: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    masked_lm: MaskedLMScores | None = None
    parameters_sha256: Digest


class Training(StrictModel):
    """The training of the system before fine-tuning; `tokens` counts tokens that are not padding.

    `replicates` has every distillation of a student; masked-LM scores are their medians, and `steps`, `tokens` and
    `parameters_sha256` those of the first.
    `task_recipe` names the task-specific distillation that replaced fine-tuning; null where there was none. `start`
    names the checkpoint, in `Provenance.checkpoints`, that the system is or started from as a whole or in part; null
    where it started from random values or the teacher. `masked_lm_accuracy_before` is that of a teacher's checkpoint
    before its adaptation.
    `parameters_sha256` is the digest of the parameters before fine-tuning (`benchmark.commands.digests`).
    """

    recipe: str
    task_recipe: str | None = None
    teacher: str | None
    start: str | None = None
    steps: int = Field(ge=0)
    tokens: int = Field(ge=0)
    masked_lm_accuracy: float | None = Field(default=None, ge=0, le=100, allow_inf_nan=False)
    masked_lm_accuracy_before: float | None = Field(default=None, ge=0, le=100, allow_inf_nan=False)
    masked_lm_predictions: Count | None = None
    masked_lm_loss: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    masked_lm: MaskedLMScores | None = None
    parameters_sha256: Digest | None = None
    replicates: list[Replicate] = Field(default_factory=list)
