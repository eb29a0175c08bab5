"""A short calibration of this machine: a few programs of the run are compiled and called in a child process.

The child has the numerics of the run and no folder: it writes nothing, and its memory ends with it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmark.config import encoder_from_dict, to_dict
from benchmark.dry_run.costs import Measured, Seconds, call_formula, program_flops
from benchmark.dry_run.programs import TRAINING, Calls, Program, StageWork
from benchmark.process import numerics
from tasks.system.child_process import ChildProcess, child_environment, module_command
from tasks.system.errors import StageError

if TYPE_CHECKING:
    from benchmark.config import RunConfig

_CHILD = module_command("benchmark.dry_run.calibration_child")
# A busy machine has not measured all programs by then; those that it has are taken.
TIMEOUT_S = 120.0
# Cores that other processes may keep busy without making a calibration rough.
QUIET_CORES = 0.5
# The batch of a program is cut until a call has at most so many FLOPs, a second or two of a slow processor.
MOST_FLOPS = 1.5e11


@dataclass(frozen=True)
class Calibration:
    """What was measured.

    Attributes:
        measured: the programs, in the order in which they were asked for.
        asked: number of programs that were asked for.
        seconds: time that the calibration took.
        device: kind of the first device.
        devices: number of devices.
        device_bytes: memory of a device; None where it is the machine's.
        base_bytes: memory of a process that has loaded the libraries.
        compile_bytes: what it grows by when it compiles.
        other_cores: cores that other processes kept busy meanwhile; None where the machine does not say.
    """

    measured: tuple[Measured, ...]
    asked: int
    seconds: float
    device: str
    devices: int
    device_bytes: int | None
    base_bytes: int
    compile_bytes: int
    other_cores: float | None

    @property
    def is_quiet(self) -> bool:
        """True where all programs were measured and other processes hardly disturbed them."""
        return len(self.measured) == self.asked and (self.other_cores or 0.0) <= QUIET_CORES


def choose_programs(stages: Sequence[StageWork]) -> list[Program]:
    """Chooses the programs to measure, few enough for half a minute.

    Of each kind that trains it is the one with the most work (of students' distillations the middle one, as there are
    many), of those that run forward the one with the most work.
    """
    weight: dict[Program, float] = {}
    for calls in _calls(stages):
        weight[calls.program] = weight.get(calls.program, 0.0) + calls.count * call_formula(calls.program)
    chosen = []
    for kinds in (("pretrain",), ("distill",), ("finetune",), ("teacher", "evaluate", "predict")):
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
        StageError: no program was measured, as the child failed or took too long.
    """
    before = numerics.native_environment(os.environ)
    portable = config.numerics == numerics.PORTABLE
    environment = numerics.portable_environment(before, config.reduction_threads) if portable else before
    parts = config.trainer.gradient_accumulation_steps
    asked = [
        dataclasses.replace(program, batch_size=cut_batch(program, parts if program.kind in TRAINING else 1))
        for program in programs
    ]
    started, measured, process = time.perf_counter(), [], {}
    late = f"it took more than {TIMEOUT_S:g} s"
    with ChildProcess(_CHILD, child_environment(environment), "calibrating") as child:
        child.send(json.dumps({"gin": gin_text, "programs": [_to_json(program) for program in asked]}))
        try:
            for program, answer in zip(asked, child.answers(TIMEOUT_S, late), strict=False):
                process = answer["process"]
                measured.append(_measured(program, answer["program"], process["device"] == "cpu"))
        except StageError:
            if not measured:
                raise
    return Calibration(tuple(measured), len(programs), time.perf_counter() - started, **process)


def _measured(program: Program, figures: dict[str, Any], on_processor: bool) -> Measured:
    """Reads the figures of a program; on a processor, without the time in which other processes had it."""

    def undisturbed(wall: float, cpu: float) -> Seconds:
        return Seconds(min(wall, cpu) if on_processor else wall, cpu)

    call = None if figures["call"] is None else undisturbed(*figures["call"])
    return Measured(program, undisturbed(*figures["compiling"]), call, figures["work_bytes"])


def _to_json(program: Program) -> dict[str, Any]:
    names = ("kind", "batch_size", "length", "variant")
    return {"encoder": to_dict(program.encoder), **{name: getattr(program, name) for name in names}}


def from_json(values: dict[str, Any]) -> Program:
    """Reads a program in a request."""
    return Program(**{**values, "encoder": encoder_from_dict(values["encoder"])})
