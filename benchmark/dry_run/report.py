"""The report of `--dry_run`: the settings, the shapes of every train step, their memory and time on the target.

Shapes come from abstract evaluation of the programs that a run would compile; nothing is computed, and no data is read.
Where the settings name a target (`TrainerConfig.target`), a child process compiles the train steps for it; else the
time on this machine is forecast (`benchmark.dry_run.forecast`). jax is imported only where shapes are evaluated, so
that a dry run of the other stages answers at once.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from benchmark.config import TRAINING_STAGES, fingerprint
from benchmark.dry_run import forecast
from benchmark.export.start import checkpoint_notes
from benchmark.hardware.tpu_compiler import ENVIRONMENT, Memory, first_line
from benchmark.models.formulas import num_parameters
from benchmark.process import numerics
from benchmark.search.space import decode, enumerate_points
from tasks.catalogue import find_tasks
from tasks.system.child_process import ChildProcess, child_environment, module_command
from tasks.system.errors import StageError

if TYPE_CHECKING:
    import jax

    from benchmark.config import EncoderConfig, RunConfig, TargetConfig
    from benchmark.distillation.outputs import Outputs
    from benchmark.dry_run import train_steps
    from benchmark.models.trees import Params

_GIB = 2.0**30
_CHILD = module_command("benchmark.dry_run.compile_child")

Result = TypeVar("Result")


@dataclass(frozen=True)
class ProgramFigures:
    """Figures of one compiled program, as the child process reports them.

    Attributes:
        name: whose step it is a part of.
        part: `step` of the teacher's pretraining; of a distillation step `whole`, or `teacher` and then `student` where
            it is two programs.
        seconds: time of compiling.
        memory: memory on each device.
        kept: bytes of the arguments that stay from step to step (parameters, optimizer state), on each device.
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
    def from_json(cls, values: dict[str, Any]) -> ProgramFigures:
        """Reads figures from their JSON object."""
        return cls(**{**values, "memory": Memory(**values["memory"])})


def report_lines(config: RunConfig, workdir: Path, stages: tuple[str, ...], gin_text: str) -> Iterator[str]:
    """Writes the report, one line at a time.

    It has settings, fingerprint, folder and stages, the data files, the machine, shapes, the target, and the forecast.

    Raises:
        RunError: the folder holds a run of other settings.
        CheckpointError: the weights of a checkpoint contradict its configuration, or are damaged.
        StageError: settings do not go together, or a step does not fit the target; one line.
    """
    notes = checkpoint_notes(config)
    yield from tree_lines(config)
    yield from notes
    yield f"fingerprint: {fingerprint(config)}"
    yield f"workdir: {workdir}"
    yield f"stages: {', '.join(stages)}"
    if "data" in stages:
        for line in forecast.file_lines(config, workdir):
            yield f"data: {line}"
    for line in forecast.machine_lines(config, stages):
        yield f"machine: {line}"
    # jax is imported for these alone.
    if not TRAINING_STAGES & set(stages):
        return
    started = time.perf_counter()
    for line in shape_lines(config, stages):
        yield f"shapes: {line}"
    yield f"shapes: evaluated in {time.perf_counter() - started:.1f} s"
    for line in compile_lines(config, gin_text):
        yield f"target: {line}"
    for line in forecast.forecast_lines(config, workdir, stages, gin_text):
        yield f"forecast: {line}"


def tree_lines(value: Any, name: str = "", indent: int = 0) -> Iterator[str]:
    """Writes a configuration as indented lines, one for each field."""
    start = "  " * indent + (f"{name}: " if name else "")
    yield f"{start}{type(value).__name__}"
    for field in dataclasses.fields(value):
        inner = getattr(value, field.name)
        if dataclasses.is_dataclass(inner):
            yield from tree_lines(inner, field.name, indent + 1)
        elif isinstance(inner, tuple) and inner and dataclasses.is_dataclass(inner[0]):
            for index, item in enumerate(inner):
                yield from tree_lines(item, f"{field.name}[{index}]", indent + 1)
        else:
            yield "  " * (indent + 1) + f"{field.name} = {inner!r}"


def shape_lines(config: RunConfig, stages: tuple[str, ...]) -> Iterator[str]:
    """Evaluates the train steps of the given stages without computing anything; one line for each.

    For the first student the whole step is evaluated, for the others its loss. Students are the baselines, and the
    points with the fewest and the most parameters of the search's space.

    Raises:
        StageError: settings do not go together; one line.
    """
    from benchmark.dry_run import train_steps
    from benchmark.training.finetune import task_head

    if "teacher" in stages and config.teacher is not None and config.teacher.pretrain.steps:
        yield _line(train_steps.teacher_step(config))
    students = _students(config)
    if {"search", "distill"} & set(stages) and config.distill is not None:
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
        published = {b.name: b.architecture for b in config.baselines if not b.is_distilled}
        teachers = {} if config.teacher is None else {"teacher": config.teacher.architecture}
        name, encoder = next(iter((students | published | teachers).items()))
        # One task of each head: those with a head share their program.
        tasks = find_tasks(config.data.tasks, (task.request(None) for task in config.data.own_tasks))
        unknown = [task.name for task in tasks.values() if not task.num_labels]
        if unknown:
            names = ", ".join(unknown)
            yield f"{names}: as many labels as the training file has; TaskConfig.label_names gives them before"
        for task in {task_head(task): task for task in tasks.values() if task.num_labels}.values():
            yield _line(train_steps.finetuning_step(config, encoder, name, task))


def _students(config: RunConfig) -> dict[str, EncoderConfig]:
    """Lists the students by name: baselines, and the smallest and the largest that a search could find."""
    known = {baseline.name: baseline.architecture for baseline in config.distilled_baselines}
    if config.search is None:
        return known
    space = config.search.space
    points = sorted((decode(space, point) for point in enumerate_points(space)), key=num_parameters)
    ends = {"smallest of the space": points[0], "largest of the space": points[-1]}
    return known | ends


def _evaluated(name: str, evaluate: Callable[[], Result]) -> Result:
    try:
        return evaluate()
    # The type of jax's error depends on the operation whose shapes do not fit.
    except (TypeError, ValueError) as error:
        raise StageError(f"{name}: shapes do not go together: {first_line(error)}") from error


def _line(program: train_steps.Program) -> str:
    """Evaluates a train step and describes its parameters and its batch."""
    _evaluated(program.name, program.outputs)
    state, batch = program.arguments[:2]
    while not hasattr(batch, "input_ids") and not isinstance(batch, dict):
        batch = batch[0]
    rows = batch if isinstance(batch, dict) else batch._asdict()
    shown = f"{program.name}: {_size(state.params)}, input_ids {_shape(rows['input_ids'])}"
    return f"{shown}, labels {_shape(rows['labels'])}" if "labels" in rows else shown


def _size(params: Params) -> str:
    import jax

    return f"{sum(leaf.size for leaf in jax.tree.leaves(params)):,} parameters"


def _fields(read: Outputs) -> str:
    given = [f"{name} {_shape(leaf)}" for name, leaf in read._asdict().items() if leaf is not None]
    return ", ".join(given) or "nothing"


def _shape(leaf: jax.ShapeDtypeStruct) -> str:
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
    waiting: ProgramFigures | None = None
    too_large = []
    for values in read_answers(target, gin_text):
        figures = ProgramFigures.from_json(values)
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


def read_answers(target: TargetConfig, gin_text: str, command: Sequence[str] = _CHILD) -> Iterator[dict[str, Any]]:
    """Runs the child and yields its answer for each program.

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


def step_line(figures: ProgramFigures, teacher: ProgramFigures | None, config: RunConfig) -> tuple[str, bool]:
    """Adds up memory and time of a train step, and compares them with the target.

    Memory on each device has three parts: the state that stays (parameters, optimizer state, the teacher's parameters);
    batches with the teacher's outputs on them, as many as the host may run ahead; and the larger work space of the two
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


def _time(figures: ProgramFigures, teacher: ProgramFigures | None, config: RunConfig) -> str:
    """Writes two estimates of a step's time, and names the parts that each leaves out."""
    target = config.trainer.target
    assert target is not None
    peak = least_seconds(config, figures.part == "step", figures.devices)
    bound = f"its matrix products at peak take {peak:.3f} s"
    if not target.chip.clock_hz:
        return bound
    own = figures.cycles / target.chip.clock_hz
    others = teacher.cycles / target.chip.clock_hz if teacher else 0.0
    split = f" (teacher {others:.3f}, student {own:.3f})" if teacher else ""
    total = own + others
    return (
        f"estimated {total:.3f} s a step{split}, the compiler's cycles over {target.chip.clock_hz / 1e9:g} GHz without "
        f"collectives and copies; {bound}, {peak / total:.0%} of that"
    )


def least_seconds(config: RunConfig, is_teacher: bool, devices: int) -> float:
    """Seconds of a step's matrix products at the peak of all devices: the teacher's step, or the first baseline's."""
    from benchmark.training.masking import num_predictions
    from benchmark.training.metrics import training_flops

    target, length = config.trainer.target, config.data.pretrain_length
    assert target is not None
    assert config.teacher is not None
    settings = config.teacher.pretrain if is_teacher else config.distill
    assert settings is not None
    teacher = config.teacher.architecture
    student = teacher if is_teacher else config.distilled_baselines[0].architecture
    predictions = num_predictions(length, settings.mask_rate)
    other = None if is_teacher else teacher
    flops = training_flops(student, settings.batch_size, length, predictions, other)
    return flops / (devices * target.chip.peak_flops)
