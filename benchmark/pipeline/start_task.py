"""Fine-tunings that start from those of another task (`TaskRecipeConfig.start_task`), as RTE from MNLI.

The parameters of the other task are kept, one set for each seed, from its fine-tuning to the end of the system's last
task that needs them. Where they are needed and no longer there, that task is fine-tuned once more, to the same bits.
Phang et al. 2018, arXiv 1811.01088.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from benchmark.pipeline.finetune_run import Trained, shared_result, task_folder
from benchmark.pipeline.run_context import load_params, refuse_damage
from benchmark.pipeline.workdir import run_stage_once
from benchmark.training import checkpoints, finetune
from tasks.system.folders import remove_folder

if TYPE_CHECKING:
    from benchmark.models.trees import Params
    from benchmark.pipeline.run_context import Run, SystemPlan


def in_order(run: Run) -> list[str]:
    """Lists the tasks with training data in the order of work: those that others start from come first."""
    tasks = [task for task in run.config.data.tasks if not run.tasks[task].trained_on]
    first = [task for task in tasks if starting_from(run, task)]
    return [*first, *(task for task in tasks if task not in first)]


def starting_from(run: Run, task: str) -> list[str]:
    """Lists the tasks of the run that start from a task."""
    return [other for other in run.config.data.tasks if run.config.finetune.start_of(other) == task]


class Starts:
    """The parameters from which the fine-tunings of one system start."""

    def __init__(self, run: Run, system: SystemPlan) -> None:
        """Reads nothing yet."""
        self._run, self._system = run, system
        self._own: Params | None = None
        self._trained: dict[tuple[str, int], tuple[str, Callable[[], Trained]]] = {}

    def own(self) -> Params:
        """Gives the parameters of the system before fine-tuning."""
        if self._own is None:
            self._own = load_params(self._system.directory, self._system.encoder)
        return self._own

    def params(self, task: str, seed: int) -> Params:
        """Gives the parameters from which a task starts with a seed: those of the system, or of its start task.

        Raises:
            RunError: they are damaged.
        """
        source = self._run.config.finetune.start_of(task)
        if not source:
            return self.own()
        self.keep(source, seed, self._trained[source, seed][1])
        path = task_folder(self._run, self._system, source) / f"start-seed{seed}"
        refuse_damage(path, path.with_suffix(".json"))
        return finetune.restore_params(path, self._system.encoder, self._run.tasks[source])

    def decided_by(self, task: str, seed: int) -> tuple[str, ...]:
        """Gives the fingerprint of the fine-tuning that a task starts from with a seed; () for a plain one."""
        source = self._run.config.finetune.start_of(task)
        return (self._trained[source, seed][0],) if source else ()

    def add(self, task: str, seed: int, fingerprint: str, train: Callable[[], Trained]) -> None:
        """Notes a fine-tuning that others start from: what decides it, and how to do it again."""
        self._trained[task, seed] = fingerprint, train

    def keep(self, task: str, seed: int, model: Callable[[], Trained]) -> dict[str, Any]:
        """Keeps the parameters of a fine-tuning unless they are there; gives their marker."""
        path, decided = task_folder(self._run, self._system, task) / f"start-seed{seed}", self._trained[task, seed][0]
        marker = path.with_suffix(".json")
        if not path.exists():
            marker.unlink(missing_ok=True)

        def save() -> dict[str, Any]:
            params = model().params
            checkpoints.save(path, finetune.without_unused_outputs(params, self._run.tasks[task]))
            return {"task": task, "seed": seed}

        shared = shared_result(self._run, self._system, marker, decided, (task,), (path.name,))
        return run_stage_once(marker, decided, save, lambda _: None, path.name, shared=shared)

    def clear(self) -> None:
        """Removes what was kept, when no task of the system needs it any more."""
        for task, seed in self._trained:
            path = task_folder(self._run, self._system, task) / f"start-seed{seed}"
            path.with_suffix(".json").unlink(missing_ok=True)
            if path.exists():
                remove_folder(path)
