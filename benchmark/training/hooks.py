"""Hooks of a fit: plain functions that receive its events.

A fit sends a `begin`, then a `log` every so many steps and at the last one, a `checkpoint` where one is due, and at the
very end, also where the fit failed, an `end`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from benchmark.training import checkpoints, distributed
from benchmark.training.tree_digest import tree_digest
from tasks.system.progress import duration

if TYPE_CHECKING:
    from tasks.system.progress import Show

Progress = Callable[[str], None]
EventKind: TypeAlias = Literal["begin", "log", "checkpoint", "end"]


@dataclass(frozen=True)
class Event:
    """An event of a fit.

    Attributes:
        kind: begin, log, checkpoint or end.
        name: name of the fit.
        step: steps done, counted from the first one of the undisturbed run.
        total_steps: steps of the whole fit.
        first_step: `step` where this call began: 0, or that of the checkpoint that it resumed from.
        seconds: since this call began.
        metrics: figures of step `step`; of a `log` alone.
        state: the training state after `step`; of a `log` and a `checkpoint`. The next step takes it over, so that a
            hook can keep copies only.
    """

    kind: EventKind
    name: str
    step: int
    total_steps: int
    first_step: int
    seconds: float
    metrics: dict[str, float] = field(default_factory=dict)
    state: Any = None


Hook = Callable[[Event], None]


def save_checkpoints(directory: Path) -> Hook:
    """Saves the state under its step number, and keeps the newest two; all processes of a distributed run take part."""

    def hook(event: Event) -> None:
        if event.kind == "checkpoint":
            checkpoints.save(directory / str(event.step), tuple(event.state))
            if distributed.is_leader():
                checkpoints.keep_latest(directory)

    return hook


def write_metrics(path: Path) -> Hook:
    """Writes one JSON object for each log: the step and its figures.

    A fit that resumes from a checkpoint first removes the lines of the steps that it will repeat, so that the file has
    every line once, however often the run was killed.
    """

    def hook(event: Event) -> None:
        if event.kind == "begin":
            _keep_lines(path, event.step)
        elif event.kind == "log":
            figures = {name: value if math.isfinite(value) else None for name, value in event.metrics.items()}
            _append_line(path, {"step": event.step, **figures})

    return hook


def write_digests(path: Path) -> Hook:
    """Writes one JSON object for each log: the step and the digest of the parameters after it.

    Like `write_metrics` it removes the lines of steps that are repeated.
    """

    def hook(event: Event) -> None:
        if event.kind == "begin":
            _keep_lines(path, event.step)
        elif event.kind == "log":
            _append_line(path, {"step": event.step, "parameters_sha256": tree_digest(event.state.params)})

    return hook


def _keep_lines(path: Path, step: int) -> None:
    """Keeps the whole lines of a file whose step is at most `step`."""

    def known(line: str) -> bool:
        try:
            return line.endswith("\n") and json.loads(line)["step"] <= step
        except (ValueError, KeyError, TypeError):
            return False

    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    kept = [line for line in lines if known(line)]
    if kept != lines:
        whole = path.with_name(path.name + ".new")
        whole.write_text("".join(kept), encoding="utf-8")
        whole.replace(path)


def _append_line(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(values) + "\n")


def write_tensorboard(directory: Path) -> Hook:
    """Writes every figure of every log as TensorBoard event files, through tensorboardX."""
    writers: list[Any] = []

    def hook(event: Event) -> None:
        if event.kind == "begin":
            from tensorboardX import SummaryWriter

            # TensorBoard hides the lines that an earlier, interrupted call wrote of the steps to come.
            writers.append(SummaryWriter(str(directory), purge_step=event.step + 1))
        elif event.kind == "log" and writers:
            for name, value in event.metrics.items():
                writers[0].add_scalar(name, value, event.step)
            writers[0].flush()
        elif event.kind == "end" and writers:
            writers.pop().close()

    return hook


def write_outcome(directory: Path, choices: dict[str, int], outcome: dict[str, float]) -> None:
    """Writes the outcome of a training run as TensorBoard has it on its page of hyperparameters.

    Args:
        directory: folder of the run's event files.
        choices: what distinguishes the run from others.
        outcome: its figures, by the names of the scalars.
    """
    from tensorboardX import SummaryWriter
    from tensorboardX.summary import hparams

    with SummaryWriter(str(directory)) as writer:
        for summary in hparams(choices, outcome):
            writer.file_writer.add_summary(summary)
        for name, value in outcome.items():
            writer.add_scalar(name, value, 0)


def write_lines(progress: Progress, seconds_between: float = 5.0, quiet_seconds: float = 0.0) -> Hook:
    """Writes a line with pace and time left, at most one every few seconds and one at the last step.

    Args:
        progress: receives the lines.
        seconds_between: least time between two of them.
        quiet_seconds: time from the beginning of the fit without any.
    """
    shown = time.perf_counter()

    def hook(event: Event) -> None:
        nonlocal shown
        now, last = time.perf_counter(), event.step == event.total_steps
        if event.kind == "log" and event.seconds >= quiet_seconds and (last or now - shown > seconds_between):
            shown = now
            progress(f"{event.name}: step {event.step}/{event.total_steps}, {_describe_pace(event)}")

    return hook


def show_bar(show: Show) -> Hook:
    """Keeps a progress bar up to date, and removes it at the end."""

    def hook(event: Event) -> None:
        if event.kind == "end":
            show(event.name, event.total_steps, event.total_steps, "")
        elif event.kind == "log" and event.step < event.total_steps:
            text = f"{event.step}/{event.total_steps}, {_describe_pace(event)}"
            show(event.name, event.step, event.total_steps, text)

    return hook


def _describe_pace(event: Event) -> str:
    """Writes loss, pace and time left."""
    rate = (event.step - event.first_step) / max(event.seconds, 1e-9)
    left = (event.total_steps - event.step) / rate
    return f"loss {event.metrics['loss']:.3f}, {rate:.1f} steps/s, {duration(left)} left"
