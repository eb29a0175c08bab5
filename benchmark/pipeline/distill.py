"""The stage that makes the students (distilled, published, untrained), and the distillation of one student."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmark.config import DistillConfig, EncoderConfig, PretrainConfig, fingerprint, to_dict
from benchmark.config.distillation import replicate_seed
from benchmark.distillation.distill import distill
from benchmark.distillation.initial import Start
from benchmark.export.start import read_start
from benchmark.pipeline.masked_lm import measure_masked_lm
from benchmark.pipeline.run_context import (
    Run,
    SystemPlan,
    parameters_digest,
    plan,
    replicates,
    sum_markers,
    tokens_seen,
)
from benchmark.pipeline.teacher import load_teacher
from benchmark.pipeline.threads import map_threads
from benchmark.pipeline.workdir import finished, read_entry, run_stage_once
from benchmark.training import checkpoints, distributed
from benchmark.training.pretrain import init_params

if TYPE_CHECKING:
    from benchmark.config import CheckpointConfig
    from benchmark.distillation.teacher_cache import Teacher
    from benchmark.models.trees import Params
    from benchmark.training.job import TrainingJob


# The recipe of a checkpoint that is taken as it is. No name of a `DistillConfig` has a space.
PUBLISHED = "published checkpoint"


def distil_student(
    run: Run,
    teacher: Teacher,
    encoder: EncoderConfig,
    recipe: DistillConfig,
    job: TrainingJob,
    *,
    start: Start | None = None,
    stop_after: int | None = None,
    perplexity: bool = True,
) -> tuple[Params, dict[str, Any]]:
    """Distils one student, up to `stop_after` steps or to the end; returns its parameters, scores and steps.

    `perplexity` asks for its pseudo-perplexity.
    """
    train = run.rows("pretrain", "train")
    params, steps = distill(encoder, teacher, recipe, train, run.special, job, start=start, stop_after=stop_after)
    scores = measure_masked_lm(run, encoder, params, recipe.mask_rate, teacher, perplexity=perplexity)
    return params, {"masked_lm": scores, "steps": steps}


def recipe_start(run: Run) -> Start | None:
    """Reads the checkpoint that the recipe's students start from; None where they start from the teacher."""
    checkpoint = run.config.distill.start_checkpoint if run.config.distill is not None else None
    if checkpoint is None:
        return None
    read = read_start(checkpoint)
    return Start(read.encoder, read.params)


def distill_stage(run: Run) -> dict[str, Any]:
    """Distils the found students and the baselines in full, all with one recipe, budget and order of batches.

    Each is distilled once for each of `DistillConfig.seeds`; all students of one seed see the same batches. Published
    checkpoints are taken as they are.
    """
    # What found a student is of no consequence: a longer search leaves the others as they are.
    marker = run.workdir / "teacher" / "stage.json"
    untaught = fingerprint(run.text_fingerprint, run.config.data.pseudo_perplexity_rows, run.config.seed)
    upstream = read_entry(marker, "fingerprint") if marker.exists() else untaught
    recipe = run.config.distill
    baselines = {baseline.name: baseline for baseline in run.config.baselines}
    students = [one for system in plan(run) if system.kind != "teacher" for one in replicates(run, system)]
    fingerprints = {
        s.name: fingerprint(upstream, _recipe_of(recipe, s), s.encoder, s.kind, baselines.get(s.system))
        for s in students
    }
    taught = [s for s in students if s.distill_seed is not None]
    done = distributed.broadcast(all(finished(s.directory / "stage.json", fingerprints[s.name]) for s in taught))
    teacher = None if done else load_teacher(run)
    shared_start = None if done else recipe_start(run)

    def distill_system(system: SystemPlan) -> dict[str, Any]:
        def work() -> dict[str, Any]:
            baseline = baselines.get(system.system)
            checkpoint = baseline.checkpoint if baseline is not None else None
            encoder = run.encoder(system.encoder, of_checkpoint=checkpoint is not None)
            if system.kind == "control":
                params, result = _untrained(run, encoder)
            elif checkpoint is not None and system.distill_seed is None:
                params, result = _published(run, checkpoint)
                result["start"] = system.system
            else:
                assert teacher is not None
                assert system.distill_seed is not None
                assert recipe is not None
                start, source = shared_start, "students" if shared_start is not None else None
                if checkpoint is not None:
                    start, source = Start(encoder, read_start(checkpoint).params, whole=True), system.system
                seed = replicate_seed(run.config.seed, system.distill_seed)
                job = run.job(system.name, system.directory, seed=seed)
                params, result = distil_student(run, teacher, encoder, recipe, job, start=start)
                result["start"] = source
                result |= {
                    "recipe": recipe.recipe,
                    "tokens": tokens_seen(run, result["steps"], recipe.batch_size, seed),
                }
            checkpoints.save(system.directory / "params", params)
            if result["masked_lm"] is not None:
                run.progress(f"{system.name}: masked-LM accuracy {result['masked_lm']['accuracy']:.2f} %")
            digest = parameters_digest(system.directory, encoder)
            return {**result, "encoder": to_dict(encoder), "parameters_sha256": digest}

        is_published = system.kind == "baseline" and system.distill_seed is None
        name = f"{'checkpoint' if is_published else 'distill'} {system.name}"
        marker = system.directory / "stage.json"
        return run_stage_once(
            marker, fingerprints[system.name], work, run.progress, name, directory=system.directory, all_processes=True
        )

    markers = []
    # Students of one seed share the teacher's outputs, which are of no use to those of the next.
    for group in dict.fromkeys(student.distill_seed for student in students):
        same = [student for student in students if student.distill_seed == group]
        markers += map_threads(distill_system, same, run.systems_at_once)
        if teacher is not None and group is not None:
            if not run.config.trainer.teacher_in_step:
                run.progress(f"distill: {run.teacher_cache.summary()}")
            run.teacher_cache.close()
    return sum_markers(markers)


def _recipe_of(recipe: DistillConfig | None, system: SystemPlan) -> DistillConfig | None:
    """Gives what of the recipe decides about a student: other seeds make no difference to it."""
    return recipe if recipe is None else recipe.of_seed(system.distill_seed or 0)


def _untrained(run: Run, encoder: EncoderConfig) -> tuple[Params, dict[str, Any]]:
    """Makes the control: random parameters, which only fine-tuning trains."""
    params = init_params(encoder, run.config.seed)
    return params, {"masked_lm": _masked_lm(run, encoder, params), "steps": 0, "tokens": 0, "recipe": "none"}


def _published(run: Run, checkpoint: CheckpointConfig) -> tuple[Params, dict[str, Any]]:
    """Reads a checkpoint: its encoder, its pooler, and the masked-LM head where it has one."""
    read = read_start(checkpoint)
    params = {name: tree for name, tree in read.params.items() if name in ("encoder", "pooler", "masked_lm")}
    scores = _masked_lm(run, read.encoder, params) if "masked_lm" in params else None
    return params, {"masked_lm": scores, "steps": 0, "tokens": 0, "recipe": PUBLISHED}


def _masked_lm(run: Run, encoder: EncoderConfig, params: Params) -> dict[str, Any] | None:
    """Measures masked LM with the share of masks of the recipe, or else of the settings' default; None without text."""
    rate = run.config.distill.mask_rate if run.config.distill is not None else PretrainConfig().mask_rate
    return measure_masked_lm(run, encoder, params, rate)
