"""The stages of a run, each a function of the settings and of what earlier stages left in the run's folder."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmark.config import DistillConfig, EncoderConfig, RunConfig, encoder_from_dict, fingerprint, to_dict
from benchmark.parallel import map_threads
from benchmark.training import distributed
from benchmark.workdir import RunError, finished, once, read_json


@dataclass(frozen=True)
class SystemPlan:
    """One system of the run: who it is and where its parameters lie."""

    name: str
    title: str
    kind: str
    encoder: EncoderConfig
    directory: Path


@dataclass(frozen=True)
class Run:
    """Settings, folder, progress and systems (by name; None: all) of a run; the rest reads what earlier stages left."""

    config: RunConfig
    workdir: Path
    progress: Callable[[str], None]
    show: Callable[[str, int, int, str], None] | None = None
    systems: frozenset[str] | None = None

    @cached_property
    def monitor(self) -> Any:
        """What watches the training runs, as `benchmark.training.hooks.Monitor`."""
        from benchmark.training.hooks import Monitor
        from benchmark.training.metrics import peak_flops

        trainer, chip = self.config.trainer, self.config.search.chip
        tensorboard = self.workdir / "tensorboard" if trainer.tensorboard else None
        if tensorboard is not None and importlib.util.find_spec("tensorboardX") is None:
            self.progress(f"tensorboardX is not installed, so nothing is written to {tensorboard}")
            tensorboard = None
        # The search's chip says what this host can do only where it is of the same kind.
        peak = peak_flops(trainer.compute_dtype, chip.peak_flops if chip.name.startswith("cpu") else None)
        # Of parameters that are spread over processes no process has all.
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
    def data_fingerprint(self) -> str:
        """Depends on the content of all source files, the vocabulary and the request, not on where they lie."""
        digests = {name: entry["sha256"] for name, entry in self.data["source_files"].items()}
        return fingerprint(digests, self.data["vocabulary"]["digest"], self.config.data)

    @cached_property
    def special(self) -> Any:
        """Special token ids, as `benchmark.training.masking.SpecialTokens`."""
        from benchmark.training.masking import SpecialTokens

        v = self.data["vocabulary"]
        return SpecialTokens(v["size"], v["pad_id"], v["cls_id"], v["sep_id"], v["mask_id"])

    @cached_property
    def mesh(self) -> Any:
        """The devices that train together, as `jax.sharding.Mesh`; None for one device."""
        from benchmark.training.partitioning import make_mesh

        return make_mesh(self.config.trainer.mesh)

    @cached_property
    def teacher_cache(self) -> Any:
        """The teacher's outputs on the batches of search and distillation, which all students share."""
        from benchmark.distillation.teacher_cache import TeacherCache

        trainer, folder = self.config.trainer, self.workdir / "teacher_cache"
        return TeacherCache(trainer.teacher_cache_bytes, folder, trainer.teacher_cache_disk_bytes)

    @property
    def systems_at_once(self) -> int:
        """Threads that distil; one on a mesh, whose devices must all start the same programs in the same order."""
        return self.config.parallel_systems if self.mesh is None else 1

    def rows(self, *names: str) -> Any:
        """Token arrays by their place in the index, for example `rows("tasks", "glue_sst2_v1", "train")`."""
        from tasks import arrays

        entry: Any = self.data
        for name in names:
            entry = entry[name]
        return arrays.load(self.workdir / "data" / entry)

    def encoder(self, encoder: EncoderConfig) -> EncoderConfig:
        """Checks that an architecture fits the vocabulary of the run."""
        size = self.data["vocabulary"]["size"]
        if encoder.vocab_size != size:
            raise RunError(
                f"EncoderConfig.vocab_size = {encoder.vocab_size}: the vocabulary of this run has {size} tokens"
            )
        return encoder


def data_stage(run: Run) -> dict[str, Any]:
    """Makes token arrays, in a child process: TensorFlow never enters this one."""
    from tasks import upkeep
    from tasks.materialize import run_in_child

    output = run.workdir / "data"
    marker, config_fingerprint = output / "stage.json", fingerprint(run.config.data)
    if finished(marker, config_fingerprint) and not upkeep.intact(output):
        # Something on the disk has changed since: the stage finds out what, says so and builds that part again.
        marker.unlink()

    def work() -> dict[str, Any]:
        index = run_in_child(run.config.data.request(), output, run.progress)
        return {"seconds": index["seconds"]}

    return once(marker, config_fingerprint, work, run.progress, "data")


def teacher_stage(run: Run) -> dict[str, Any]:
    """Pretrains the teacher and measures its masked-LM accuracy."""
    config = run.config.teacher
    encoder = run.encoder(config.encoder)
    directory = run.workdir / "teacher"

    def work() -> dict[str, Any]:
        from benchmark.training import checkpoints
        from benchmark.training.pretrain import evaluate_masked_lm, pretrain

        train = run.rows("pretrain", "train")
        params, _ = pretrain(
            encoder,
            config.pretrain,
            train,
            run.special,
            run.config.seed,
            directory,
            run.progress,
            trainer=run.config.trainer,
            monitor=run.monitor,
            mesh=run.mesh,
        )
        validation, mask_rate = run.rows("pretrain", "validation"), config.pretrain.mask_rate
        scores = evaluate_masked_lm(encoder, params, validation, run.special, mask_rate, mesh=run.mesh)
        checkpoints.save(directory / "params", params)
        run.progress(f"teacher: masked-LM accuracy {scores['accuracy']:.2f} %")
        return {
            "masked_lm": scores,
            "parameters_sha256": _parameters_digest(directory, encoder),
            "steps": config.pretrain.steps,
            "tokens": _tokens(run, config.pretrain.steps, config.pretrain.batch_size, run.config.seed),
            "encoder": to_dict(encoder),
            "recipe": "masked_lm",
        }

    stage_fingerprint = fingerprint(run.data_fingerprint, config, run.config.trainer, run.config.seed)
    marker = directory / "stage.json"
    return once(marker, stage_fingerprint, work, run.progress, "teacher", directory=directory, together=True)


def _tokens(run: Run, steps: int, batch_size: int, seed: int) -> int:
    """Tokens, without padding, that a training run of `steps` steps saw."""
    import numpy as np

    from tasks import arrays

    rows = run.rows("pretrain", "train")
    lengths = (np.asarray(rows.features["input_ids"]) != run.special.pad_id).sum(axis=1)
    return int(sum(lengths[arrays.batch_indices(rows.num_rows, batch_size, step, seed)].sum() for step in range(steps)))


def load_teacher(run: Run) -> Any:
    """The teacher with its parameters on the device or the mesh, as `benchmark.distillation.outputs.Teacher`."""
    from benchmark.distillation.outputs import Teacher
    from benchmark.training.partitioning import place

    encoder = run.config.teacher.encoder
    params = load_params(run.workdir / "teacher", encoder)
    # Host arrays would be copied to the device at every call.
    return Teacher(encoder, place(run.mesh, params))


def load_params(directory: Path, encoder: EncoderConfig) -> Any:
    """The parameters that the stage of a system left in its folder."""
    from benchmark.training import pretrain

    return pretrain.load_params(directory / "params", encoder)


def _parameters_digest(directory: Path, encoder: EncoderConfig) -> str:
    """Digest of the parameters that lie in the folder of a system, whatever mesh they were trained on."""
    from benchmark.training.tree_digest import tree_digest

    return tree_digest(load_params(directory, encoder))


def distil_student(
    run: Run,
    teacher: Any,
    encoder: EncoderConfig,
    recipe: DistillConfig,
    directory: Path | None,
    name: str,
    *,
    quiet: bool = False,
    stop_after: int | None = None,
) -> Any:
    """Distils one student, to the end of the recipe or up to a step; returns its parameters and what records say."""
    from benchmark.distillation.distill import distill
    from benchmark.training.pretrain import evaluate_masked_lm

    seed, train = run.config.seed, run.rows("pretrain", "train")
    monitor = dataclasses.replace(run.monitor, tensorboard=None) if quiet else run.monitor
    params, steps = distill(
        encoder,
        teacher,
        recipe,
        train,
        run.special,
        seed=seed,
        directory=directory,
        name=name,
        progress=(lambda line: None) if quiet else run.progress,
        trainer=run.config.trainer,
        monitor=monitor,
        mesh=run.mesh,
        cache=run.teacher_cache,
        stop_after=stop_after,
    )
    validation = run.rows("pretrain", "validation")
    scores = evaluate_masked_lm(encoder, params, validation, run.special, recipe.mask_rate, mesh=run.mesh)
    return params, {"masked_lm": scores, "steps": steps}


def plan(run: Run) -> list[SystemPlan]:
    """The systems of the run, in the order of the page: teacher, found students, baselines, control."""
    students = run.workdir / "students"
    path = run.workdir / "search" / "stage.json"
    if not path.exists():
        raise RunError(f"{path}: missing; run the stage 'search' first")
    found = {name: encoder_from_dict(e) for name, e in read_json(path)["result"]["found"].items()}
    systems = [SystemPlan("teacher", "Teacher", "teacher", run.config.teacher.encoder, run.workdir / "teacher")]
    systems += [SystemPlan(n, f"Found {n.removeprefix('found-')}", "found", e, students / n) for n, e in found.items()]
    systems += [SystemPlan(b.name, b.title, "baseline", b.encoder, students / b.name) for b in run.config.baselines]
    if run.config.untrained_control:
        encoder = next(s.encoder for s in systems if run.config.untrained_control in (s.name, s.kind))
        systems.append(SystemPlan("untrained", "Untrained control", "control", encoder, students / "untrained"))
    return [system for system in systems if run.systems is None or system.name in run.systems]


def measured_system(system: SystemPlan, systems: list[SystemPlan]) -> str:
    """Under which name the latency of a system is measured: the untrained control has that of its twin."""
    twins = [other.name for other in systems if other.kind != "control" and other.encoder == system.encoder]
    return twins[0] if system.kind == "control" and twins else system.name


def distill_stage(run: Run) -> dict[str, Any]:
    """Distils the found students and the baselines in full, all with one recipe, budget and order of batches."""
    search_fingerprint = read_json(run.workdir / "search" / "stage.json")["fingerprint"]
    recipe = run.config.distill
    students = [system for system in plan(run) if system.kind != "teacher"]
    fingerprints = {s.name: fingerprint(search_fingerprint, recipe, s.encoder, s.kind) for s in students}
    taught = [s for s in students if s.kind != "control"]
    done = distributed.agree(all(finished(s.directory / "stage.json", fingerprints[s.name]) for s in taught))
    teacher = None if done else load_teacher(run)

    def distilled(system: SystemPlan) -> dict[str, Any]:
        def work() -> dict[str, Any]:
            from benchmark.training import checkpoints

            encoder = run.encoder(system.encoder)
            if system.kind == "control":
                params, result = _untrained(run, encoder)
            else:
                params, result = distil_student(run, teacher, encoder, recipe, system.directory, system.name)
                result |= {
                    "recipe": recipe.recipe,
                    "tokens": _tokens(run, result["steps"], recipe.batch_size, run.config.seed),
                }
            checkpoints.save(system.directory / "params", params)
            run.progress(f"{system.name}: masked-LM accuracy {result['masked_lm']['accuracy']:.2f} %")
            digest = _parameters_digest(system.directory, encoder)
            return {**result, "encoder": to_dict(encoder), "parameters_sha256": digest}

        marker, name = system.directory / "stage.json", f"distill {system.name}"
        return once(
            marker, fingerprints[system.name], work, run.progress, name, directory=system.directory, together=True
        )

    markers = map_threads(distilled, students, run.systems_at_once)
    if teacher is not None:
        if not run.config.trainer.teacher_in_step:
            run.progress(f"distill: {run.teacher_cache.words()}")
        run.teacher_cache.close()
    return together(markers)


def together(markers: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums up the markers of a stage's parts."""
    return {"seconds": sum(m["seconds"] for m in markers), "reused": all(m["reused"] for m in markers)}


def _untrained(run: Run, encoder: EncoderConfig) -> Any:
    """The control: random parameters, which only fine-tuning will ever train."""
    from benchmark.training.pretrain import evaluate_masked_lm, init_params

    params = init_params(encoder, run.config.seed)
    validation = run.rows("pretrain", "validation")
    mask_rate = run.config.distill.mask_rate
    scores = evaluate_masked_lm(encoder, params, validation, run.special, mask_rate, mesh=run.mesh)
    return params, {"masked_lm": scores, "steps": 0, "tokens": 0, "recipe": "none"}


def latency_stage(run: Run) -> dict[str, Any]:
    """Measures every architecture of the run on this machine, each interleaved with the frozen reference."""
    from benchmark import manifest
    from benchmark.hardware.latency import PROTOCOL_VERSION, measure
    from benchmark.hardware.latency_inputs import rows_of_data

    systems = plan(run)
    encoders = {measured_system(system, systems): system.encoder for system in systems}
    directory = run.workdir / "latency"

    def work() -> dict[str, Any]:
        latency = run.config.latency
        rows = rows_of_data(run.workdir / "data", latency.sequence_lengths, latency.seed)
        results = measure(encoders, latency, run.progress, rows=rows, folder=directory)
        counts = {runtime: len(files) for runtime, files in results.processes.items()}
        return {"processes": counts, "absent": results.absent, "device": manifest.device_info()}

    shapes = {name: to_dict(e) for name, e in encoders.items()}
    stage_fingerprint = fingerprint(PROTOCOL_VERSION, run.config.latency, shapes, run.data_fingerprint)
    return once(directory / "stage.json", stage_fingerprint, work, run.progress, "latency", directory=directory)
