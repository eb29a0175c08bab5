"""The stage that writes one record for each system of a run."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmark.config import STAGES, fingerprint, to_dict
from benchmark.export import start
from benchmark.hardware.chips import refuse_impossible
from benchmark.hardware.estimates import LatencyFailure, known_latency
from benchmark.latency.results import blocks, file_name, read_results
from benchmark.models.formulas import forward_flops, num_parameters
from benchmark.pipeline import distill_task, finetune, record_recipe, record_scores, run_context
from benchmark.pipeline.distill import PUBLISHED
from benchmark.pipeline.workdir import read_entry, read_json
from benchmark.process import numerics
from benchmark.records import outcomes, verification
from benchmark.records.masked_lm import MaskedLMScores
from benchmark.records.record import (
    CheckpointSource,
    LatencyBlock,
    Numerics,
    Provenance,
    Record,
    SkippedRows,
    System,
    write,
)
from benchmark.records.search_excerpt import MeasuredSearch, SearchExcerpt, SearchTrial
from benchmark.records.track_settings import track_settings
from benchmark.records.training import Replicate, Training
from benchmark.search.journal import read_trials

if TYPE_CHECKING:
    from benchmark.search.journal import Trial


def record_stage(context: run_context.Run) -> dict[str, Any]:
    """Writes one record for each system."""
    provenance = _provenance(context)
    paths = []
    for system in run_context.plan(context):
        record, found = _record(context, system, provenance)
        path = context.workdir / "results" / f"{record.system.name}.json"
        # The record comes last: where it is, what it has the digests of is there.
        outcomes.write(outcomes.outcomes_path(path), found)
        write(path, record)
        paths.append(path)
    wanted = set(paths)
    for stale in verification.record_files(context.workdir / "results"):
        if stale not in wanted:
            stale.unlink()
            outcomes.outcomes_path(stale).unlink(missing_ok=True)
            verification.verification_path(stale).unlink(missing_ok=True)
    context.progress(f"record: {len(paths)} records in {context.workdir / 'results'}")
    return {"reused": False}


def _provenance(context: run_context.Run) -> Provenance:
    written = read_json(context.workdir / "manifest.json")
    seconds = {name: _stage_seconds(context, name) for name in STAGES[: STAGES.index("record")]}
    device = read_entry(context.workdir / "latency" / "stage.json", "result", "device")
    return Provenance(
        command=context.command,
        config_fingerprint=fingerprint(context.config),
        gin_text=context.gin_text,
        git_commit=written["git_commit"],
        git_dirty=written["git_dirty"],
        versions=written["versions"],
        device=device,
        numerics=current_numerics(str(device["platform"])),
        data_digests={name: entry["sha256"] for name, entry in context.data["source_files"].items()},
        vocabulary_digest=context.data["vocabulary"]["digest"],
        checkpoints={name: CheckpointSource(**values) for name, values in start.provenance(context.config).items()},
        data_warnings=context.data["warnings"],
        skipped_rows=skipped_rows(context.data["task_sources"]),
        timing={**{f"{name}_seconds": value for name, value in seconds.items()}, "started_utc": written["started_utc"]},
    )


def current_numerics(platform: str) -> Numerics:
    """Names the numerics of this process on a platform: an accelerator always has native ones."""
    threads = numerics.threads_in_force(os.environ) if platform == "cpu" else None
    return Numerics(mode="native" if threads is None else "portable", reduction_threads=threads)


def skipped_rows(task_sources: dict[str, Any]) -> dict[str, SkippedRows]:
    """Counts the skipped rows of each data file; a split that is made of two files has one table."""
    return {
        f"{next(iter(note['files']))} ({split})": SkippedRows(count=note["skipped"], reasons=note["reasons"])
        for splits in task_sources.values()
        for split, note in splits.items()
        if note["skipped"]
    }


def _stage_seconds(context: run_context.Run, name: str) -> float:
    """Adds up the seconds of a stage's work, which an earlier call may have done."""
    patterns = {"distill": "students/*/stage.json", "finetune": "evaluation/*/*/*.json"}
    pattern = patterns.get(name, f"{name}/stage.json")
    return round(sum(read_entry(path, "seconds") for path in sorted(context.workdir.glob(pattern))), 3)


def _record(
    context: run_context.Run, system: run_context.SystemPlan, provenance: Provenance
) -> tuple[Record, outcomes.Outcomes]:
    config = context.config
    latency = _latency_blocks(context, system)
    refuse_impossible(system.encoder, latency)
    made = {one.distill_seed: _made(one) for one in run_context.replicates(context, system)}
    trained = next(iter(made.values()))
    length = config.latency.sequence_lengths[0]
    splits = {task: finetune.evaluation_split(context, task) for task in config.data.tasks}
    here = trained["recipe"] != PUBLISHED
    evaluated = [task for task, split in splits.items() if split == "validation"]
    scored = [record_scores.task_score(context, system, task, trained_here=here) for task in evaluated]
    task_scores = [one for one, _ in scored]
    masked_lm = _masked_lm([result["masked_lm"] for result in made.values()])
    record = Record(
        id=f"{config.track}-{system.name}-{fingerprint(config)[:12]}",
        track=config.track,
        track_version=config.track_version,
        trust="self-reported",
        system=System(
            name=system.name,
            title=system.title,
            kind=system.kind,  # type: ignore[arg-type]
            encoder=to_dict(system.encoder),
            parameters=num_parameters(system.encoder),
            flops=forward_flops(system.encoder, 1, length),
            flops_sequence_length=length,
        ),
        tasks=task_scores,
        unscored=[
            record_scores.unscored(context, system, t, split)
            for t in splits
            for split in finetune.unscored_splits(context, t)
        ],
        averages=record_recipe.averages(task_scores),
        latency=latency,
        training=Training(
            recipe=trained["recipe"],
            task_recipe=distill_task.recipe(context, system),
            teacher=None if system.kind in ("teacher", "control") or trained["recipe"] == PUBLISHED else "teacher",
            steps=trained["steps"],
            tokens=trained["tokens"],
            start=trained.get("start"),
            masked_lm_accuracy=masked_lm.get("accuracy"),
            masked_lm_accuracy_before=(trained.get("masked_lm_before") or {}).get("accuracy"),
            masked_lm_predictions=masked_lm.get("predictions"),
            masked_lm_loss=masked_lm.get("loss"),
            masked_lm=masked_lm_scores(masked_lm),
            parameters_sha256=trained["parameters_sha256"],
            replicates=[_replicate(seed, result) for seed, result in made.items() if seed is not None],
        ),
        search=_search_excerpt(context, system),
        provenance=provenance.model_copy(
            update={
                "track_settings": track_settings(
                    config, context.data["pretrain"], trained=trained["recipe"] != PUBLISHED
                ),
                "timing": provenance.timing | record_recipe.timing(context, system),
            }
        ),
    )
    return record, outcomes.Outcomes(record_id=record.id, tasks=[found for _, found in scored])


def _made(system: run_context.SystemPlan) -> dict[str, Any]:
    result: dict[str, Any] = read_entry(system.directory / "stage.json", "result")
    return result


def _masked_lm(scores: Sequence[dict[str, float] | None]) -> dict[str, Any]:
    """Gives the medians over the distillations of a system; nothing where masked LM was not measured."""
    known = [one for one in scores if one is not None]
    if not known:
        return {}
    # What is counted is the same for all.
    measured = [name for name, value in known[0].items() if isinstance(value, float)]
    return known[0] | {name: statistics.median(one[name] for one in known) for name in measured}


def _replicate(seed: int, result: dict[str, Any]) -> Replicate:
    masked_lm = result["masked_lm"] or {}
    return Replicate(
        seed=seed,
        masked_lm_accuracy=masked_lm.get("accuracy"),
        masked_lm_loss=masked_lm.get("loss"),
        masked_lm=masked_lm_scores(masked_lm),
        parameters_sha256=result["parameters_sha256"],
    )


def masked_lm_scores(measured: Mapping[str, Any]) -> MaskedLMScores | None:
    """Takes the fields of a record out of the scores of a system; None where none were measured."""
    fields = {name: value for name, value in measured.items() if name in MaskedLMScores.model_fields}
    return MaskedLMScores(**fields) if fields else None


def _search_excerpt(context: run_context.Run, system: run_context.SystemPlan) -> SearchExcerpt | None:
    """Copies the trials of the search that found a system, so that the choice among them can be repeated."""

    def shortened(trial: Trial) -> SearchTrial:
        return SearchTrial(
            generator=trial.generator,
            point=dict(trial.point),
            status=trial.status,  # type: ignore[arg-type]
            accuracy=trial.result.get("accuracy"),
            teacher_agreement=trial.result.get("teacher_agreement"),
            latency_s=trial.result["latency_s"],
        )

    trials = read_trials(context.workdir / "search" / "journal.jsonl") if system.kind == "found" else []
    if not trials:
        return None
    measured = read_entry(context.workdir / "search" / "stage.json", "result").get("measured")
    return SearchExcerpt(
        trials=[shortened(trial) for trial in trials],
        measured=None if measured is None else MeasuredSearch(**measured),
    )


def _latency_blocks(context: run_context.Run, system: run_context.SystemPlan) -> list[LatencyBlock]:
    folder = context.workdir / "latency"
    marker = read_entry(folder / "stage.json", "result")
    name = run_context.measured_system(system, run_context.plan(context))
    files = {runtime: [folder / file_name(runtime, i) for i in range(n)] for runtime, n in marker["processes"].items()}
    measured = blocks(read_results(files, marker["absent"]), name, context.config.latency)
    return [*measured, *estimated_blocks(context, system)]


def estimated_blocks(context: run_context.Run, system: run_context.SystemPlan) -> list[LatencyBlock]:
    """Estimates latency by the roofline of the search's chip, and by its compiler where the search used that.

    There is no estimate where the search measured: its target is this machine, as that of the measured blocks.
    """
    search = context.config.search
    if search is None or search.measures_latency:
        return []
    latency = known_latency(search, context.workdir / "estimates", lambda _: None)
    found = [latency.quick(system.encoder)]
    if latency.method != "roofline":
        exact = latency.exact([system.encoder])[0]
        if isinstance(exact, LatencyFailure):
            context.progress(f"{system.name}: no latency by method {latency.method}: {exact.reason}")
        else:
            found.insert(0, exact)
    return [
        LatencyBlock(
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
