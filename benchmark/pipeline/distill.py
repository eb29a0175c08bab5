"""The stage that distils the chosen students and the baselines, and the distillation of one student."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmark.config import DistillConfig, EncoderConfig, fingerprint, to_dict
from benchmark.distillation.distill import distill
from benchmark.evaluation.masked_lm import evaluate_masked_lm
from benchmark.pipeline.run_context import Run, SystemPlan, parameters_digest, plan, sum_markers, tokens_seen
from benchmark.pipeline.teacher import load_teacher
from benchmark.pipeline.threads import map_threads
from benchmark.pipeline.workdir import finished, read_entry, run_stage_once
from benchmark.training import checkpoints, distributed
from benchmark.training.pretrain import init_params

if TYPE_CHECKING:
    from benchmark.distillation.teacher_cache import Teacher
    from benchmark.models.trees import Params
    from benchmark.training.job import TrainingJob


def distil_student(
    run: Run,
    teacher: Teacher,
    encoder: EncoderConfig,
    recipe: DistillConfig,
    job: TrainingJob,
    *,
    stop_after: int | None = None,
) -> tuple[Params, dict[str, Any]]:
    """Distils one student, up to `stop_after` steps or to the end; returns its parameters, scores and steps."""
    train, validation = run.rows("pretrain", "train"), run.rows("pretrain", "validation")
    params, steps = distill(encoder, teacher, recipe, train, run.special, job, stop_after=stop_after)
    scores = evaluate_masked_lm(encoder, params, validation, run.special, recipe.mask_rate, mesh=run.mesh)
    return params, {"masked_lm": scores, "steps": steps}


def distill_stage(run: Run) -> dict[str, Any]:
    """Distils the found students and the baselines in full, all with one recipe, budget and order of batches."""
    search_fingerprint = read_entry(run.workdir / "search" / "stage.json", "fingerprint")
    recipe = run.config.distill
    students = [system for system in plan(run) if system.kind != "teacher"]
    fingerprints = {s.name: fingerprint(search_fingerprint, recipe, s.encoder, s.kind) for s in students}
    taught = [s for s in students if s.kind != "control"]
    done = distributed.broadcast(all(finished(s.directory / "stage.json", fingerprints[s.name]) for s in taught))
    teacher = None if done else load_teacher(run)

    def distill_system(system: SystemPlan) -> dict[str, Any]:
        def work() -> dict[str, Any]:
            encoder = run.encoder(system.encoder)
            if system.kind == "control":
                params, result = _untrained(run, encoder)
            else:
                assert teacher is not None
                job = run.job(system.name, system.directory)
                params, result = distil_student(run, teacher, encoder, recipe, job)
                result |= {
                    "recipe": recipe.recipe,
                    "tokens": tokens_seen(run, result["steps"], recipe.batch_size, run.config.seed),
                }
            checkpoints.save(system.directory / "params", params)
            run.progress(f"{system.name}: masked-LM accuracy {result['masked_lm']['accuracy']:.2f} %")
            digest = parameters_digest(system.directory, encoder)
            return {**result, "encoder": to_dict(encoder), "parameters_sha256": digest}

        marker, name = system.directory / "stage.json", f"distill {system.name}"
        return run_stage_once(
            marker, fingerprints[system.name], work, run.progress, name, directory=system.directory, all_processes=True
        )

    markers = map_threads(distill_system, students, run.systems_at_once)
    if teacher is not None:
        if not run.config.trainer.teacher_in_step:
            run.progress(f"distill: {run.teacher_cache.summary()}")
        run.teacher_cache.close()
    return sum_markers(markers)


def _untrained(run: Run, encoder: EncoderConfig) -> tuple[Params, dict[str, Any]]:
    """Makes the control: random parameters, which only fine-tuning trains."""
    params = init_params(encoder, run.config.seed)
    validation = run.rows("pretrain", "validation")
    mask_rate = run.config.distill.mask_rate
    scores = evaluate_masked_lm(encoder, params, validation, run.special, mask_rate, mesh=run.mesh)
    return params, {"masked_lm": scores, "steps": 0, "tokens": 0, "recipe": "none"}
