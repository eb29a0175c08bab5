"""The training file of a task in a record, where it is not the official one with all of its rows."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated

from pydantic import Field

from benchmark.records.strict_schema import StrictModel


class TrainingFile(StrictModel):
    """The file that a task was trained on, such as a part of the official one.

    `name` is its path below the data root, without the ending of a compression; `sha256` is of the uncompressed
    content. `examples` were used, `official_examples` has the official file. A task without training data has the file
    of the task whose model predicts it.
    """

    name: str = Field(min_length=1, max_length=300)
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    examples: Annotated[int, Field(ge=1, le=2**53)]
    official_examples: Annotated[int, Field(ge=1, le=2**53)]

    @property
    def words(self) -> str:
        """Names the file and its size: `train.part.tsv (9,999 of 363,849 examples)`."""
        return f"{PurePath(self.name).name} ({self.examples:,} of {self.official_examples:,} examples)"
