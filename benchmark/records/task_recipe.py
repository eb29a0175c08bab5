"""The fine-tuning behind the scores of a task in a record: recipe, choice of the learning rate, diverged seeds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from benchmark.records.strict_schema import Finite, Percent, StrictModel

# End of the name of an average for which some tasks started from the fine-tuned parameters of another one.
STARTED = "_started"

Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,60}$")]


class RateChoice(StrictModel):
    """The choice of a learning rate on a part of the training split; the validation split was not looked at.

    `scores` are those of `learning_rates` on the `num_examples` examples that were held out, a `fraction` of the
    training split, by `metric`, in percent; each rate was trained with one `seed`.
    """

    learning_rates: list[Rate] = Field(min_length=2)
    scores: list[Percent]
    metric: Name
    fraction: float = Field(gt=0, lt=1, allow_inf_nan=False)
    num_examples: int = Field(ge=1)
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _one_score_for_each(self) -> RateChoice:
        if len(self.scores) != len(self.learning_rates):
            raise ValueError(f"{len(self.scores)} scores for {len(self.learning_rates)} learning_rates")
        return self


class TaskRecipe(StrictModel):
    """The recipe of a plain fine-tuning.

    `max_steps` limits the epochs; 0 does not. `start` names the task whose fine-tuned parameters it started from, null
    for those before fine-tuning; such scores are compared with each other alone. `choice` is null where the settings
    give the learning rate.
    """

    epochs: Finite
    max_steps: int = Field(default=0, ge=0)
    batch_size: int = Field(ge=1)
    learning_rate: Rate
    start: Name | None = None
    choice: RateChoice | None = None

    @model_validator(mode="after")
    def _chosen_among_them(self) -> TaskRecipe:
        if self.choice is not None and self.learning_rate not in self.choice.learning_rates:
            raise ValueError(f"learning_rate {self.learning_rate} is not among {self.choice.learning_rates}")
        return self


class DivergedSeed(StrictModel):
    """A run whose fine-tuning diverged; it counts in every score. `distill_seed` is 0 for what was not distilled.

    `not_finite`: a loss, gradient or update was not finite, and a constant prediction stands for the model.
    `not_learned`: the training loss at the end was not below that of a constant prediction (RULES.md, 6).
    """

    distill_seed: int = Field(default=0, ge=0)
    seed: int = Field(ge=0)
    reason: Literal["not_finite", "not_learned"]
