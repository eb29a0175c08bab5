"""The scores of a system on one task in its record."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from benchmark.records.contamination import Contamination
from benchmark.records.strict_schema import Count, Digest, Finite, Percent, StrictModel
from benchmark.records.task_definition import TaskDefinition
from benchmark.records.task_recipe import DivergedSeed, TaskRecipe
from benchmark.records.training_file import TrainingFile


class MetricScore(StrictModel):
    """One metric of one task, in percent (correlations times 100); `value` is the median over seeds.

    `interval` is the 95 % interval of the median seed's score by bootstrap over examples.
    """

    value: Percent
    per_seed: list[Percent] = Field(min_length=1)
    interval: tuple[Percent, Percent] | None = None

    @field_validator("interval", mode="before")
    @classmethod
    def _pair(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _ordered(self) -> MetricScore:
        if self.interval is not None and not self.interval[0] <= self.interval[1]:
            raise ValueError("interval must rise")
        return self


class TaskScore(StrictModel):
    """Scores of one task; `primary_metric` names the one that averages and plots use.

    Each of `MetricScore.per_seed` is one run: `seeds` has its fine-tuning seed, and `distill_seeds` the seed of the
    distillation whose student it started from; that is empty where one model was fine-tuned, which the run did not
    distil.
    `details` holds further numbers of the median seed; for SQuAD v2.0 those of its script, such as `best_f1_thresh`.
    `predictions_sha256` has the digest of each run's predictions: equal digests mean equal bits. `outcomes_sha256` is
    that of what the runs made of every example (`benchmark.records.outcomes`). `definition` is that of an own task;
    those of the catalogue have none. `recipe` is that of the fine-tuning; null where the task was distilled, and in
    older records.
    """

    task: str
    split: str
    primary_metric: str
    metrics: dict[str, MetricScore]
    num_examples: Count
    seeds: list[int] = Field(min_length=1)
    distill_seeds: list[int] = Field(default_factory=list)
    predictions: list[str] = Field(default_factory=list, description="prediction files, relative to the run's folder")
    predictions_sha256: list[Digest] = Field(default_factory=list)
    outcomes_sha256: Digest | None = None
    details: dict[str, Finite] = Field(default_factory=dict)
    definition: TaskDefinition | None = None
    # None: the official one with all its rows, or that of the definition.
    training_file: TrainingFile | None = None
    contamination: Contamination | None = None
    recipe: TaskRecipe | None = None
    diverged: list[DivergedSeed] = Field(default_factory=list)

    @model_validator(mode="after")
    def _primary_exists(self) -> TaskScore:
        if self.primary_metric not in self.metrics:
            raise ValueError(f"primary_metric {self.primary_metric!r} is not among metrics {sorted(self.metrics)}")
        for name, metric in self.metrics.items():
            if len(metric.per_seed) != len(self.seeds):
                found, seeds = len(metric.per_seed), len(self.seeds)
                raise ValueError(f"metrics.{name}.per_seed has {found} values for {seeds} seeds")
        if self.distill_seeds and len(self.distill_seeds) != len(self.seeds):
            raise ValueError(f"distill_seeds has {len(self.distill_seeds)} values for {len(self.seeds)} seeds")
        runs = list(zip(self.distill_seeds or [0] * len(self.seeds), self.seeds, strict=True))
        if len(set(runs)) != len(runs):
            raise ValueError("seeds has a run twice")
        return self


class Unscored(StrictModel):
    """Predictions on a split whose labels are not public, which are kept without a score."""

    task: str
    split: str
    num_examples: Count
    seeds: list[int] = Field(min_length=1)
    predictions: list[str] = Field(description="prediction files, relative to the run's folder")
