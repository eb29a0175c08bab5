"""The fit loop: batches by number, hooks, checkpoints, a stop at the first non-finite loss."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from benchmark.errors import StageError
from benchmark.training import checkpoints, distributed, partitioning
from benchmark.training.state import TrainState


class DivergedError(StageError):
    """Training met a non-finite loss; the message names step and run."""


@dataclass(frozen=True)
class FitReport:
    """What a fit did: `steps` and `seconds` of this call (without those of an earlier, interrupted one)."""

    steps: int
    seconds: float
    last: dict[str, float]


def fit(
    state: TrainState,
    step_function: Callable[..., Any],
    inputs: Callable[[int], tuple[Any, Any, dict[str, Any]]],
    total_steps: int,
    *,
    name: str,
    directory: Path | None = None,
    checkpoint_every: int = 0,
    log_every: int = 50,
    progress: Callable[[str], None] = lambda line: None,
    mesh: Mesh | None = None,
) -> tuple[TrainState, FitReport]:
    """Runs `total_steps` steps, continuing from the newest checkpoint of an interrupted call.

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
        log_every: steps between log entries and checks for non-finite losses.
        progress: receives one line now and then.
        mesh: where state and batches lie; with one, all processes of the run have to call.

    Returns:
        The final state and a report.

    Raises:
        DivergedError: the loss is not finite.
    """
    first = 0
    writes = mesh is None or distributed.leads()
    if directory is not None:
        found = checkpoints.steps(directory / "checkpoints")
        for step in reversed(found if mesh is None else distributed.agree(found)):
            if step <= total_steps:
                state = TrainState(*checkpoints.restore(directory / "checkpoints" / str(step), tuple(state), mesh))
                first = step
                progress(f"{name}: continued from step {step} of {total_steps}")
                break
    state = partitioning.place(mesh, state)
    started = shown = time.perf_counter()
    last: dict[str, float] = {}
    for step in range(first, total_steps):
        batch, rate, settings = inputs(step)
        state, metrics = step_function(state, batch, rate, settings)
        done = step + 1
        saves = directory is not None and checkpoint_every and done % checkpoint_every == 0 and done < total_steps
        # A loss that is not finite has spoilt the state for good, so it is looked at before a checkpoint is written.
        if done % log_every == 0 or done == total_steps or saves:
            last = {k: float(v) for k, v in metrics.items()}
            if not np.isfinite(last["loss"]):
                raise DivergedError(f"{name}: loss is {last['loss']} at step {done} of {total_steps}")
            if directory is not None and writes:
                directory.mkdir(parents=True, exist_ok=True)
                with (directory / "metrics.jsonl").open("a") as file:
                    file.write(json.dumps({"step": done, **last}) + "\n")
            now = time.perf_counter()
            if now - shown > 5.0 or done == total_steps:
                shown, rate_s = now, (done - first) / (now - started)
                left = (total_steps - done) / rate_s
                pace = f"{rate_s:.1f} steps/s, {left:.0f} s left"
                progress(f"{name}: step {done}/{total_steps}, loss {last['loss']:.3f}, {pace}")
        if directory is not None and saves:
            checkpoints.save(directory / "checkpoints" / str(done), tuple(state))
            if writes:
                checkpoints.keep_latest(directory / "checkpoints")
    jax.block_until_ready(state)
    return state, FitReport(total_steps - first, time.perf_counter() - started, last)
