"""Published baselines as data: one folder each, read and checked strictly.

Everything in a `baseline.json` is *reported*: somebody else printed it, and each number names its source. Results of
this project are records (`benchmark.records.record`), never mixed with reported numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from benchmark.config import ConfigError, EncoderConfig, encoder_from_dict
from benchmark.config.run import NAME
from benchmark.records.strict_schema import Percent, StrictModel, strict_json, validated
from tasks.catalogue import TASKS
from tasks.scoring.averages import AVERAGES
from tasks.system.errors import InputError

FOLDER = Path(__file__).resolve().parent
FILE = "baseline.json"

Text = Annotated[str, Field(min_length=1, max_length=400)]
Url = Annotated[str, Field(pattern=r"^https://[^\s<>\"']+$", max_length=300)]


class Citation(StrictModel):
    """A publication."""

    title: Text
    authors: Text
    year: int = Field(ge=2017, le=2100)
    url: Url


class PublishedCheckpoint(StrictModel):
    """Published parameters; those in the format `hugging_face` can be imported."""

    name: Text
    url: Url
    format: Literal["hugging_face", "tensorflow"]


class Sourced(StrictModel):
    """A number with its source."""

    value: int = Field(ge=1)
    source: Text


class Score(StrictModel):
    """A published score, in percent (correlations times 100); several sources may give the same one."""

    task: str
    split: Literal["validation", "test"]
    metric: str
    value: Percent
    source: Text

    @model_validator(mode="after")
    def _known(self) -> Score:
        if self.task not in TASKS or self.metric not in TASKS[self.task].metrics:
            raise ValueError(f"{self.task} {self.metric}: not a task and metric of the catalogue")
        return self


class PublishedAverage(StrictModel):
    """A published average; `unknown` where its definition or split was not stated."""

    average: str
    split: Literal["validation", "test", "unknown"]
    value: Percent
    source: Text
    note: str = Field(max_length=400)

    @model_validator(mode="after")
    def _known(self) -> PublishedAverage:
        if self.average != "unknown" and self.average not in AVERAGES:
            raise ValueError(f"average {self.average!r}: accepted: unknown, {', '.join(AVERAGES)}")
        return self


class MaskedLMAccuracy(StrictModel):
    """A published accuracy of masked-LM predictions, in percent; `note` says on which text and at which places."""

    value: float = Field(ge=0, le=100, allow_inf_nan=False)
    source: Text
    note: str = Field(max_length=400)


class Latency(StrictModel):
    """A published latency in seconds."""

    method: Literal["reported"]
    chip: Text
    batch_size: int = Field(ge=1)
    sequence_length: int = Field(ge=1)
    value_s: float = Field(gt=0, allow_inf_nan=False)
    source: Text


class Baseline(StrictModel):
    """One published system.

    `architecture` holds fields of `EncoderConfig`, null where the system is outside the family or unknown.
    `masked_lm_accuracy` may be left out: few publications print it, and on texts of their own.
    """

    schema_version: Literal[1]
    name: str = Field(pattern=rf"^{NAME}$")
    title: str = Field(min_length=1, max_length=80)
    licence: str | None = Field(max_length=60)
    citation: Citation
    architecture: dict[str, int | float | str | bool | None] | None
    checkpoint: PublishedCheckpoint | None
    published_parameters: Sourced | None
    recipe: Text
    scores: list[Score]
    averages: list[PublishedAverage]
    latency: list[Latency]
    notes: list[Text]
    masked_lm_accuracy: MaskedLMAccuracy | None = None

    @property
    def encoder(self) -> EncoderConfig | None:
        """The architecture, checked; None where `architecture` is null."""
        return encoder_from_dict(self.architecture) if self.architecture is not None else None

    @model_validator(mode="after")
    def _buildable(self) -> Baseline:
        try:
            _ = self.encoder
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self


def read(folder: Path) -> Baseline:
    """Reads and checks one baseline.

    Args:
        folder: holds `baseline.json`; its name is the baseline's.

    Raises:
        InputError: the file is missing or not valid.
    """
    path = folder / FILE
    try:
        value = strict_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: not strict JSON: {error}") from None
    baseline = validated(Baseline, value, str(path), InputError)
    if baseline.name != folder.name:
        raise InputError(f"{path}: name = {baseline.name!r}: the folder's name {folder.name!r} is expected")
    return baseline


def baselines(root: Path = FOLDER) -> dict[str, Baseline]:
    """Reads all baselines below a folder, by name, in the order of their names.

    Raises:
        InputError: one of them is not valid.
    """
    return {folder.name: read(folder) for folder in sorted(root.iterdir()) if (folder / FILE).is_file()}
