"""The stage that makes the teacher: pretrained from scratch, or a checkpoint, as it is or trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmark.config import fingerprint, to_dict
from benchmark.distillation.teacher_cache import Teacher
from benchmark.export.start import read_start
from benchmark.pipeline.masked_lm import measure_masked_lm
from benchmark.pipeline.run_context import Run, load_params, parameters_digest, tokens_seen
from benchmark.pipeline.shared_stage import shared_stage
from benchmark.pipeline.workdir import run_stage_once
from benchmark.training import checkpoints
from benchmark.training.partitioning import place
from benchmark.training.pretrain import adapt, pretrain, with_masked_lm_head

if TYPE_CHECKING:
    from benchmark.config import TeacherConfig
    from benchmark.models.trees import Params
    from benchmark.pipeline.cache import SharedStage


def teacher_stage(run: Run) -> dict[str, Any]:
    """Makes the teacher and measures its masked-LM accuracy."""
    config = run.config.teacher
    assert config is not None
    encoder = run.encoder(config.architecture, of_checkpoint=config.checkpoint is not None)
    directory = run.workdir / "teacher"

    def work() -> dict[str, Any]:
        params, extra = _trained(run, config) if config.checkpoint is None else _from_checkpoint(run, config)
        scores = masked_lm_scores(run, config, params)
        checkpoints.save(directory / "params", params)
        if scores is not None:
            run.progress(f"teacher: masked-LM accuracy {scores['accuracy']:.2f} %")
        steps, size = config.pretrain.steps, config.pretrain.batch_size
        return {
            "masked_lm": scores,
            "parameters_sha256": parameters_digest(directory, encoder),
            "steps": steps,
            "tokens": tokens_seen(run, steps, size, run.config.seed) if steps else 0,
            "encoder": to_dict(encoder),
            **extra,
        }

    measured = run.config.data.pseudo_perplexity_rows
    stage_fingerprint = fingerprint(run.text_fingerprint, measured, config, run.config.trainer, run.config.seed)
    return run_stage_once(
        directory / "stage.json",
        stage_fingerprint,
        work,
        run.progress,
        "teacher",
        directory=directory,
        all_processes=True,
        shared=_shared(run, config, stage_fingerprint),
    )


def _shared(run: Run, config: TeacherConfig, stage_fingerprint: str) -> SharedStage | None:
    """Describes the teacher for the cache; None where nothing tells the content of its checkpoint."""
    if config.checkpoint is not None and not config.checkpoint.sha256:
        return None
    encoder = config.architecture
    return shared_stage(
        run,
        "teacher",
        stage_fingerprint,
        run.data["pretrain"],
        f"{encoder.num_hidden_layers}-layer teacher of width {encoder.hidden_size}, {config.pretrain.steps:,} steps",
        items=("params", "metrics.jsonl", "digests.jsonl"),
        appended=("metrics.jsonl", "digests.jsonl"),
        # Who asks for the digests of all steps gets no teacher without them.
        log_digests=run.config.trainer.log_digests,
    )


def masked_lm_scores(run: Run, config: TeacherConfig, params: Params) -> dict[str, Any] | None:
    """Measures masked LM with the teacher's share of masks; None in a run without text."""
    return measure_masked_lm(run, config.architecture, params, config.pretrain.mask_rate)


def _trained(run: Run, config: TeacherConfig) -> tuple[Params, dict[str, Any]]:
    """Pretrains the teacher from scratch."""
    train, job = run.rows("pretrain", "train"), run.job("teacher", run.workdir / "teacher")
    params, _ = pretrain(config.architecture, config.pretrain, train, run.special, job)
    return params, {"recipe": "masked_lm"}


def _from_checkpoint(run: Run, config: TeacherConfig) -> tuple[Params, dict[str, Any]]:
    """Reads the teacher, adds a masked-LM head where it has none, and trains it on as the settings say."""
    assert config.checkpoint is not None
    read = read_start(config.checkpoint)
    # Heads of tasks are of no use to a teacher.
    heads = ("pooler", "masked_lm", "next_sentence")
    kept = {name: tree for name, tree in read.params.items() if name in ("encoder", *heads)}
    start = with_masked_lm_head(config.architecture, kept)
    if not config.pretrain.steps:
        return start, {"recipe": "published checkpoint", "start": "teacher"}
    before = measure_masked_lm(run, config.architecture, start, config.pretrain.mask_rate, perplexity=False)
    if before is not None:
        head = "its own" if "masked_lm" in read.heads else "a new"
        accuracy = f"{before['accuracy']:.2f} %"
        run.progress(f"teacher: masked-LM accuracy {accuracy} before its adaptation, with {head} head")
    train, job = run.rows("pretrain", "train"), run.job("teacher", run.workdir / "teacher")
    params, _ = adapt(config.architecture, start, config.pretrain, train, run.special, job)
    return params, {"recipe": "adapted checkpoint", "start": "teacher", "masked_lm_before": before}


def load_teacher(run: Run) -> Teacher:
    """Loads the teacher, its parameters on the device or the mesh, with the run's cache of its outputs."""
    assert run.config.teacher is not None
    encoder = run.config.teacher.architecture
    params = load_params(run.workdir / "teacher", encoder)
    # The pooler of a checkpoint is for fine-tuning alone.
    params.pop("pooler", None)
    # Host arrays would be copied to the device at every call.
    return Teacher(encoder, place(run.mesh, params), run.teacher_cache)
