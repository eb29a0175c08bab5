"""The stage that searches; every trial is a flash distillation, here or on another machine that sees the folder."""

from __future__ import annotations

import math
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.config import RunConfig, encoder_from_dict, fingerprint, to_dict
from benchmark.hardware.estimates import known_latency
from benchmark.pipeline.distill import distil_student, recipe_start
from benchmark.pipeline.run_context import Run
from benchmark.pipeline.search_latency import description, measured_latency, measuring, protocol_fingerprint
from benchmark.pipeline.teacher import load_teacher
from benchmark.pipeline.workdir import read_entry, run_stage_once, write_json
from benchmark.process import numerics, setup
from benchmark.records.history_tables import tables
from benchmark.search.analysis import analyse
from benchmark.search.architectures import Architectures
from benchmark.search.executors import make_executor
from benchmark.search.halving import steps_trained
from benchmark.search.journal import Journal
from benchmark.search.loop import run_search
from benchmark.search.results import SCORES, found_systems, history
from benchmark.training import distributed
from benchmark.training.hooks import write_outcome
from tasks.system.atomic_write import write_text
from tasks.system.folders import remove_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmark.distillation.initial import Start
    from benchmark.distillation.teacher_cache import Teacher
    from benchmark.pipeline.search_latency import Source
    from benchmark.search.journal import Trial
    from benchmark.search.problem import Problem


class FlashDistillation:
    """Evaluates students of a run, all with the same batches in the same order.

    It can be pickled. In another process it reads the teacher and the token arrays from the run's folder, once for all
    trials of that process.
    """

    def __init__(self, run: Run) -> None:
        """Takes the settings and the folder of a run whose teacher is trained."""
        self.run = run

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.run.config, self.run.workdir.absolute())

    @cached_property
    def teacher(self) -> Teacher:
        """The run's teacher."""
        return load_teacher(self.run)

    @cached_property
    def start(self) -> Start | None:
        """The checkpoint that the students start from, if there is one."""
        return recipe_start(self.run)

    def __call__(self, job: dict[str, Any]) -> dict[str, float]:
        """Distils the student `job["encoder"]` of trial `job["number"]`, up to `job["fraction"]` of its steps.

        Where trials can stop at rungs, they continue from their last one.

        Returns:
            Scores of `evaluate_masked_lm`: `accuracy`, `teacher_agreement` and `teacher_kl` with standard errors, and
            `loss`; `steps`, and the seconds that tracing and compiling took (`compile_seconds`).

        Raises:
            StageError: training diverged, or the architecture does not fit the run.
        """
        config = self.run.config
        assert config.search is not None
        assert config.distill is not None
        encoder = self.run.encoder(encoder_from_dict(job["encoder"]))
        recipe = config.distill.scaled(config.search.flash_fraction)
        total = sum(phase.total_steps(encoder.num_hidden_layers) for phase in recipe.phases)
        stop = None if job["fraction"] == 1.0 else math.ceil(job["fraction"] * total)
        kept = trial_folder(self.run.workdir, job["number"]) if config.search.rungs else None
        with setup.compile_seconds() as compiling:
            training = self.run.job(f"trial {job['number']}", kept, quiet=True, figures=figures(job["number"]))
            _, result = distil_student(
                self.run, self.teacher, encoder, recipe, training, start=self.start, stop_after=stop, perplexity=False
            )
        if kept is not None and stop is None and distributed.is_leader():
            remove_folder(kept, ignore_errors=True)
        # The error of a single row is not known; a search takes its scores as they are.
        scores = {name: result["masked_lm"][name] or 0.0 for name in (*SCORES, "loss") if name in result["masked_lm"]}
        return scores | {"steps": result["steps"], "compile_seconds": sum(compiling)}


def figures(number: int) -> tuple[str, ...]:
    """Name of a trial in TensorBoard."""
    return "search", f"trial_{number}"


def _write_outcome(tensorboard: Path, trial: Trial) -> None:
    """Adds the outcome of a trial to its event files, with its architecture as hyperparameters."""
    names = ("accuracy", "teacher_agreement", "teacher_kl", "latency_s", "parameters", "seconds")
    outcome = {name: float(trial.result[name]) for name in names if trial.result.get(name) is not None}
    write_outcome(tensorboard.joinpath(*figures(trial.number)), trial.point, outcome)


def trial_folder(workdir: Path, number: int) -> Path:
    """Folder of the checkpoints from which a trial resumes after a rung."""
    return workdir / "search" / "trials" / str(number)


@lru_cache(maxsize=1)
def _rebuild(config: RunConfig, workdir: Path) -> FlashDistillation:
    """Restores a pickled `FlashDistillation`; refuses a worker that computes with other numerics."""
    numerics.enforce(config.numerics, config.reduction_threads)
    setup.keep_programs(workdir / "compiled")
    return FlashDistillation(Run(config, workdir))


def _store(run: Run, search: str, problem: Problem) -> Any:
    """Opens the database of the search; gives the function that updates it."""
    from benchmark.search.ax_storage import AxStorage, sqlite_address

    assert run.config.search is not None
    url = run.config.search.storage_url or sqlite_address(run.workdir.absolute() / "search" / "experiment.db")
    # One database may hold many searches: equal settings on equal data have equal names.
    return AxStorage(url, f"{run.config.track} {search[:16]}", problem, run.config.seed).update


def shared_work(run: Run, evaluate: FlashDistillation) -> Callable[[dict[str, Any]], dict[str, float]]:
    """Makes trials on a mesh take turns; a worker of Ray has devices of its own, and what is sent to it is pickled."""
    assert run.config.search is not None
    alone = run.mesh is None or run.config.search.executor.name == "ray"
    return evaluate if alone else distributed.one_at_a_time(evaluate)


def search_stage(run: Run, measured: Source | None = None) -> dict[str, Any]:
    """Searches student architectures; every trial is a flash distillation with the same batches.

    Args:
        run: the run.
        measured: gives the latencies of a search that measures; by default they are measured here.
    """
    config, directory = run.config.search, run.workdir / "search"
    assert config is not None
    teacher_fingerprint = read_entry(run.workdir / "teacher" / "stage.json", "fingerprint")
    assert run.config.distill is not None
    # The trials are distilled with the seed of the run.
    inputs: tuple[Any, ...] = (teacher_fingerprint, run.config.distill.of_seed(0), run.config.seed)
    if config.measures_latency:
        inputs += (protocol_fingerprint(run.config),)
    stage_fingerprint = fingerprint(config, *inputs)
    # A longer search goes on from the trials of a shorter one.
    trial_fingerprint = fingerprint(config.of_any_length(), *inputs)

    def work() -> dict[str, Any]:
        evaluate = FlashDistillation(run)
        if not distributed.is_leader():
            distributed.follow(evaluate)
            return {}
        shared = shared_work(run, evaluate)
        source = (measured or measuring(run)) if config.measures_latency else None
        latency = (
            known_latency(config, run.workdir / "estimates", run.progress)
            if source is None
            else measured_latency(config, source, run.progress)
        )
        executor = make_executor(shared, config.executor, config.parallel_trials)
        with Journal(directory / "journal.jsonl") as journal:
            store = partial(_store, run, trial_fingerprint) if config.algorithm == "ax" or config.storage_url else None
            tensorboard = run.monitor.tensorboard
            on_end = None if tensorboard is None else partial(_write_outcome, tensorboard)
            trials = run_search(
                config, journal, executor, run.config.seed, run.progress, latency, store, run.show, on_end
            )
        distributed.dismiss()
        remove_folder(directory / "trials", ignore_errors=True)
        problem = Architectures(config, latency).problem({})
        machine = "" if source is None else str(source.machine)
        found_out = history(config, trials, run.config.track, latency.method, machine)
        found_out["analysis"] = analyse(config, problem, trials, run.config.seed)
        write_json(directory / "history.json", found_out)
        for name, text in tables(found_out).items():
            write_text(directory / name, text)
        found = found_systems(config, trials)
        run.progress("search: found " + ", ".join(name for name, _ in found))
        took, compiling = (sum(t.result.get(key, 0.0) for t in trials) for key in ("seconds", "compile_seconds"))
        steps, share = steps_trained(trials), compiling / max(took, 1e-9)
        run.progress(f"search: the trials took {took:.0f} s for {steps} steps, {share:.0%} of it to compile")
        cached = run.teacher_cache.report()
        if not run.config.trainer.teacher_in_step:
            run.progress(f"search: {run.teacher_cache.summary()}")
        systems = {name: to_dict(encoder) for name, encoder in found}
        result = {"found": systems, "trials": len(trials), "teacher_cache": cached}
        return result if source is None else result | {"measured": description(source)}

    return run_stage_once(
        directory / "stage.json",
        stage_fingerprint,
        work,
        run.progress,
        "search",
        directory=directory,
        directory_fingerprint=trial_fingerprint,
        all_processes=True,
    )
