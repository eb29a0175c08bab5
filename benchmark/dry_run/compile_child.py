"""The process that compiles the train steps of a run for its target; `benchmark.dry_run.report` starts it.

Gin text on standard input; on standard output one JSON object a line, each as soon as it is known: figures of a program
(`ProgramFigures`), or `{"error": ...}` as the last one.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from benchmark.cli.gin_loader import load
from benchmark.dry_run import train_steps
from benchmark.dry_run.report import ProgramFigures
from benchmark.export.start import completed
from benchmark.hardware import tpu_compiler
from benchmark.hardware.hlo_cycles import estimated_cycles
from benchmark.training import partitioning
from tasks.system.errors import StageError

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from benchmark.config import RunConfig
    from benchmark.models.trees import PyTree


def _bytes_per_device(tree: PyTree) -> int:
    """Counts the bytes of a tree on each device, without the padding that a chip may add."""
    leaves = jax.tree.leaves(tree)
    return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in leaves)


def _figures(
    name: str, part: str, program: train_steps.Program, kept: PyTree, mesh: Mesh
) -> tuple[ProgramFigures, PyTree]:
    """Compiles a program; gives its figures and the placement of its results. `kept` are the arguments that stay."""
    compiled = tpu_compiler.compile_program(program.function, program.arguments)
    figures = ProgramFigures(
        name=name,
        part=part,
        seconds=compiled.seconds,
        memory=compiled.memory,
        kept=_bytes_per_device(kept),
        cycles=estimated_cycles(compiled.text),
        devices=mesh.size,
    )
    return figures, compiled.places


def compile_run(config: RunConfig) -> Iterator[ProgramFigures]:
    """Compiles the teacher's step, and for each phase the teacher's outputs and the step of the first baseline.

    With `TrainerConfig.teacher_in_step` these two are one program.

    Raises:
        StageError: settings, mesh and slice do not go together.
        jax.errors.JaxRuntimeError: the compiler refuses a program.
    """
    target = config.trainer.target
    assert target is not None
    mesh = partitioning.make_mesh(config.trainer.mesh, tpu_compiler.devices(target.topology))
    if mesh is None:
        raise StageError("MeshConfig.data = 1, MeshConfig.model = 1: expected a mesh of several devices for a target")
    if config.teacher is not None and config.teacher.pretrain.steps:
        step = train_steps.teacher_step(config, mesh)
        yield _figures("teacher", "step", step, step.arguments[0], mesh)[0]
    if not config.distilled_baselines or config.distill is None:
        return
    student = config.distilled_baselines[0]
    for phase in (phase for phase in config.distill.phases if phase.steps):
        distillation = train_steps.distillation_step(config, student.architecture, student.name, phase, mesh)
        teacher = distillation.teacher
        name = f"{student.name}, phase {phase.name}"
        if distillation.constants is not None:
            whole = distillation.student(teacher.outputs())
            yield _figures(name, "whole", whole, (whole.arguments[0], distillation.constants), mesh)[0]
            continue
        figures, places = _figures(name, "teacher", teacher, teacher.arguments[1], mesh)
        yield figures
        outputs = jax.tree.map(
            lambda shape, where: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=where),
            teacher.outputs(),
            places,
        )
        own = distillation.student(outputs)
        yield _figures(name, "student", own, own.arguments[0], mesh)[0]


def main() -> None:
    """Reads the settings and compiles."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.gin"
        path.write_text(sys.stdin.read(), encoding="utf-8")
        config = completed(load([str(path)]).config)

    def write_answer(values: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(values) + "\n")
        sys.stdout.flush()

    try:
        for figures in compile_run(config):
            write_answer(dataclasses.asdict(figures))
    except (StageError, ValueError, jax.errors.JaxRuntimeError) as error:
        write_answer({"error": tpu_compiler.first_line(error)})


if __name__ == "__main__":
    main()
