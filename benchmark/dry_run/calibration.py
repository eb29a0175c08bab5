"""A short calibration of this machine: a few programs of the run are compiled and called in a child process.

The child has the numerics of the run and no folder: it writes nothing, and its memory ends with it.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmark.config import encoder_from_dict, to_dict
from benchmark.dry_run.costs import Measured, Seconds, call_formula, program_flops
from benchmark.dry_run.programs import TRAINING, Calls, Program, StageWork
from benchmark.process import numerics
from tasks.system.child_process import ChildProcess, child_environment, module_command

if TYPE_CHECKING:
    from benchmark.config import RunConfig

_CHILD = module_command("benchmark.dry_run.calibration_child")
TIMEOUT_S = 240.0
# The batch of a program is cut until a call has at most so many FLOPs, a second or two of a slow processor.
MOST_FLOPS = 1.5e11


@dataclass(frozen=True)
class Calibration:
    """What was measured.

    Attributes:
        measured: the programs.
        seconds: time that the calibration took.
        base_bytes: memory of a process that has loaded the libraries and compiled.
        platform: `cpu`, `gpu` or `tpu`.
        device: kind of the first device.
        devices: number of devices.
        device_bytes: memory of a device; None where it is the machine's.
        other_cores: cores that other processes kept busy meanwhile; None where the machine does not say.
    """

    measured: tuple[Measured, ...]
    seconds: float
    base_bytes: int
    platform: str
    device: str
    devices: int
    device_bytes: int | None
    other_cores: float | None


def choose_programs(stages: Sequence[StageWork]) -> list[Program]:
    """Chooses the programs to measure, few enough for half a minute.

    Of each kind that trains it is the one with the most work (of students' distillations the middle one, as there are
    many), of those that run forward the one with the most work, and one masking program.
    """
    weight: dict[Program, float] = {}
    for calls in _calls(stages):
        weight[calls.program] = weight.get(calls.program, 0.0) + calls.count * call_formula(calls.program)
    chosen = []
    for kinds in (("pretrain",), ("distill",), ("finetune",), ("teacher", "evaluate", "predict"), ("mask",)):
        among = [program for program in weight if program.kind in kinds]
        if not among:
            continue
        if kinds == ("distill",):
            among.sort(key=call_formula)
            chosen.append(among[len(among) // 2])
        else:
            chosen.append(max(among, key=lambda program: weight[program]))
    return chosen


def _calls(stages: Sequence[StageWork]) -> list[Calls]:
    return [calls for stage in stages for job in stage.every_job for calls in job.calls]


def cut_batch(program: Program, parts: int) -> int:
    """Cuts the batch of a program that would take too long; a multiple of `parts`."""
    size = program.batch_size
    while size > parts and program_flops(program) * size / program.batch_size > MOST_FLOPS:
        size = max(parts, size // 2 // parts * parts)
    return size


def calibrate(config: RunConfig, gin_text: str, programs: Sequence[Program]) -> Calibration:
    """Compiles and calls the programs in a child process, with the numerics of the run.

    Raises:
        InputError: the processor lacks a feature that portable numerics need.
        StageError: the child failed, or took too long.
    """
    before = numerics.native_environment(os.environ)
    portable = config.numerics == numerics.PORTABLE
    environment = numerics.portable_environment(before, config.reduction_threads) if portable else before
    parts = config.trainer.gradient_accumulation_steps
    asked = [_to_json(program, cut_batch(program, parts if program.kind in TRAINING else 1)) for program in programs]
    measured, last = [], {}
    with ChildProcess(_CHILD, child_environment(environment), "calibrating") as child:
        late = f"calibrating took more than {TIMEOUT_S:g} s"
        child.send(_request(gin_text, asked))
        for answer in child.answers(TIMEOUT_S, late):
            if "number" in answer:
                program = _cut(programs[answer["number"]], asked[answer["number"]]["batch_size"])
                call = None if answer["call"] is None else Seconds(*answer["call"])
                measured.append(Measured(program, Seconds(*answer["compiling"]), call, answer["work_bytes"]))
            else:
                last = answer
    return Calibration(tuple(measured), **last)


def _request(gin_text: str, programs: list[dict[str, Any]]) -> str:
    return json.dumps({"gin": gin_text, "programs": programs})


def _cut(program: Program, batch_size: int) -> Program:
    return dataclasses.replace(program, batch_size=batch_size)


def _to_json(program: Program, batch_size: int) -> dict[str, Any]:
    return {
        "kind": program.kind,
        "encoder": to_dict(program.encoder),
        "batch_size": batch_size,
        "length": program.length,
        "variant": program.variant,
    }


def from_json(values: dict[str, Any]) -> Program:
    """Reads a program in a request."""
    return Program(**{**values, "encoder": encoder_from_dict(values["encoder"])})
