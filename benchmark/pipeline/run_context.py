"""A run as its stages see it: settings, folder, results of earlier stages, and its systems."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.config import EncoderConfig, RunConfig, encoder_from_dict, fingerprint
from benchmark.config.distillation import replicate_name
from benchmark.distillation.teacher_cache import TeacherCache
from benchmark.pipeline.workdir import RunError, read_entry, read_json
from benchmark.training import checkpoints, distributed, pretrain
from benchmark.training.batches import row_lengths
from benchmark.training.job import Monitor, TrainingJob, silent
from benchmark.training.masking import SpecialTokens
from benchmark.training.metrics import peak_flops
from benchmark.training.partitioning import make_mesh
from benchmark.training.tree_digest import tree_digest
from tasks.arrays import token_arrays
from tasks.catalogue import OwnTask, find_tasks

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from benchmark.models.trees import Params
    from tasks.catalogue import TaskInfo
    from tasks.system.content_cache import ContentCache
    from tasks.system.progress import Show


@dataclass(frozen=True)
class SystemPlan:
    """One system of the run, or one of the distillations of a student.

    Attributes:
        name: its name, which is that of its folders, too.
        title: its name for people.
        kind: as in a record.
        encoder: its architecture.
        directory: the folder of its parameters.
        distill_seed: that of `DistillConfig.seeds` with which it was distilled; None where it was not.
    """

    name: str
    title: str
    kind: str
    encoder: EncoderConfig
    directory: Path
    distill_seed: int | None = None

    @property
    def system(self) -> str:
        """Name of the system, whichever of its distillations this is."""
        return self.name.partition("@")[0]


@dataclass(frozen=True)
class Run:
    """A run, and the results of its earlier stages.

    Attributes:
        config: the settings.
        workdir: the run's folder; an interrupted or finished run of the same settings is continued or reused.
        progress: receives progress lines.
        show: shows progress bars; None where progress lines are written.
        systems: the systems to work on, by name; None for all.
        gin_text: the settings as gin text, for the records.
        command: the command line, for the records.
        cache: results that run folders share; None where every stage computes its own.
    """

    config: RunConfig
    workdir: Path
    progress: Callable[[str], None] = lambda _: None
    show: Show | None = None
    systems: frozenset[str] | None = None
    gin_text: str = ""
    command: str = ""
    cache: ContentCache | None = None

    @cached_property
    def monitor(self) -> Monitor:
        """Monitor of the training runs."""
        trainer, search = self.config.trainer, self.config.search
        tensorboard = self.workdir / "tensorboard" if trainer.tensorboard else None
        if tensorboard is not None and importlib.util.find_spec("tensorboardX") is None:
            self.progress(f"tensorboardX is not installed, so nothing is written to {tensorboard}")
            tensorboard = None
        # The search's chip has the peak of this host only where it is of the same kind.
        of_host = search is not None and search.chip.name.startswith("cpu")
        peak = peak_flops(trainer.compute_dtype, search.chip.peak_flops if search is not None and of_host else None)
        # No process has all of the parameters that are spread over several.
        digests = trainer.log_digests and distributed.process_count() == 1
        return Monitor(tensorboard, peak, self.show, digests)

    @cached_property
    def data(self) -> dict[str, Any]:
        """The index of the data stage, `data/data.json`."""
        path = self.workdir / "data" / "data.json"
        if not path.exists():
            raise RunError(f"{path}: missing; run the stage 'data' first")
        return read_json(path)

    @cached_property
    def tasks(self) -> dict[str, TaskInfo]:
        """The tasks of the run by name; own ones with the labels that the data stage found."""
        own = [OwnTask.from_dict(values) for values in self.data.get("own_tasks", {}).values()]
        return find_tasks(self.config.data.tasks, own, self.config.data.train_files)

    @cached_property
    def data_fingerprint(self) -> str:
        """Fingerprint of the content of all source files, the vocabulary and the request, whatever their paths."""
        digests = {name: entry["sha256"] for name, entry in self.data["source_files"].items()}
        return fingerprint(digests, self.data["vocabulary"]["digest"], self.config.data)

    @cached_property
    def text_fingerprint(self) -> str:
        """Fingerprint of the rows of text and of the vocabulary, whatever the tasks of the run.

        The name of an array folder stands for its content, the settings that shaped it included.
        """
        vocabulary = {name: value for name, value in self.data["vocabulary"].items() if name != "path"}
        return fingerprint(self.data["pretrain"], vocabulary)

    def task_fingerprint(self, task: str) -> str:
        """Fingerprint of the rows of a task and of its metrics."""
        return fingerprint(self.data["tasks"][task], self.tasks[task].metrics)

    @cached_property
    def special(self) -> SpecialTokens:
        """Special token ids."""
        v = self.data["vocabulary"]
        ranges = tuple((start, end) for start, end in v.get("text_ranges", ()))
        return SpecialTokens(v["size"], v["pad_id"], v["cls_id"], v["sep_id"], v["mask_id"], v.get("unk_id"), ranges)

    @cached_property
    def mesh(self) -> Mesh | None:
        """Mesh of the devices that train one model; None for one device."""
        return make_mesh(self.config.trainer.mesh)

    @cached_property
    def teacher_cache(self) -> TeacherCache:
        """The teacher's outputs on the batches of search and distillation, which all students share."""
        trainer, folder = self.config.trainer, self.workdir / "teacher_cache"
        return TeacherCache(trainer.teacher_cache_bytes, folder, trainer.teacher_cache_disk_bytes)

    def job(
        self,
        name: str,
        directory: Path | None,
        *,
        seed: int | None = None,
        quiet: bool = False,
        figures: tuple[str, ...] = (),
    ) -> TrainingJob:
        """Makes the job of a training run on the mesh.

        Args:
            name: shown in progress lines and errors.
            directory: for checkpoints and metrics; None keeps nothing.
            seed: None for that of the run.
            quiet: writes no progress lines, for one of many runs.
            figures: name in TensorBoard, as `TrainingJob.figures` has it.
        """
        seed = self.config.seed if seed is None else seed
        progress = silent if quiet else self.progress
        return TrainingJob(
            name, directory, seed, self.config.trainer, self.mesh, self.monitor, progress, figures=figures
        )

    @property
    def systems_at_once(self) -> int:
        """Threads that distil; one on a mesh, whose devices must all start the same programs in the same order."""
        return self.config.parallel_systems if self.mesh is None else 1

    def rows(self, *names: str) -> token_arrays.TokenArrays:
        """Loads token arrays by their place in the index, for example `rows("tasks", "glue_sst2_v1", "train")`."""
        entry: Any = self.data
        for name in names:
            entry = entry[name]
        return token_arrays.load(self.workdir / "data" / entry)

    @property
    def has_text(self) -> bool:
        """True where the run has rows of text, on which masked LM is trained or measured."""
        return bool(self.data["pretrain"])

    def encoder(self, encoder: EncoderConfig, *, of_checkpoint: bool = False) -> EncoderConfig:
        """Checks that an architecture fits the vocabulary of the run; the table of a checkpoint may have empty rows."""
        size = self.data["vocabulary"]["size"]
        if encoder.vocab_size != size and not (of_checkpoint and encoder.vocab_size > size):
            raise RunError(
                f"EncoderConfig.vocab_size = {encoder.vocab_size}: the vocabulary of this run has {size} tokens"
            )
        return encoder


def tokens_seen(run: Run, steps: int, batch_size: int, seed: int) -> int:
    """Counts the tokens, without padding, of `steps` training steps."""
    rows = run.rows("pretrain", "train")
    lengths = row_lengths(rows, run.special.pad_id)
    return int(
        sum(lengths[token_arrays.batch_indices(rows.num_rows, batch_size, step, seed)].sum() for step in range(steps))
    )


def load_params(directory: Path, encoder: EncoderConfig) -> Params:
    """Loads the parameters that the stage of a system left in its folder.

    Raises:
        RunError: they are missing or damaged.
    """
    refuse_damage(directory / "params", directory / "stage.json")
    return pretrain.load_params(directory / "params", encoder)


def refuse_damage(params: Path, marker: Path) -> None:
    """Refuses parameters of an earlier stage that are missing or not what was written.

    Raises:
        RunError: names the marker without which that stage makes them again.
    """
    damage = checkpoints.damage(params) if params.is_dir() else "missing"
    if damage:
        raise RunError(f"{params}: damaged ({damage}); remove {marker} and run its stage again (--stages)")


def parameters_digest(directory: Path, encoder: EncoderConfig) -> str:
    """Computes the digest of the parameters in the folder of a system, whatever mesh they were trained on."""
    # Not checked for damage: the digests of the files may still be on their way, in the process that leads.
    return tree_digest(pretrain.load_params(directory / "params", encoder))


def plan(run: Run) -> list[SystemPlan]:
    """Lists the systems of the run in the order of the page: teacher, found students, baselines, control.

    The folder of a student is that of its first distillation (`replicates`).
    """
    students = run.workdir / "students"
    first = run.config.distill.seeds[0] if run.config.distill is not None else 0
    systems = []
    if run.config.teacher is not None:
        encoder = run.config.teacher.architecture
        systems.append(SystemPlan("teacher", "Teacher", "teacher", encoder, run.workdir / "teacher"))
    if run.config.search is not None:
        path = run.workdir / "search" / "stage.json"
        if not path.exists():
            raise RunError(f"{path}: missing; run the stage 'search' first")
        for name, values in read_entry(path, "result", "found").items():
            title = f"Found {name.removeprefix('found-')}"
            folder = students / replicate_name(name, first)
            systems.append(SystemPlan(name, title, "found", encoder_from_dict(values), folder, first))
    for b in run.config.baselines:
        seed = first if b.is_distilled else None
        folder = students / replicate_name(b.name, seed or 0)
        systems.append(SystemPlan(b.name, b.title, "baseline", b.architecture, folder, seed))
    if run.config.untrained_control:
        encoder = next(s.encoder for s in systems if run.config.untrained_control in (s.name, s.kind))
        systems.append(SystemPlan("untrained", "Untrained control", "control", encoder, students / "untrained"))
    return [system for system in systems if run.systems is None or system.name in run.systems]


def replicates(run: Run, system: SystemPlan) -> list[SystemPlan]:
    """Lists the distillations of a system, one for each of `DistillConfig.seeds`; others are their only one."""
    if system.distill_seed is None or run.config.distill is None:
        return [system]
    names = {seed: replicate_name(system.name, seed) for seed in run.config.distill.seeds}
    return [
        dataclasses.replace(system, name=name, directory=run.workdir / "students" / name, distill_seed=seed)
        for seed, name in names.items()
    ]


def measured_system(system: SystemPlan, systems: list[SystemPlan]) -> str:
    """Name under which the latency of a system is measured; the untrained control has that of its twin."""
    twins = [other.name for other in systems if other.kind != "control" and other.encoder == system.encoder]
    return twins[0] if system.kind == "control" and twins else system.name


def sum_markers(markers: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums the seconds of the markers of a stage's parts; the sum is reused if all of them are."""
    return {"seconds": sum(m["seconds"] for m in markers), "reused": all(m["reused"] for m in markers)}
