"""The stage that pretrains the teacher, and its loading for later stages."""

from __future__ import annotations

from typing import Any

from benchmark.config import fingerprint, to_dict
from benchmark.distillation.teacher_cache import Teacher
from benchmark.evaluation.masked_lm import evaluate_masked_lm
from benchmark.pipeline.run_context import Run, load_params, parameters_digest, tokens_seen
from benchmark.pipeline.workdir import run_stage_once
from benchmark.training import checkpoints
from benchmark.training.partitioning import place
from benchmark.training.pretrain import pretrain


def teacher_stage(run: Run) -> dict[str, Any]:
    """Pretrains the teacher and measures its masked-LM accuracy."""
    config = run.config.teacher
    encoder = run.encoder(config.encoder)
    directory = run.workdir / "teacher"

    def work() -> dict[str, Any]:
        train, job = run.rows("pretrain", "train"), run.job("teacher", directory)
        params, _ = pretrain(encoder, config.pretrain, train, run.special, job)
        validation, mask_rate = run.rows("pretrain", "validation"), config.pretrain.mask_rate
        scores = evaluate_masked_lm(encoder, params, validation, run.special, mask_rate, mesh=run.mesh)
        checkpoints.save(directory / "params", params)
        run.progress(f"teacher: masked-LM accuracy {scores['accuracy']:.2f} %")
        return {
            "masked_lm": scores,
            "parameters_sha256": parameters_digest(directory, encoder),
            "steps": config.pretrain.steps,
            "tokens": tokens_seen(run, config.pretrain.steps, config.pretrain.batch_size, run.config.seed),
            "encoder": to_dict(encoder),
            "recipe": "masked_lm",
        }

    stage_fingerprint = fingerprint(run.data_fingerprint, config, run.config.trainer, run.config.seed)
    marker = directory / "stage.json"
    return run_stage_once(
        marker, stage_fingerprint, work, run.progress, "teacher", directory=directory, all_processes=True
    )


def load_teacher(run: Run) -> Teacher:
    """Loads the teacher, its parameters on the device or the mesh, with the run's cache of its outputs."""
    encoder = run.config.teacher.encoder
    params = load_params(run.workdir / "teacher", encoder)
    # Host arrays would be copied to the device at every call.
    return Teacher(encoder, place(run.mesh, params), run.teacher_cache)
