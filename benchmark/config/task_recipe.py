"""Settings of the fine-tuning of one task, where they are not those of all tasks."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.config.checks import Checked, setting


@dataclass(frozen=True, kw_only=True)
class TaskRecipeConfig(Checked):
    """The recipe of one task; what it leaves out is as in `FinetuneConfig`. A task that the run lacks may have one."""

    # A name of the catalogue or of an own task, one with training data.
    task: str = setting()
    epochs: float | None = setting(None, at_least=0.01)
    batch_size: int | None = setting(None, at_least=1)
    # Limit of a run; 0: none.
    max_steps: int | None = setting(None, at_least=0)
    # As `FinetuneConfig.learning_rates`.
    learning_rates: tuple[float, ...] = setting((), at_least=0.0)
    # Encoder and pooler start from the system's own parameters that were fine-tuned with the same seed on this task of
    # the run; '' starts from those before fine-tuning. Such scores have a column of their own.
    start_task: str = setting("")

    def check(self) -> None:
        """Refuses a rate that is given twice, and a task that starts from itself."""
        check_rates(self, self.learning_rates)
        if self.start_task == self.task:
            self.refuse("start_task", "another task than the recipe's own")


def check_rates(config: Checked, rates: tuple[float, ...]) -> None:
    """Refuses a learning rate that stands twice among the `learning_rates` of a configuration."""
    if len(set(rates)) != len(rates):
        config.refuse("learning_rates", "no learning rate twice")
