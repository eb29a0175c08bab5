"""Schema of the search history, which a run writes for the page: one JSON file with every trial."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from benchmark.config import ConfigError, encoder_from_dict
from benchmark.records.record import RecordError
from benchmark.records.strict_schema import Finite, StrictModel, strict_json, validated

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class AccuracyObjective(StrictModel):
    """A masked-LM score in percent; the threshold is one side of the hypervolume's reference point."""

    unit: Literal["percent"]
    direction: Literal["maximize"]
    threshold: Finite


class LatencyObjective(StrictModel):
    """Latency of the student, by the named method on the named chip; a rank orders architectures and is no time."""

    unit: Literal["s"]
    direction: Literal["minimize"]
    threshold: Finite
    method: str
    chip: str
    only_a_rank: bool = Field(default=False, exclude_if=operator.not_)


class Objectives(StrictModel):
    """The two objectives of a search: latency, and the score of a trial that it maximises, under the score's name."""

    accuracy: AccuracyObjective | None = Field(default=None, exclude_if=operator.not_)
    teacher_agreement: AccuracyObjective | None = Field(default=None, exclude_if=operator.not_)
    latency: LatencyObjective

    @property
    def score(self) -> str:
        """Name of the score."""
        return "accuracy" if self.accuracy is not None else "teacher_agreement"

    @model_validator(mode="after")
    def _one_score(self) -> Objectives:
        if (self.accuracy is None) == (self.teacher_agreement is None):
            raise ValueError("expected accuracy or teacher_agreement beside latency")
        return self


class HistoryTrial(StrictModel):
    """One trial; `hypervolume` is normalised and counts all completed trials up to this one.

    A stopped trial was not promoted at a rung; its scores are those of the step at which it was stopped. Files of older
    versions compare no trial with the teacher. Accuracy and agreement are in percent, `teacher_kl` in nats.
    """

    trial: int = Field(ge=0)
    status: Literal["completed", "failed", "stopped"]
    generator: str
    encoder: dict[str, int | float | str | bool | None]
    parameters: int = Field(ge=0)
    accuracy: Finite | None
    accuracy_stderr: NotNegative | None
    teacher_agreement: NotNegative | None = None
    teacher_agreement_stderr: NotNegative | None = None
    teacher_kl: NotNegative | None = None
    teacher_kl_stderr: NotNegative | None = None
    latency_s: Positive | None
    on_front: bool
    hypervolume: NotNegative
    steps: NotNegative | None = None
    seconds: NotNegative
    suggest_seconds: NotNegative = 0.0

    @model_validator(mode="after")
    def _consistent(self) -> HistoryTrial:
        if self.status == "completed" and (self.accuracy is None or self.latency_s is None):
            raise ValueError("a completed trial needs accuracy and latency_s")
        if self.on_front and self.status != "completed":
            raise ValueError(f"a {self.status} trial cannot be on the front")
        try:
            encoder_from_dict(self.encoder)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self


class FrontMember(StrictModel):
    """The share of draws of the observation noise in which no other trial dominates a trial."""

    trial: int = Field(ge=0)
    probability: float = Field(ge=0, le=1)


class Interval(StrictModel):
    """95 % of the draws lie between the two."""

    low: NotNegative
    high: NotNegative


class Importance(StrictModel):
    """Sobol indices of a field in a model of the accuracy, and how the accuracy changes when the field grows."""

    field: str
    first_order: NotNegative
    total_order: NotNegative
    effect: Literal["rises", "falls", "none"]


class Prediction(StrictModel):
    """A trial's accuracy as a model predicts it from the other trials."""

    trial: int = Field(ge=0)
    mean: Finite
    stderr: NotNegative


class Predictions(StrictModel):
    """The predictions of one model, and whether it is the one that proposed trials."""

    model: Literal["ax", "expected_gain"]
    proposes: bool
    trials: list[Prediction]


class Analysis(StrictModel):
    """Analysis of all trials; each of the `notes` says in one line why something is missing."""

    draws: int = Field(ge=1)
    front: list[FrontMember]
    hypervolume: Interval | None
    importance: list[Importance] | None
    predictions: list[Predictions]
    notes: list[str]


class History(StrictModel):
    """All trials of one search, in the order in which they ended; `analysis` is missing in files of older versions."""

    schema_version: Literal[1]
    track: str
    algorithm: str
    objectives: Objectives
    trials: list[HistoryTrial]
    search_fields: list[str]
    analysis: Analysis | None = None

    @model_validator(mode="after")
    def _score_exists(self) -> History:
        name = self.objectives.score
        for trial in self.trials:
            if trial.status == "completed" and getattr(trial, name) is None:
                raise ValueError(f"trial {trial.trial}: a completed trial needs {name}, which the search maximises")
        return self

    @model_validator(mode="after")
    def _fields_exist(self) -> History:
        numbers = [trial.trial for trial in self.trials]
        if len(set(numbers)) != len(numbers):
            raise ValueError("trial numbers must be distinct")
        for trial in self.trials:
            missing = [name for name in self.search_fields if name not in trial.encoder]
            if missing:
                raise ValueError(f"trial {trial.trial}: encoder lacks the search field {missing[0]!r}")
        return self

    @model_validator(mode="after")
    def _analysed_trials_exist(self) -> History:
        if self.analysis is None:
            return self
        completed = {trial.trial for trial in self.trials if trial.status == "completed"}
        named = [[row.trial for row in self.analysis.front]]
        named += [[row.trial for row in model.trials] for model in self.analysis.predictions]
        for numbers in named:
            if len(set(numbers)) != len(numbers) or not completed.issuperset(numbers):
                raise ValueError("analysis: expected completed trials, each once")
        models = [model.model for model in self.analysis.predictions]
        if len(set(models)) != len(models):
            raise ValueError("analysis: expected the predictions of each model once")
        return self


def parse_history(value: object, name: str = "history") -> History:
    """Validates a search history.

    Args:
        value: the decoded JSON value.
        name: file name for messages.

    Raises:
        RecordError: it does not follow the contract.
    """
    return validated(History, value, name, RecordError)


def read_history(path: Path) -> dict[str, Any]:
    """Reads and validates a history file.

    Returns:
        The history as plain values, as `leaderboard.build.build` takes them.

    Raises:
        RecordError: the file cannot be read or does not follow the contract.
    """
    try:
        value = strict_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordError(f"{path}: cannot be read: {error}") from None
    return parse_history(value, str(path)).model_dump(mode="json")
