"""The fit loop: batches by number, hooks, checkpoints, a stop at the first step that is not finite."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from benchmark.training import checkpoints, distributed, partitioning
from benchmark.training.hooks import Event, Hook, save_checkpoints, write_lines, write_metrics
from benchmark.training.metrics import Speed
from benchmark.training.state import SOUND, TOKENS, TrainState, repeat_step
from tasks.system.errors import StageError

# Dispatches that the device may still have to do when an older one is looked at. The device never waits for the host,
# and the host never runs ahead with more than this many batches.
AHEAD = 2
# The folder of checkpoints in that of a fit.
CHECKPOINTS = "checkpoints"

Inputs = Callable[[int], tuple[Any, Any, dict[str, Any]]]


class DivergedError(StageError):
    """Training met a loss or gradient that is not finite; the message names run, step, batch and what is left."""


@dataclass(frozen=True)
class FitReport:
    """What a fit did: `steps` and `seconds` of this call (without those of an earlier, interrupted one)."""

    steps: int
    seconds: float
    last: dict[str, float]


@dataclass(frozen=True)
class _Dispatch:
    """Steps that were handed to the device together: the first one's number (from 0), and what they will give."""

    first: int
    count: int
    rates: Any
    metrics: dict[str, jax.Array]

    def values(self, index: int) -> dict[str, float]:
        """The metrics of one of the steps, waiting for the device."""
        fetched = jax.device_get(self.metrics)
        return {name: float(np.reshape(value, (self.count,))[index]) for name, value in sorted(fetched.items())}


def fit(
    state: TrainState,
    step_function: Callable[..., Any],
    inputs: Inputs,
    total_steps: int,
    *,
    name: str,
    directory: Path | None = None,
    checkpoint_every: int = 0,
    log_every: int = 50,
    progress: Callable[[str], None] = lambda line: None,
    hooks: Sequence[Hook] | None = None,
    steps_per_dispatch: int = 1,
    describe_batch: Callable[[int], str] = lambda number: f"batch {number}",
    flops_per_step: float | None = None,
    peak_flops: float | None = None,
    mesh: Mesh | None = None,
    stop_after: int | None = None,
    constants: dict[str, Any] | None = None,
) -> tuple[TrainState, FitReport]:
    """Runs `total_steps` steps, continuing from the newest whole checkpoint of an interrupted call.

    Everything a step sees is a function of its number, so a run that was killed and continued ends with the same bits
    as one that was not.

    Args:
        state: initial state.
        step_function: as `make_train_step` gives it.
        inputs: step number -> (batch, learning rate, settings).
        total_steps: number of steps.
        name: shown in progress lines and errors.
        directory: where checkpoints and `metrics.jsonl` go; None keeps nothing.
        checkpoint_every: steps between checkpoints; 0 for none.
        log_every: steps between log entries.
        progress: receives one line now and then.
        hooks: told what happens, beside those that write checkpoints and `metrics.jsonl`; None writes progress lines.
            In a distributed run process 0 alone has any.
        steps_per_dispatch: steps that are handed to the device at once. Dispatches begin at multiples of it; logs and
            checkpoints that are due within one come at its end.
        describe_batch: step number -> words for the batch of that step, for the error.
        flops_per_step: what `benchmark.training.metrics.training_flops` gives; without it no MFU is reported.
        peak_flops: of all devices together, FLOP/s; likewise.
        mesh: where state and batches lie; with one, all processes of the run have to call.
        stop_after: the step to stop after, at the end of a dispatch, with a checkpoint from which a later call goes on;
            None runs to the end.
        constants: what every step reads and none changes, as `make_train_step` has it.

    Returns:
        The final state and a report.

    Raises:
        DivergedError: loss, gradient or update of a step are not finite. Nothing of that step or of a later one is
            saved.
    """
    first = 0
    saved = directory / CHECKPOINTS if directory is not None else None
    if saved is not None:
        first, state = _continued(saved, state, total_steps, name, progress, mesh)
    state = partitioning.place(mesh, state)
    hooks = _all_hooks([write_lines(progress)] if hooks is None else hooks, directory, mesh)
    started = time.perf_counter()
    speed = Speed(flops_per_step, peak_flops)

    def tell(kind: Any, step: int, **what: Any) -> None:
        event = Event(kind, name, step, total_steps, first, time.perf_counter() - started, **what)
        for hook in hooks:
            hook(event)

    def settle(dispatch: _Dispatch) -> None:
        """Waits for a dispatch, and stops where one of its steps was not sound."""
        looked_at = jax.device_get({k: v for k, v in dispatch.metrics.items() if k in (SOUND, TOKENS)})
        speed.add(dispatch.count, int(np.sum(looked_at.get(TOKENS, 0))))
        sound = np.reshape(looked_at.get(SOUND, True), -1)
        if not sound.all():
            raise _diverged(dispatch, int(sound.argmin()), total_steps, name, describe_batch, saved)

    until = total_steps if stop_after is None else min(stop_after, total_steps)
    shared = () if constants is None else (constants,)
    pending: deque[_Dispatch] = deque()
    done, last = first, {}
    try:
        tell("begin", first)
        for start, count in _dispatches(first, total_steps, steps_per_dispatch):
            if start >= until:
                break
            step = step_function if count == 1 else repeat_step(step_function)
            batch, rate, settings = inputs(start) if count == 1 else _stack([inputs(start + i) for i in range(count)])
            state, metrics = step(state, batch, rate, settings, *shared)
            if start == first:
                speed.restart()
            pending.append(_Dispatch(start, count, rate, metrics))
            done = start + count
            due = done >= until or _passed(start, done, checkpoint_every)
            saves = saved is not None and done < total_steps and due
            logs = saves or done >= until or _passed(start, done, log_every)
            while len(pending) > (1 if logs else AHEAD):
                settle(pending.popleft())
            if logs:
                # What is not finite spoils the state for good, so it is looked for before a checkpoint is written.
                settle(pending[0])
                last = _figures(pending.popleft()) | speed.read()
                tell("log", done, metrics=last, state=state)
            if saves:
                tell("checkpoint", done, state=state)
        jax.block_until_ready(state)
    finally:
        tell("end", done)
    return state, FitReport(done - first, time.perf_counter() - started, last)


def _all_hooks(hooks: Sequence[Hook], directory: Path | None, mesh: Mesh | None) -> list[Hook]:
    """With those that write files: metrics where this process speaks for the run, checkpoints where all take part."""
    told = [*hooks] if directory is None else [write_metrics(directory / "metrics.jsonl"), *hooks]
    if mesh is not None and not distributed.leads():
        told = []
    return told if directory is None else [*told, save_checkpoints(directory / CHECKPOINTS)]


def _continued(
    saved: Path, state: TrainState, total_steps: int, name: str, progress: Callable[[str], None], mesh: Mesh | None
) -> tuple[int, TrainState]:
    """Step and state of the newest whole checkpoint; damaged ones are removed. Without one, 0 and the given state."""
    step = 0
    if mesh is None or distributed.leads():
        step = _newest(saved, total_steps, name, progress)
    # What another process sees of the folder may be older.
    step = step if mesh is None else distributed.agree(step)
    if not step:
        return 0, state
    progress(f"{name}: continued from step {step} of {total_steps}")
    return step, TrainState(*checkpoints.restore(saved / str(step), tuple(state), mesh))


def _newest(saved: Path, total_steps: int, name: str, progress: Callable[[str], None]) -> int:
    """Step of the newest whole checkpoint, or 0; damaged ones after it are removed."""
    for step in reversed(checkpoints.steps(saved)):
        if step > total_steps:
            continue
        damage = checkpoints.damage(saved / str(step))
        if damage is None:
            return step
        progress(f"{name}: the checkpoint of step {step} is damaged and was removed: {damage}")
        checkpoints.remove(saved / str(step))
    return 0


def _dispatches(first: int, total: int, size: int) -> Iterator[tuple[int, int]]:
    """First step and number of steps of each dispatch: `size` from multiples of `size` on, single steps elsewhere.

    The division depends on the steps alone and not on where a call begins, as programs of one and of several steps may
    round differently.
    """
    step = first
    while step < total:
        count = size if step % size == 0 and step + size <= total else 1
        yield step, count
        step += count


def _passed(start: int, done: int, every: int) -> bool:
    """Whether a multiple of `every` lies in `(start, done]`."""
    return every > 0 and done // every > start // every


def _stack(steps: list[tuple[Any, Any, dict[str, Any]]]) -> Any:
    """The inputs of several steps with one more axis in front, on the host where they were there."""

    def stack(*leaves: Any) -> Any:
        on_device = any(isinstance(leaf, jax.Array) for leaf in leaves)
        return jax.numpy.stack(leaves) if on_device else np.stack(leaves)

    return jax.tree.map(stack, *steps)


def _figures(dispatch: _Dispatch) -> dict[str, float]:
    """Metrics of the last step of a dispatch, with its learning rate: the largest where parameters have their own."""
    values = {k: v for k, v in dispatch.values(dispatch.count - 1).items() if k not in (SOUND, TOKENS)}
    leaves = jax.tree.leaves(dispatch.rates)
    if dispatch.count > 1:
        leaves = [leaf[-1] for leaf in leaves]
    return {**values, "learning_rate": max(float(np.max(leaf)) for leaf in leaves)}


def _diverged(
    dispatch: _Dispatch,
    index: int,
    total_steps: int,
    name: str,
    describe_batch: Callable[[int], str],
    saved: Path | None,
) -> DivergedError:
    """The error for one step of a dispatch, in one line."""
    values = {k: v for k, v in dispatch.values(index).items() if k not in (SOUND, TOKENS)}
    bad = {k: values[k] for k in sorted(values, key=lambda k: k != "loss") if not np.isfinite(values[k])}
    parts = ", ".join(f"{k} is {v}" for k, v in bad.items()) or "the optimiser's update is not finite"
    number = dispatch.first + index
    steps = checkpoints.steps(saved) if saved is not None else []
    kept = f"the last good checkpoint is {saved}/{steps[-1]}" if steps else "there is no checkpoint"
    return DivergedError(f"{name}: {parts} at step {number + 1} of {total_steps}, on {describe_batch(number)}; {kept}")
