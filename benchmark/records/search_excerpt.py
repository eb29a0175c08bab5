"""The search in a record: the trials that led to a found system, and the latencies that were measured for them."""

from __future__ import annotations

import operator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from benchmark.records.strict_schema import StrictModel

Key = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
"""Of an architecture: `benchmark.latency.candidates.candidate_key`."""


def _is_none(value: object) -> bool:
    return value is None


class SearchTrial(StrictModel):
    """One trial of a search, with the fields on which the choice of architectures depends.

    `point` holds the searched fields; `accuracy` and `teacher_agreement` (percent) are those of the flash distillation
    and `latency_s` the known latency, null where the trial failed.
    """

    generator: str
    point: dict[str, int]
    status: Literal["completed", "stopped", "failed"]
    accuracy: float | None = Field(default=None, ge=0, le=100, allow_inf_nan=False)
    teacher_agreement: float | None = Field(default=None, ge=0, le=100, allow_inf_nan=False, exclude_if=_is_none)
    latency_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _completed_is_known(self) -> SearchTrial:
        if self.status == "completed" and (self.accuracy is None or self.latency_s is None):
            raise ValueError("a completed trial needs accuracy and latency_s")
        return self


class MeasuredSearch(StrictModel):
    """The latencies that a search measured: the machine, and the seconds of each architecture.

    The keys of `seconds` begin the fingerprints of their encoders. Among them are architectures that were measured and
    not tried. `without` says why others have no latency, such as one that a runtime cannot compute. Such a search
    depends on the machine and on the clock; what it proposes with these latencies does not.
    """

    chip: str
    runtime: str
    threads: int | None = Field(ge=1)
    protocol_version: int = Field(ge=1)
    seconds: dict[Key, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(min_length=1)
    without: dict[Key, Annotated[str, Field(max_length=400)]] = Field(default_factory=dict, exclude_if=operator.not_)


class SearchExcerpt(StrictModel):
    """The journal of the search that found a system: all trials in their order.

    `measured` is that of a search whose latency was measured, and missing where it was estimated.
    """

    trials: list[SearchTrial] = Field(min_length=1)
    measured: MeasuredSearch | None = Field(default=None, exclude_if=_is_none)
