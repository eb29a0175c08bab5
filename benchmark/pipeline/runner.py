"""The pipeline: the stages in order, each skipped where its output exists, then records and a summary."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.config import TRAINING_STAGES, RunConfig, fingerprint
from benchmark.export.start import checkpoint_notes
from benchmark.pipeline import finetune, search
from benchmark.pipeline.data import data_stage
from benchmark.pipeline.distill import distill_stage
from benchmark.pipeline.latency import latency_stage
from benchmark.pipeline.record import record_stage
from benchmark.pipeline.run_context import Run
from benchmark.pipeline.teacher import teacher_stage
from benchmark.pipeline.workdir import RunError, locked, write_run_identity
from benchmark.records import manifest, verification
from benchmark.records.record import read
from benchmark.training import distributed
from tasks.system.errors import StageError
from tasks.system.progress import display

__all__ = ["RunError", "run"]

Work = Callable[[Run], dict[str, Any]]


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    Attributes:
        name: its name in `benchmark.config.STAGES`.
        work: does it, unless it was done with the same settings; the result has `reused` = True then.
        applies: False for settings that have no such stage.
        leader_only: True where process 0 of a distributed run does it alone, while the others wait.
    """

    name: str
    work: Work
    leader_only: bool = False
    applies: Callable[[RunConfig], bool] = lambda _: True


# In their order. The last stage, `publish`, reads the records that these write, and is handed in.
TABLE = (
    Stage("data", data_stage, leader_only=True),
    Stage("teacher", teacher_stage, applies=lambda config: config.teacher is not None),
    Stage("search", search.search_stage, applies=lambda config: config.search is not None),
    Stage("distill", distill_stage),
    Stage("finetune", finetune.finetune_stage),
    Stage("latency", latency_stage, leader_only=True),
    Stage("record", record_stage, leader_only=True),
)


def run(
    request: Run,
    wanted: tuple[str, ...],
    *,
    publish: Callable[[RunConfig, Path], None] | None = None,
    replacements: Mapping[str, Work] | None = None,
) -> int:
    """Runs the wanted stages, and prints the time of each and a table of the systems.

    All processes of a distributed run call this with the same arguments.

    Args:
        request: settings, folder and systems; its progress lines and bars are those of the terminal.
        wanted: names in `benchmark.config.STAGES`.
        publish: the stage `publish`, which shows the records of the folder when all other stages have ended.
        replacements: work of stages by name, in place of that of `TABLE`.

    Returns:
        0, or 1 when a stage failed, with one line on standard error; the same command tries that stage again.

    Raises:
        RunError: the folder belongs to other settings or to a running process, or a stage's input is missing.
    """
    started = time.perf_counter()

    def progress(line: str) -> None:
        if leader:
            print(f"[{time.perf_counter() - started:7.1f} s] {line}", flush=True)  # noqa: T201

    leader = distributed.is_leader()
    config, workdir, gin_text = request.config, request.workdir, request.gin_text
    # Of one process alone: the others read the same files.
    for note in checkpoint_notes(config) if leader else ():
        progress(note)
    with locked(workdir) if leader else contextlib.nullcontext(), display() as show:
        if leader:
            written = manifest.collect(fingerprint(config), request.command, gin_text)
            if write_run_identity(workdir, config, gin_text, written):
                progress(f"continues the run in {workdir}, to which these settings add")
        context = dataclasses.replace(request, progress=progress, show=show if leader else None)
        if config.trainer.tensorboard and TRAINING_STAGES & set(wanted):
            progress(f"figures while it runs: tensorboard --logdir {workdir / 'tensorboard'} (pip install tensorboard)")
        timing: dict[str, float] = {}
        reused: list[str] = []
        for stage in (stage for stage in TABLE if stage.name in wanted and stage.applies(config)):
            stage_started = time.perf_counter()
            if leader or not stage.leader_only:
                work = (replacements or {}).get(stage.name, stage.work)
                try:
                    outcome = work(context)
                except StageError as error:
                    if leader:
                        print(f"error: stage {stage.name}: {error}", file=sys.stderr, flush=True)  # noqa: T201
                    return 1
                if outcome["reused"]:
                    reused.append(stage.name)
            distributed.wait(f"stage {stage.name}")
            timing[stage.name] = time.perf_counter() - stage_started
        if leader:
            _summary(context, timing, reused)
    if publish is not None and leader and "publish" in wanted:
        publish(config, workdir)
    return 0


def _summary(context: Run, timing: dict[str, float], reused: list[str]) -> None:
    """Prints the time of each stage and a table of the systems."""
    line = context.progress
    line("time by stage: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in timing.items()))
    line("reused: " + (", ".join(reused) or "nothing"))
    paths = verification.record_files(context.workdir / "results")
    if not paths or "record" not in timing:
        return
    rows = [read(path) for path in paths]
    tasks = [t.task for t in rows[0].tasks]
    line(
        f"{'system':<22} {'parameters':>10} {'ms':>7} {'speed-up':>8} {'MLM %':>6} "
        + " ".join(f"{t[:13]:>13}" for t in tasks)
    )
    for r in sorted(rows, key=lambda r: -(r.training.masked_lm_accuracy or 0) if r.training else 0):
        # A verification on another kind of machine measures nothing.
        first = r.latency[0] if r.latency else None
        took = f"{first.latency_s * 1e3:.2f}" if first else "-"
        speedup = f"{first.speedup or 0:.2f}" if first else "-"
        scores = [t.metrics[t.primary_metric] for t in r.tasks]
        cells = " ".join(
            f"{s.value:6.1f} +-{(s.interval[1] - s.interval[0]) / 2:4.1f}" if s.interval else "" for s in scores
        )
        accuracy = r.training.masked_lm_accuracy if r.training else None
        mlm = "-" if accuracy is None else f"{accuracy:.2f}"
        line(f"{r.system.name:<22} {r.system.parameters or 0:>10,} {took:>7} {speedup:>8} {mlm:>6} {cells}")
