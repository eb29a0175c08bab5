"""Settings of task-specific distillation: a student learns a task from the teacher that was fine-tuned on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from benchmark.config.checks import Checked, setting
from benchmark.config.distillation import PhaseConfig
from benchmark.config.losses import LOSSES

KINDS = ("classification", "regression", "span")

PUBLISHED_COPIES: Mapping[str, int] = MappingProxyType(
    {
        "glue_cola_v1": 30,
        "glue_sst2_v1": 20,
        "glue_mrpc_v1": 30,
        "glue_stsb_v1": 30,
        "glue_qqp_v1": 10,
        "glue_mnli_matched_v1": 10,
        "glue_qnli_v1": 20,
        "glue_rte_v1": 30,
    }
)
"""Copies of each example in TinyBERT's released program (`data_augmentation.py`); its paper has 20, and 50 for CoLA."""

OTHER_COPIES = 10
"""Copies for tasks that the program does not know: the number of its large tasks, since SQuAD is one of them."""


def number_for_task(values: tuple[float, ...], place: int) -> float:
    """Picks the number of one task from a setting with one for all tasks or one for each of `DataConfig.tasks`."""
    return values[place if len(values) > 1 else 0]


@dataclass(frozen=True, kw_only=True)
class TaskPhaseConfig(PhaseConfig):
    """One phase of a task's distillation: the losses, layers, frozen groups and optimizer of a `PhaseConfig`.

    The loss `soft_cross_entropy` is that of the prediction: the cross-entropy of the student's task head against the
    teacher's distribution at `temperature`, of labels or of start and end places. A regression has no distribution and
    takes the squared error against the label.
    """

    # Limit of the phase; 0: none.
    steps: int = setting(0, at_least=0)
    # Length of the phase: one number for all tasks, or one for each of `DataConfig.tasks`.
    epochs: tuple[float, ...] = setting((3.0,), at_least=0.01)
    # Kinds of tasks that the phase trains with augmented rows; the others have the original ones.
    augmented: tuple[str, ...] = setting((), choices=KINDS)

    def check(self) -> None:
        """Rejects options that make no sense for a task: masked-LM and next-sentence losses, layer-by-layer phases."""
        super().check()
        if not self.epochs:
            self.refuse("epochs", "one number, or one for each task")
        for name in self.terms:
            if LOSSES[name].learns_from_labels:
                self.refuse("weights", f"weights without {name!r} in a phase of a task, whose text has no such labels")
        if self.per_layer:
            self.refuse("per_layer", "False in a phase of a task")


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig(Checked):
    """TinyBERT's augmentation: copies of a task's rows with some words replaced by words that the teacher expects."""

    # Copies of each row: one number for all tasks, one for each of `DataConfig.tasks`, or () for those of the released
    # program.
    copies: tuple[int, ...] = setting((), at_least=1)
    # Probability with which a word is replaced.
    rate: float = setting(0.4, at_least=0.0, at_most=1.0)
    # The replacement is one of the teacher's so many likeliest words.
    candidates: int = setting(15, at_least=1)

    def copies_of(self, task: str, place: int) -> int:
        """Number of copies of each row of a task, which is number `place` of `DataConfig.tasks`."""
        return int(number_for_task(self.copies, place)) if self.copies else PUBLISHED_COPIES.get(task, OTHER_COPIES)


@dataclass(frozen=True, kw_only=True)
class TaskDistillConfig(Checked):
    """Task-specific distillation, from the teacher instead of from the labels alone; docs/distillation.md.

    It replaces fine-tuning for found students and baselines; the teacher and the untrained control are fine-tuned.
    """

    recipe: str = setting("custom", pattern=r"[a-z0-9][a-z0-9_.-]{0,59}")
    phases: tuple[TaskPhaseConfig, ...] = setting()
    batch_size: int = setting(32, at_least=1)
    # As `DistillConfig.layer_map`.
    layer_map: str = setting("uniform", choices=("uniform", "last", "skip"))
    augmentation: AugmentationConfig | None = setting(None)
    checkpoint_every: int = setting(500, at_least=1)

    def check(self) -> None:
        """Refuses phases of one name, a task head that no phase trains, and augmented rows without augmentation."""
        names = [phase.name for phase in self.phases]
        for phase in self.phases:
            if names.count(phase.name) > 1:
                phase.refuse("name", "a different name for each phase")
            if phase.augmented and self.augmentation is None:
                phase.refuse("augmented", "() where TaskDistillConfig.augmentation is None")
        if not any("soft_cross_entropy" in phase.terms and "heads" not in phase.frozen for phase in self.phases):
            self.refuse("recipe", "a recipe with a phase whose loss soft_cross_entropy trains the task's head")
