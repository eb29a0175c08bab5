"""The pipeline: the stages in order, each skipped where its output exists, then records and a summary."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmark import (
    bars,
    finetuning,
    manifest,
    numerics,
    records,
    searching,
    stages,
    task_distillation,
    verification,
)
from benchmark.config import STAGES, RunConfig, fingerprint, to_dict
from benchmark.errors import StageError
from benchmark.models.formulas import forward_flops, num_parameters
from benchmark.training import distributed
from benchmark.workdir import RunError, declare, locked, read_json

__all__ = ["RunError", "run"]

WORK: dict[str, Callable[[stages.Run], dict[str, Any]]] = {
    "data": stages.data_stage,
    "teacher": stages.teacher_stage,
    "search": searching.search_stage,
    "distill": stages.distill_stage,
    "finetune": finetuning.finetune_stage,
    "latency": stages.latency_stage,
}
# What process 0 of a distributed run does by itself, while the others wait.
ALONE = ("data", "latency", "record")


def run(
    config: RunConfig,
    workdir: Path,
    wanted: tuple[str, ...],
    *,
    gin_text: str,
    command: str,
    work: Mapping[str, Callable[[stages.Run], dict[str, Any]]] = WORK,
    systems: frozenset[str] | None = None,
) -> int:
    """Runs the wanted stages (but `publish`, which is the script's) and prints where time went and what was found.

    All processes of a distributed run call this with the same arguments.

    Args:
        config: the settings.
        workdir: the run's folder; an interrupted or finished run of the same settings is continued or reused.
        wanted: names in `benchmark.config.STAGES`.
        gin_text: the settings as gin text, for the records.
        command: the command line, for the records.
        work: what each stage does.
        systems: the systems to work on, by name; None for all.

    Returns:
        0, or 1 when a stage failed, with one line on standard error; the same command tries that stage again.

    Raises:
        RunError: the folder belongs to other settings or to a running process, or a stage's input is missing.
    """
    started = time.perf_counter()

    def progress(line: str) -> None:
        if leads:
            print(f"[{time.perf_counter() - started:7.1f} s] {line}", flush=True)  # noqa: T201

    leads = distributed.leads()
    with locked(workdir) if leads else contextlib.nullcontext(), bars.display() as show:
        if leads:
            declare(workdir, config, gin_text, manifest.collect(fingerprint(config), command, gin_text))
        context = stages.Run(config, workdir, progress, show if leads else None, systems)
        timing: dict[str, float] = {}
        reused: list[str] = []
        for name in STAGES:
            if name not in wanted or name == "publish":
                continue
            stage_started = time.perf_counter()
            if name in ALONE and not leads:
                pass
            elif name == "record":
                record_stage(context, gin_text, command)
            else:
                try:
                    outcome = work[name](context)
                except StageError as error:
                    if leads:
                        print(f"error: stage {name}: {error}", file=sys.stderr, flush=True)  # noqa: T201
                    return 1
                if outcome["reused"]:
                    reused.append(name)
            distributed.wait(f"stage {name}")
            timing[name] = time.perf_counter() - stage_started
        if leads:
            _summary(context, timing, reused)
    return 0


def record_stage(context: stages.Run, gin_text: str, command: str) -> list[Path]:
    """Writes one record for each system; returns their paths."""
    provenance = _provenance(context, gin_text, command)
    paths = []
    for system in stages.plan(context):
        record = _record(context, system, provenance)
        path = context.workdir / "results" / f"{record.system.name}.json"
        records.write(path, record)
        paths.append(path)
    wanted = set(paths)
    for stale in verification.record_files(context.workdir / "results"):
        if stale not in wanted:
            stale.unlink()
            verification.path_beside(stale).unlink(missing_ok=True)
    context.progress(f"record: {len(paths)} records in {context.workdir / 'results'}")
    return paths


def _provenance(context: stages.Run, gin_text: str, command: str) -> records.Provenance:
    written = read_json(context.workdir / "manifest.json")
    seconds = {name: _stage_seconds(context, name) for name in WORK}
    device = read_json(context.workdir / "latency" / "stage.json")["result"]["device"]
    return records.Provenance(
        command=command,
        config_fingerprint=fingerprint(context.config),
        gin_text=gin_text,
        git_commit=written["git_commit"],
        git_dirty=written["git_dirty"],
        versions=written["versions"],
        device=device,
        numerics=current_numerics(str(device["platform"])),
        data_digests={name: entry["sha256"] for name, entry in context.data["source_files"].items()},
        vocabulary_digest=context.data["vocabulary"]["digest"],
        data_warnings=context.data["warnings"],
        skipped_rows=skipped_rows(context.data["task_sources"]),
        timing={**{f"{name}_seconds": value for name, value in seconds.items()}, "started_utc": written["started_utc"]},
    )


def current_numerics(platform: str) -> records.Numerics:
    """The numerics that this process computes with on a platform: an accelerator always has its own."""
    threads = numerics.threads_in_force(os.environ) if platform == "cpu" else None
    return records.Numerics(mode="native" if threads is None else "portable", reduction_threads=threads)


def skipped_rows(task_sources: dict[str, Any]) -> dict[str, records.SkippedRows]:
    """Tells for each data file how many of its rows were skipped; a split that is made of two files has one table."""
    return {
        f"{next(iter(note['files']))} ({split})": records.SkippedRows(count=note["skipped"], reasons=note["reasons"])
        for splits in task_sources.values()
        for split, note in splits.items()
        if note["skipped"]
    }


def _stage_seconds(context: stages.Run, name: str) -> float:
    """Seconds that a stage took when its work was done, which may have been in an earlier call."""
    patterns = {"distill": "students/*/stage.json", "finetune": "evaluation/*/*/*.json"}
    pattern = patterns.get(name, f"{name}/stage.json")
    return round(sum(read_json(path)["seconds"] for path in sorted(context.workdir.glob(pattern))), 3)


def _record(context: stages.Run, system: stages.SystemPlan, provenance: records.Provenance) -> records.Record:
    from benchmark.hardware.chips import refuse_impossible
    from tasks import metrics

    config = context.config
    latency = _latency_blocks(context, system)
    refuse_impossible(system.encoder, latency)
    trained = read_json(system.directory / "stage.json")["result"]
    length = config.latency.sequence_lengths[0]
    splits = {task: finetuning.evaluation_split(context, task) for task in config.data.tasks}
    task_scores = [_task_score(context, system.name, t) for t, split in splits.items() if split == "validation"]
    by_task = {t.task: {m: s.value for m, s in t.metrics.items()} for t in task_scores}
    masked_lm = trained["masked_lm"]
    return records.Record(
        id=f"{config.track}-{system.name}-{fingerprint(config)[:12]}",
        track=config.track,
        track_version=config.track_version,
        trust="self-reported",
        system=records.System(
            name=system.name,
            title=system.title,
            kind=system.kind,  # type: ignore[arg-type]
            encoder=to_dict(system.encoder),
            parameters=num_parameters(system.encoder),
            flops=forward_flops(system.encoder, 1, length),
            flops_sequence_length=length,
        ),
        tasks=task_scores,
        unscored=[unscored(context, system.name, t) for t, split in splits.items() if split != "validation"],
        averages=metrics.averages(by_task),
        latency=latency,
        training=records.Training(
            recipe=trained["recipe"],
            task_recipe=task_distillation.recipe(context, system),
            teacher=None if system.kind in ("teacher", "control") else "teacher",
            steps=trained["steps"],
            tokens=trained["tokens"],
            masked_lm_accuracy=masked_lm["accuracy"],
            masked_lm_predictions=masked_lm["predictions"],
            masked_lm_loss=masked_lm["loss"],
            parameters_sha256=trained["parameters_sha256"],
        ),
        search=_search_excerpt(context, system),
        provenance=provenance,
    )


def _search_excerpt(context: stages.Run, system: stages.SystemPlan) -> records.SearchExcerpt | None:
    """The trials of the search that found a system, for whoever wants to make the choice among them again."""
    from benchmark.search.journal import read_trials

    def shortened(trial: Any) -> records.SearchTrial:
        return records.SearchTrial(
            generator=trial.generator,
            point=dict(trial.point),
            status=trial.status,
            accuracy=trial.result.get("accuracy"),
            latency_s=trial.result["latency_s"],
        )

    trials = read_trials(context.workdir / "search" / "journal.jsonl") if system.kind == "found" else []
    if not trials:
        return None
    return records.SearchExcerpt(trials=[shortened(trial) for trial in trials])


def _task_score(context: stages.Run, system: str, task_name: str) -> records.TaskScore:
    from benchmark.evaluation import score
    from tasks.catalogue import get_task

    task, seeds = get_task(task_name), context.config.finetune.seeds
    paths = [finetuning.prediction_path(context, system, task_name, seed) for seed in seeds]
    references = score.load_references(task, context.rows("tasks", task_name, "validation"))
    results = [read_json(path)["result"] for path in paths]
    predictions = [result["predictions"] for result in results]
    files = [str(path.relative_to(context.workdir)) for path in paths]
    details = [result["details"] for result in results if "details" in result]
    return score.task_score(task, "validation", seeds, predictions, references, files, details)


def unscored(context: stages.Run, system: str, task_name: str) -> records.Unscored:
    """Names the predictions on a split without labels."""
    seeds, split = context.config.finetune.seeds, finetuning.evaluation_split(context, task_name)
    paths = [finetuning.prediction_path(context, system, task_name, seed) for seed in seeds]
    return records.Unscored(
        task=task_name,
        split=split,
        num_examples=context.rows("tasks", task_name, split).num_rows,
        seeds=list(seeds),
        predictions=[str(path.relative_to(context.workdir)) for path in paths],
    )


def _latency_blocks(context: stages.Run, system: stages.SystemPlan) -> list[records.LatencyBlock]:
    from benchmark.hardware.latency_results import blocks, file_name, read_results

    folder = context.workdir / "latency"
    marker = read_json(folder / "stage.json")["result"]
    name = stages.measured_system(system, stages.plan(context))
    files = {runtime: [folder / file_name(runtime, i) for i in range(n)] for runtime, n in marker["processes"].items()}
    measured = blocks(read_results(files, marker["absent"]), name, context.config.latency)
    return [*measured, *_estimated_blocks(context, system)]


def _estimated_blocks(context: stages.Run, system: stages.SystemPlan) -> list[records.LatencyBlock]:
    """The roofline of the search's chip, and before it what its compiler says where the search used that."""
    from benchmark.hardware.estimates import LatencyFailure, known_latency

    search = context.config.search
    latency = known_latency(search, context.workdir / "estimates", lambda line: None)
    found = [latency.quick(system.encoder)]
    if latency.method != "roofline":
        exact = latency.exact([system.encoder])[0]
        if isinstance(exact, LatencyFailure):
            context.progress(f"{system.name}: no latency by method {latency.method}: {exact.reason}")
        else:
            found.insert(0, exact)
    return [
        records.LatencyBlock(
            method=one.method,  # type: ignore[arg-type]
            chip=search.chip.name,
            batch_size=search.batch_size,
            sequence_length=search.sequence_length,
            dtype=search.chip.dtype,
            latency_s=one.latency_s,
            details=dict(one.details),
        )
        for one in found
    ]


def _summary(context: stages.Run, timing: dict[str, float], reused: list[str]) -> None:
    """Prints where the time went and what was found."""
    line = context.progress
    line("time by stage: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in timing.items()))
    line("reused: " + (", ".join(reused) or "nothing"))
    paths = verification.record_files(context.workdir / "results")
    if not paths or "record" not in timing:
        return
    rows = [records.read(path) for path in paths]
    tasks = [t.task for t in rows[0].tasks]
    line(
        f"{'system':<22} {'parameters':>10} {'ms':>7} {'speed-up':>8} {'MLM %':>6} "
        + " ".join(f"{t[:13]:>13}" for t in tasks)
    )
    for r in sorted(rows, key=lambda r: -(r.training.masked_lm_accuracy or 0) if r.training else 0):
        measured = r.latency[0]
        scores = [t.metrics[t.primary_metric] for t in r.tasks]
        cells = " ".join(
            f"{s.value:6.1f} +-{(s.interval[1] - s.interval[0]) / 2:4.1f}" if s.interval else "" for s in scores
        )
        mlm = (r.training.masked_lm_accuracy if r.training else None) or 0.0
        line(
            f"{r.system.name:<22} {r.system.parameters or 0:>10,} {measured.latency_s * 1e3:7.2f}"
            f" {measured.speedup or 0:8.2f} {mlm:6.2f} {cells}"
        )
