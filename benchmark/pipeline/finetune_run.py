"""What the fine-tunings of a run have in common: what decides them, job, place in the cache, figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmark.config import FinetuneConfig, fingerprint
from benchmark.pipeline.shared_stage import shared_stage
from benchmark.pipeline.workdir import read_entry
from benchmark.training.job import Monitor, TrainingJob

if TYPE_CHECKING:
    from benchmark.models.trees import Params
    from benchmark.pipeline.cache import SharedStage
    from benchmark.pipeline.run_context import Run, SystemPlan
    from benchmark.training.finetune import FinetuneReport

# A fine-tuning that takes longer writes progress lines, as other trainings do.
QUIET_S = 30.0


class Trained(NamedTuple):
    """A model of a task.

    Attributes:
        params: parameters of encoder and head.
        length: a row length that suffices for all tasks that it predicts.
        report: figures of the fine-tuning; None where the task was distilled and did not diverge.
    """

    params: Params
    length: int
    report: FinetuneReport | None = None


def settings_of(run: Run, task: str) -> FinetuneConfig:
    """Gives the settings of a task, before a learning rate is chosen."""
    return run.config.finetune.for_task(task, run.config.data.tasks.index(task))


def task_folder(run: Run, system: SystemPlan, task: str) -> Path:
    """Folder of what the fine-tunings of a system on a task leave."""
    return run.workdir / "evaluation" / system.name / task


def figures(system: str, task: str, seed: int) -> tuple[str, ...]:
    """Name of a fine-tuning run in TensorBoard."""
    return "finetune", system, task, f"seed_{seed}"


def decided_by(
    run: Run, system: SystemPlan, settings: FinetuneConfig, rows: Mapping[str, Any], seed: int, *start: str
) -> str:
    """Computes the fingerprint of all that decides a fine-tuning.

    Args:
        run: the run.
        system: the system.
        settings: those of the task, of whose seeds the result depends on no other than those that are left in it.
        rows: fingerprints of what is trained on and predicted, by task.
        seed: the seed.
        start: fingerprint of the fine-tuning whose parameters it starts from, if there is one.
    """
    upstream = read_entry(system.directory / "stage.json", "fingerprint")
    return fingerprint(upstream, settings, run.config.trainer, rows, seed, *start)


def shared_result(
    run: Run, system: SystemPlan, path: Path, stage_fingerprint: str, tasks: Iterable[str], items: tuple[str, ...] = ()
) -> SharedStage | None:
    """Describes a result of the teacher's fine-tuning for the cache; None for the other systems.

    Args:
        run: the run.
        system: the system.
        path: marker of the result.
        stage_fingerprint: that of the result.
        tasks: the tasks whose rows it depends on.
        items: files and folders next to the marker that belong to it.
    """
    if system.kind != "teacher" or run.cache is None:
        return None
    return shared_stage(
        run,
        "teacher_task",
        stage_fingerprint,
        {task: run.data["tasks"][task] for task in tasks},
        f"{path.parent.name} {path.stem}",
        items=items,
        teacher=read_entry(system.directory / "stage.json", "result", "parameters_sha256"),
        file=path.name,
    )


def plain_job(run: Run, name: str, seed: int, figures_name: tuple[str, ...]) -> TrainingJob:
    """Makes the job of a plain fine-tuning, on one device.

    Most are short: nothing of one is kept but its event files, and only a long one is heard of.
    """
    job = run.job(name, None, seed=seed, figures=figures_name)
    monitor = Monitor(run.monitor.tensorboard, quiet_seconds=QUIET_S)
    return dataclasses.replace(job, mesh=None, monitor=monitor)


def training_figures(report: FinetuneReport | None) -> dict[str, Any]:
    """Gives the entries of a marker that describe a fine-tuning.

    Returns:
        `training`: what its settings determine, and `timing`: what depends on the clock, which the marker keeps beside
        its result.
    """
    if report is None:
        return {}
    values = report._asdict()
    seconds = values.pop("seconds")
    pace = round(report.tokens / seconds, 1) if seconds else 0.0
    return {"training": values, "timing": {"training_seconds": seconds, "tokens_per_second": pace}}


def pace(markers: Iterable[Mapping[str, Any]]) -> str:
    """Words the real tokens per second of some fine-tunings, and their share of padding; '' where none was timed."""
    timed = [marker for marker in markers if marker.get("timing") and marker["result"]["training"]["tokens"]]
    tokens, columns = (sum(marker["result"]["training"][name] for marker in timed) for name in ("tokens", "columns"))
    seconds = sum(marker["timing"]["training_seconds"] for marker in timed)
    if not tokens or not seconds:
        return ""
    return f"{tokens / seconds:,.0f} real tokens/s, {1 - tokens / columns:.0%} padding"
