"""Overlap of the evaluated examples of a task with training data, in a record (docs/data.md, "Contamination")."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import Field, model_validator

from benchmark.records.strict_schema import StrictModel

Examples = Annotated[int, Field(ge=0, le=2**53)]


class Contamination(StrictModel):
    """Numbers of evaluated examples that occur in training data, by equality of normalised text.

    `method` names the definition. `same_example` counts those whose texts are, all together, a training example of the
    task; `any_text` those of which a text, or a long sentence of one, stands anywhere in the training examples.
    `in_pretraining` counts those of which a long sentence stands in the pretraining text of the run, `long_sentence`
    those that have such a sentence at all. Numbers are null where there is nothing to compare with: a task that this
    run trains on no examples, a run without text, a published checkpoint, whose text is not known here.
    """

    method: str = Field(pattern=r"^[a-z0-9_]{1,60}$")
    examples: Annotated[int, Field(ge=1, le=2**53)]
    same_example: Examples | None
    any_text: Examples | None
    long_sentence: Examples
    in_pretraining: Examples | None

    @model_validator(mode="after")
    def _parts_of_the_whole(self) -> Contamination:
        chains = (("same_example", "any_text", "examples"), ("in_pretraining", "long_sentence", "examples"))
        for part, whole in (pair for chain in chains for pair in pairwise(chain)):
            count, limit = getattr(self, part), getattr(self, whole)
            if count is not None and limit is not None and count > limit:
                raise ValueError(f"{part} = {count} is more than {whole} = {limit}")
        return self
