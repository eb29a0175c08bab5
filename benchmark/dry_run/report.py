"""What `--dry_run` finds out beside the settings: shapes of every train step, and whether they fit the target's memory.

Shapes come from abstract evaluation of the programs that a run would compile; nothing is computed, and no data is read.
Where the settings name a target (`TrainerConfig.target`), a child process compiles the train steps for it.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmark.hardware.tpu_compiler import ENVIRONMENT, Memory, first_line
from benchmark.process import numerics
from tasks.system.child_process import ChildProcess, child_environment, module_command
from tasks.system.errors import StageError

if TYPE_CHECKING:
    from benchmark.config import EncoderConfig, RunConfig, TargetConfig

_GIB = 2.0**30
_CHILD = module_command("benchmark.dry_run.compile_child")


@dataclass(frozen=True)
class Figures:
    """What the child says of a program.

    Attributes:
        name: whose step it is a part of.
        part: `step` of the teacher's pretraining; of a distillation step `whole`, or `teacher` and then `student` where
            it is two programs.
        seconds: time of compiling.
        memory: memory on each device.
        kept: the arguments that stay from step to step (parameters, optimiser state), bytes on each device.
        cycles: estimated by the compiler, of one device.
        devices: devices of the mesh.
    """

    name: str
    part: str
    seconds: float
    memory: Memory
    kept: int
    cycles: int
    devices: int

    @classmethod
    def of(cls, values: dict[str, Any]) -> Figures:
        """Figures from their JSON object."""
        return cls(**{**values, "memory": Memory(**values["memory"])})


def shape_lines(config: RunConfig, stages: tuple[str, ...]) -> Iterator[str]:
    """Evaluates the train steps of the given stages without computing anything; one line for each.

    The whole step is evaluated for the first student, and for the others its loss. Students are the baselines, and of
    the search's space the points with the fewest and the most parameters.

    Raises:
        StageError: something in the settings does not go together; one line.
    """
    from benchmark.dry_run import train_steps
    from benchmark.training.finetune import task_head
    from tasks.catalogue import get_task

    if "teacher" in stages:
        yield _line(train_steps.teacher_step(config))
    students = _students(config)
    if {"search", "distill"} & set(stages):
        for number, (name, student) in enumerate(students.items()):
            for phase in (phase for phase in config.distill.phases if phase.steps):
                step = train_steps.distillation_step(config, student, name, phase)
                read = _evaluated(step.teacher.name, step.teacher.outputs)
                if number == 0:
                    yield f"{_line(step.student(read))}; of the teacher {_fields(read)}"
                else:
                    terms, _ = _evaluated(step.name, partial(step.terms, read))
                    yield f"{step.name}: {_size(step.state.params)}; loss {', '.join(sorted(terms))}"
    if "finetune" in stages:
        name, encoder = next(iter(students.items()))
        # One task of each head: those with a head share their program.
        for task in {task_head(get_task(task)): get_task(task) for task in config.data.tasks}.values():
            yield _line(train_steps.finetuning_step(config, encoder, name, task))


def _students(config: RunConfig) -> dict[str, EncoderConfig]:
    """Baselines, and the smallest and the largest student that a search could find, by name."""
    from benchmark.models.formulas import num_parameters
    from benchmark.search.space import decode, enumerate_points

    space = config.search.space
    points = sorted((decode(space, point) for point in enumerate_points(space)), key=num_parameters)
    if not points:
        raise StageError("SearchConfig.space: no combination of its values is an architecture")
    ends = {"smallest of the space": points[0], "largest of the space": points[-1]}
    return {baseline.name: baseline.encoder for baseline in config.baselines} | ends


def _evaluated(name: str, evaluate: Callable[[], Any]) -> Any:
    try:
        return evaluate()
    # What jax raises where shapes do not fit depends on the operation.
    except (TypeError, ValueError) as error:
        raise StageError(f"{name}: shapes do not go together: {first_line(error)}") from error


def _line(program: Any) -> str:
    """Evaluates a train step and says what it takes."""
    _evaluated(program.name, program.outputs)
    state, batch = program.arguments[:2]
    while not hasattr(batch, "input_ids") and not isinstance(batch, dict):
        batch = batch[0]
    rows = batch if isinstance(batch, dict) else batch._asdict()
    shown = f"{program.name}: {_size(state.params)}, input_ids {_shape(rows['input_ids'])}"
    return f"{shown}, labels {_shape(rows['labels'])}" if "labels" in rows else shown


def _size(params: Any) -> str:
    import jax

    return f"{sum(leaf.size for leaf in jax.tree.leaves(params)):,} parameters"


def _fields(read: Any) -> str:
    given = [f"{name} {_shape(leaf)}" for name, leaf in read._asdict().items() if leaf is not None]
    return ", ".join(given) or "nothing"


def _shape(leaf: Any) -> str:
    return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"


def compile_lines(config: RunConfig, gin_text: str) -> Iterator[str]:
    """Compiles the train steps for the target in a child process; a line for each step, as soon as it is compiled.

    Without libtpu there is one line that says what to install.

    Raises:
        StageError: a step does not fit the target's memory, or could not be compiled; one line.
    """
    target = config.trainer.target
    if target is None:
        return
    if importlib.util.find_spec("libtpu") is None:
        yield f"not compiled for {target.topology}: libtpu is not installed; pip install -e '.[tpu]'"
        return
    yield f"compiling for {target.topology}, in {config.trainer.compute_dtype}; this takes minutes"
    waiting: Figures | None = None
    too_large = []
    for values in answers(target, gin_text):
        figures = Figures.of(values)
        if figures.part == "teacher":
            waiting = figures
            continue
        line, fits = step_line(figures, waiting, config)
        waiting = None
        yield line
        if not fits:
            too_large.append(figures.name)
    if too_large:
        raise StageError(
            f"{'; '.join(too_large)}: more memory than {target.chip.name} has; accepted: more "
            "gradient_accumulation_steps, a larger MeshConfig.model, a larger topology, or a smaller batch"
        )


def answers(target: TargetConfig, gin_text: str, command: Sequence[str] = _CHILD) -> Iterator[dict[str, Any]]:
    """Runs the child and yields what it says of each program.

    Raises:
        StageError: it failed, or took more than `target.timeout_s`.
    """
    environment = child_environment(numerics.native_environment(os.environ), **ENVIRONMENT)
    late = f"compiling took more than TargetConfig.timeout_s = {target.timeout_s:g} s"
    with ChildProcess(command, environment, "compiling") as child:
        child.send(gin_text)
        try:
            yield from child.answers(target.timeout_s, late)
        except StageError as error:
            raise StageError(f"TargetConfig.topology = {target.topology!r}: {error}") from None


def step_line(figures: Figures, teacher: Figures | None, config: RunConfig) -> tuple[str, bool]:
    """Memory and time of a train step, and whether it fits the target's memory.

    Memory on each device: what stays (parameters, optimiser state, the teacher's parameters), batches with the
    teacher's outputs on them, of which as many may wait as the host runs ahead, and the larger work space of the two
    programs, which run one after the other.

    Args:
        figures: of the program that trains.
        teacher: of the program of the teacher's outputs; None where a step is one program.
        config: the settings.

    Returns:
        A line, and True where the memory suffices or is not known.
    """
    from benchmark.training.fit import AHEAD

    target = config.trainer.target
    assert target is not None
    memory, chip = figures.memory, target.chip
    kept = figures.kept + (teacher.kept if teacher else 0)
    count = (AHEAD + 1) * config.trainer.steps_per_dispatch
    batches = count * max(0, memory.arguments - figures.kept)
    work = max(memory.new_results + memory.work, teacher.memory.work if teacher else 0)
    total = kept + batches + work
    fits = not chip.memory_bytes or total <= chip.memory_bytes
    room = f" of {chip.memory_bytes / _GIB:.2f}" if chip.memory_bytes else ""
    verdict = ("fits" if fits else "DOES NOT FIT") if room else "ChipConfig.memory_bytes is not given"
    parts = f"kept {kept / _GIB:.2f}, {count} batches {batches / _GIB:.2f}, work space {work / _GIB:.2f}"
    seconds = figures.seconds + (teacher.seconds if teacher else 0.0)
    line = (
        f"{figures.name}: memory per device {total / _GIB:.2f}{room} GiB ({parts}), {verdict}; "
        f"{_time(figures, teacher, config)}; compiled in {seconds:.0f} s"
    )
    return line, fits


def _time(figures: Figures, teacher: Figures | None, config: RunConfig) -> str:
    """Two estimates of a step's time, with what each leaves out."""
    target = config.trainer.target
    assert target is not None
    peak = least_seconds(config, figures.part == "step", figures.devices)
    words = f"its matrix products at peak take {peak:.3f} s"
    if not target.chip.clock_hz:
        return words
    own = figures.cycles / target.chip.clock_hz
    others = teacher.cycles / target.chip.clock_hz if teacher else 0.0
    split = f" (teacher {others:.3f}, student {own:.3f})" if teacher else ""
    total = own + others
    return (
        f"estimated {total:.3f} s a step{split}, the compiler's cycles over {target.chip.clock_hz / 1e9:g} GHz without "
        f"collectives and copies; {words}, {peak / total:.0%} of that"
    )


def least_seconds(config: RunConfig, is_teacher: bool, devices: int) -> float:
    """Time of a step's matrix products at the peak of all devices: the teacher's step, or the first baseline's."""
    from benchmark.training.masking import num_predictions
    from benchmark.training.metrics import training_flops

    target, length = config.trainer.target, config.data.pretrain_length
    assert target is not None
    settings = config.teacher.pretrain if is_teacher else config.distill
    student = config.teacher.encoder if is_teacher else config.baselines[0].encoder
    predictions = num_predictions(length, settings.mask_rate)
    other = None if is_teacher else config.teacher.encoder
    flops = training_flops(student, settings.batch_size, length, predictions, other)
    return flops / (devices * target.chip.peak_flops)
