"""The process that measures a few programs of a run on this machine; `benchmark.dry_run.calibration` starts it.

A JSON object on standard input; on standard output one JSON object a line, with the figures of a program and those of
the process so far. Arrays hold small numbers of no meaning; their shapes are those of the run.
"""

from __future__ import annotations

import dataclasses
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmark.cli.gin_loader import load
from benchmark.distillation import outputs
from benchmark.distillation.distill import phase_objective
from benchmark.dry_run import train_steps
from benchmark.dry_run.calibration import from_json
from benchmark.dry_run.costs import Seconds
from benchmark.dry_run.programs import TRAINING
from benchmark.export.start import completed
from benchmark.hardware import tpu_compiler
from benchmark.latency import machine_state
from benchmark.process.setup import end_with_parent
from benchmark.training.finetune import task_head
from benchmark.training.pretrain import param_shapes
from tasks.catalogue import find_tasks
from tasks.system.control_groups import read_text
from tasks.system.errors import StageError
from tasks.system.memory import available_bytes

if TYPE_CHECKING:
    from benchmark.config import RunConfig
    from benchmark.dry_run.programs import Program

_RATE = 0.15
# Calls of a program: at least so many, and until they took so long, or are more than this.
_LEAST, _MOST, _SECONDS = 3, 40, 1.0
# Share of the available memory that a call may take.
_SHARE = 0.7


def _program(config: RunConfig, program: Program) -> train_steps.Program:
    """Makes a program of the run, with the batch that was asked for."""
    kind, encoder, size = program.kind, program.encoder, program.batch_size
    teacher, recipe, data = config.teacher, config.distill, config.data
    if kind == "pretrain":
        assert teacher is not None
        pretrain = dataclasses.replace(teacher.pretrain, batch_size=size)
        return train_steps.teacher_step(_with(config, teacher=dataclasses.replace(teacher, pretrain=pretrain)))
    if kind == "distill":
        assert recipe is not None
        config = _with(config, distill=dataclasses.replace(recipe, batch_size=size))
        phases = [phase for phase in recipe.phases if phase.steps]
        named = [p for p in phases if "+".join(sorted(phase_objective(recipe, p).terms)) == program.variant]
        step = train_steps.distillation_step(config, encoder, "student", (named or phases)[-1])
        return step.student(step.teacher.outputs())
    if kind == "finetune":
        config = _with(config, finetune=dataclasses.replace(config.finetune, batch_size=size))
        tasks = find_tasks(data.tasks, (task.request(None) for task in data.own_tasks)).values()
        task = next(task for task in tasks if str(task_head(task)) == program.variant)
        made = train_steps.finetuning_step(config, encoder, "system", task)
        state, batch, *rest = made.arguments
        cut = {n: jax.ShapeDtypeStruct((size, program.length)[: len(s.shape)], s.dtype) for n, s in batch.items()}
        return train_steps.Program(made.name, made.function, (state, cut, *rest))
    # Every other program runs a model forward.
    masked = train_steps.masked_batch(data, encoder.vocab_size, size, _RATE)
    masked = jax.tree.map(lambda s: _cut_length(s, data.pretrain_length, program.length), masked)
    needs, dtype = outputs.Needs(logits=True), config.trainer.compute_dtype
    function = jax.jit(lambda params, batch: outputs.teacher_outputs(encoder, params, batch, needs, dtype))
    return train_steps.Program("forward", function, (param_shapes(encoder), masked))


def _with(config: RunConfig, **changes: Any) -> RunConfig:
    """Changes settings without the checks of a whole run: batches of a calibration are no batches of a run."""
    changed = object.__new__(type(config))
    for field in dataclasses.fields(config):
        object.__setattr__(changed, field.name, changes.get(field.name, getattr(config, field.name)))
    return changed


def _cut_length(shape: jax.ShapeDtypeStruct, old: int, new: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(tuple(new if axis == old else axis for axis in shape.shape), shape.dtype)


def _array(leaf: Any) -> Any:
    """Makes an array of a shape; what is none stays."""
    if not isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf
    return jnp.full(leaf.shape, 0.01 if jnp.issubdtype(leaf.dtype, jnp.floating) else 1, leaf.dtype)


def _timed(work: Callable[[], Any]) -> tuple[Any, Seconds]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def measure(config: RunConfig, program: Program) -> dict[str, Any]:
    """Compiles a program and calls it, unless that needs more memory than there is; `call` is None then."""
    made = _program(config, program)
    compiled, compiling = _timed(lambda: made.function.lower(*made.arguments).compile())
    memory = tpu_compiler.read_memory(compiled.memory_analysis())
    figures = {"compiling": dataclasses.astuple(compiling), "work_bytes": memory.work + memory.new_results}
    room, needed = available_bytes(), memory.arguments + memory.new_results + memory.work
    if room is not None and needed > _SHARE * room:
        return {**figures, "call": None}
    arguments = [jax.tree.map(_array, argument) for argument in made.arguments]
    calls: list[Seconds] = []
    took = 0.0
    while took < _SECONDS and len(calls) < _MOST or len(calls) < _LEAST and took < 5 * _SECONDS:
        result, seconds = _timed(lambda: jax.block_until_ready(compiled(*arguments)))
        if program.kind in TRAINING:
            # The state is donated.
            arguments[0] = result[0]
        calls.append(seconds)
        took += seconds.wall
    # The first call sets things up.
    usual = calls[1:] or calls
    once = float(np.median([c.wall for c in usual])), float(np.mean([c.cpu for c in usual]))
    return {**figures, "call": once}


def _resident_bytes() -> int:
    """Reads the memory of this process; the largest so far where the system does not say."""
    words = read_text(Path("/proc/self/statm")).split()
    if len(words) > 1:
        return int(words[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Reads the request, and measures."""
    request = json.loads(sys.stdin.read())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.gin"
        path.write_text(request["gin"], encoding="utf-8")
        config = completed(load([str(path)]).config)

    def write_answer(values: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(values) + "\n")
        sys.stdout.flush()

    watch, first = machine_state.Watch(), jax.devices()[0]
    # Loads what the first program of a process loads, which is no part of a program.
    jax.jit(lambda x: x + 1)(jnp.zeros(8)).block_until_ready()
    base = _resident_bytes()
    limit = None if first.platform == "cpu" else (first.memory_stats() or {}).get("bytes_limit")
    device = {"device": first.device_kind, "devices": jax.device_count(), "device_bytes": limit, "base_bytes": base}
    grown = 0
    try:
        for values in request["programs"]:
            figures = measure(config, from_json(values))
            grown = grown or max(0, _resident_bytes() - base)
            process = {**device, "compile_bytes": grown, "other_cores": watch.others().cores}
            write_answer({"program": figures, "process": process})
    except (StageError, ValueError, jax.errors.JaxRuntimeError) as error:
        write_answer({"error": tpu_compiler.first_line(error)})


if __name__ == "__main__":
    end_with_parent()
    main()
