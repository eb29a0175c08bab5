"""The fit loop: batches by number, hooks, checkpoints, a stop at the first step that is not finite."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import numpy as np

from benchmark.training import checkpoints, distributed, partitioning
from benchmark.training.hooks import Event, EventKind, Hook, save_checkpoints, write_metrics
from benchmark.training.metrics import Speed
from benchmark.training.state import SOUND, TOKENS, TrainState, repeat_step
from tasks.system.errors import StageError

if TYPE_CHECKING:
    from benchmark.models.trees import PyTree
    from benchmark.training.job import TrainingJob
    from benchmark.training.state import Settings, TrainStep

# Dispatches that the device may still have to do when an older one is looked at. The device never waits for the host,
# and the host never runs ahead with more than this many batches.
AHEAD = 2
# The folder of checkpoints in that of a fit.
CHECKPOINTS = "checkpoints"

# Batch, learning rate and settings of a step.
StepInputs: TypeAlias = "tuple[PyTree, PyTree, Settings]"


@dataclass(frozen=True)
class Steps:
    """The steps of a fit: one compiled function, and its inputs at each number.

    Attributes:
        function: as `make_train_step` gives it.
        inputs: step number -> (batch, learning rate, settings).
        total: number of steps.
        constants: trees that every step reads and none changes, as `make_train_step` has it.
        describe_batch: step number -> description of the batch of that step, for the error.
        flops: of one step, as `benchmark.training.metrics.training_flops` gives it; without it no MFU is reported.
        tokens: step number -> real tokens of its batch, where the compiled function does not count them; it is asked
            after `inputs` was.
        tail: number of last steps whose mean loss the report gives.
    """

    function: TrainStep
    inputs: Callable[[int], StepInputs]
    total: int
    constants: Settings | None = None
    describe_batch: Callable[[int], str] = lambda number: f"batch {number}"
    flops: float | None = None
    tokens: Callable[[int], int] | None = None
    tail: int = 0


class DivergedError(StageError):
    """A loss, gradient or update that is not finite; the message names run, step, batch and the last checkpoint."""


@dataclass(frozen=True)
class FitReport:
    """Report of a fit, of this call alone (without an earlier, interrupted one).

    Attributes:
        steps: steps done.
        seconds: their time, compiling included.
        last: figures of the last step.
        tokens: real tokens of the steps, where they are counted.
        tail_loss: mean loss of the last `Steps.tail` steps; None where none was asked for.
    """

    steps: int
    seconds: float
    last: dict[str, float]
    tokens: int = 0
    tail_loss: float | None = None


@dataclass(frozen=True)
class _Dispatch:
    """Steps that were handed to the device at once: the number of the first (from 0), and their pending metrics."""

    first: int
    count: int
    rates: PyTree
    metrics: dict[str, jax.Array]

    def values(self, index: int) -> dict[str, float]:
        """Waits for the device and gives the metrics of one of the steps."""
        fetched = jax.device_get(self.metrics)
        return {name: float(np.reshape(value, (self.count,))[index]) for name, value in sorted(fetched.items())}


def fit(
    state: TrainState, steps: Steps, job: TrainingJob, *, checkpoint_every: int = 0, stop_after: int | None = None
) -> tuple[TrainState, FitReport]:
    """Runs all steps, continuing from the newest whole checkpoint of an interrupted call.

    Everything a step sees is a function of its number, so a run that was killed and continued ends with the same bits
    as one that was not. Dispatches begin at multiples of `TrainerConfig.steps_per_dispatch`; logs and checkpoints that
    are due within one come at its end.

    Args:
        state: initial state.
        steps: the computation.
        job: its devices, folder and monitor. With a mesh all processes of the run have to call, and process 0 alone has
            the hooks of the monitor. Checkpoints and `metrics.jsonl` go to its directory.
        checkpoint_every: steps between checkpoints; 0 for none.
        stop_after: the step to stop after, at the end of a dispatch, with a checkpoint from which a later call
            continues; None runs to the end.

    Returns:
        The final state and a report.

    Raises:
        DivergedError: loss, gradient or update of a step are not finite. Nothing of that step or of a later one is
            saved.
    """
    first = 0
    saved = job.directory / CHECKPOINTS if job.directory is not None else None
    if saved is not None:
        first, state = _continued(saved, state, steps.total, job)
    state = partitioning.place(job.mesh, state)
    hooks = _all_hooks(job)
    started = time.perf_counter()
    speed = Speed(steps.flops, job.monitor.peak_flops)
    tail: deque[float] = deque(maxlen=steps.tail)
    tokens = 0

    def notify(kind: EventKind, step: int, **details: Any) -> None:
        event = Event(kind, job.name, step, steps.total, first, time.perf_counter() - started, **details)
        for hook in hooks:
            hook(event)

    def finish(dispatch: _Dispatch) -> None:
        """Waits for a dispatch, and stops where one of its steps was not sound."""
        nonlocal tokens
        wanted = (SOUND, TOKENS, "loss") if steps.tail else (SOUND, TOKENS)
        fetched = jax.device_get({k: v for k, v in dispatch.metrics.items() if k in wanted})
        numbers = range(dispatch.first, dispatch.first + dispatch.count)
        real = int(np.sum(fetched.get(TOKENS, 0) if steps.tokens is None else [steps.tokens(n) for n in numbers]))
        speed.add(dispatch.count, real)
        tokens += real
        tail.extend(np.reshape(fetched.get("loss", ()), -1).tolist())
        sound = np.reshape(fetched.get(SOUND, True), -1)
        if not sound.all():
            raise _diverged(dispatch, int(sound.argmin()), steps, job.name, saved)

    until = steps.total if stop_after is None else min(stop_after, steps.total)
    constants = () if steps.constants is None else (steps.constants,)
    pending: deque[_Dispatch] = deque()
    done, last = first, {}
    try:
        notify("begin", first)
        for start, count in _dispatches(first, steps.total, job.trainer.steps_per_dispatch):
            if start >= until:
                break
            # Dispatch: the host hands the device `count` steps and continues while they are computed.
            step = steps.function if count == 1 else repeat_step(steps.function)
            numbers = range(start, start + count)
            # With several steps each leaf of the inputs has a leading axis, `[count, ...]`, and so have the metrics.
            batch, rate, settings = steps.inputs(start) if count == 1 else _stack([steps.inputs(n) for n in numbers])
            state, metrics = step(state, batch, rate, settings, *constants)
            if start == first:
                # The first call traces and compiles, which is no part of the pace.
                speed.restart()
            pending.append(_Dispatch(start, count, rate, metrics))
            done = start + count
            due = done >= until or _passed(start, done, checkpoint_every)
            # The caller keeps the result of the last step.
            saves = saved is not None and done < steps.total and due
            logs = saves or done >= until or _passed(start, done, job.trainer.log_every)
            # Wait: the host never runs ahead by more than `AHEAD` dispatches, and at a log by none.
            while len(pending) > (1 if logs else AHEAD):
                finish(pending.popleft())
            if logs:
                # A value that is not finite spoils the state for good, so it is looked for before a checkpoint is
                # written.
                finish(pending[0])
                last = _figures(pending.popleft()) | speed.read()
                notify("log", done, metrics=last, state=state)
            if saves:
                notify("checkpoint", done, state=state)
        jax.block_until_ready(state)
    finally:
        notify("end", done)
    tail_loss = math.fsum(tail) / len(tail) if tail else None
    return state, FitReport(done - first, time.perf_counter() - started, last, tokens, tail_loss)


def _all_hooks(job: TrainingJob) -> list[Hook]:
    """Adds the hooks that write files: metrics in the leader, checkpoints in every process."""
    hooks = list(job.hooks())
    if job.directory is not None:
        hooks.insert(0, write_metrics(job.directory / "metrics.jsonl"))
    if job.mesh is not None and not distributed.is_leader():
        hooks = []
    return hooks if job.directory is None else [*hooks, save_checkpoints(job.directory / CHECKPOINTS)]


def _continued(saved: Path, state: TrainState, total_steps: int, job: TrainingJob) -> tuple[int, TrainState]:
    """Restores step and state from the newest whole checkpoint; without one, gives 0 and the given state."""
    step = 0
    if job.mesh is None or distributed.is_leader():
        step = _newest(saved, total_steps, job)
    # Another process may see an older state of the folder.
    step = step if job.mesh is None else distributed.broadcast(step)
    if not step:
        return 0, state
    job.progress(f"{job.name}: continued from step {step} of {total_steps}")
    return step, TrainState(*checkpoints.restore(saved / str(step), tuple(state), job.mesh))


def _newest(saved: Path, total_steps: int, job: TrainingJob) -> int:
    """Finds the step of the newest whole checkpoint, or 0; damaged ones after it are removed."""
    for step in reversed(checkpoints.steps(saved)):
        if step > total_steps:
            continue
        damage = checkpoints.damage(saved / str(step))
        if damage is None:
            return step
        job.progress(f"{job.name}: the checkpoint of step {step} is damaged and was removed: {damage}")
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
    """Returns True where a multiple of `every` lies in `(start, done]`."""
    return every > 0 and done // every > start // every


def _stack(steps: list[StepInputs]) -> StepInputs:
    """Stacks the inputs of several steps along a new first axis; host arrays stay on the host."""

    def stack(*leaves: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
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


def _diverged(dispatch: _Dispatch, index: int, steps: Steps, name: str, saved: Path | None) -> DivergedError:
    """Makes the error for one step of a dispatch, in one line."""
    values = {k: v for k, v in dispatch.values(index).items() if k not in (SOUND, TOKENS)}
    bad = {k: values[k] for k in sorted(values, key=lambda k: k != "loss") if not np.isfinite(values[k])}
    parts = ", ".join(f"{k} is {v}" for k, v in bad.items()) or "the optimizer's update is not finite"
    number = dispatch.first + index
    found = checkpoints.steps(saved) if saved is not None else []
    kept = f"the last good checkpoint is {saved}/{found[-1]}" if found else "there is no checkpoint"
    batch = steps.describe_batch(number)
    return DivergedError(f"{name}: {parts} at step {number + 1} of {steps.total}, on {batch}; {kept}")
