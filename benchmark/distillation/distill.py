"""The distillation of one student: the phases of a recipe in order, each resumed where an interrupted run stopped.

A phase compiles once for an architecture: weights of terms and layers, and the rate of each parameter, are arguments of
the step. Phases that compute the same terms with the same optimizer share their program.
"""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

import jax

from benchmark.distillation.initial import Start, init_student
from benchmark.distillation.layer_maps import layer_map
from benchmark.distillation.objectives import PhaseObjective, loss_function
from benchmark.distillation.outputs import BATCH_AXES, Outputs, outputs, teacher_outputs
from benchmark.distillation.phases import Phase, run_phase
from benchmark.training import partitioning
from benchmark.training.batches import count_tokens, describe_rows, take_rows
from benchmark.training.masking import MaskedBatch, SpecialTokens, mask_tokens, num_predictions
from benchmark.training.metrics import training_flops
from benchmark.training.optimizers import make_optimizer
from benchmark.training.state import DEFAULTS, make_train_step
from tasks.system.errors import StageError

if TYPE_CHECKING:
    import optax
    from jax.sharding import Mesh

    from benchmark.config import DistillConfig, EncoderConfig, OptimizerConfig, PhaseConfig, TrainerConfig
    from benchmark.distillation.teacher_cache import Teacher
    from benchmark.models.trees import Params
    from benchmark.training.job import TrainingJob
    from benchmark.training.state import Mean, Settings, TermsFunction, TrainStep
    from tasks.arrays import token_arrays

# The constant of a step that holds the teacher's parameters.
TEACHER = "teacher"


def phase_objective(config: DistillConfig, phase: PhaseConfig) -> PhaseObjective:
    """Makes the objective of the compiled step of a phase."""
    return PhaseObjective.from_phases(config.phases if config.one_program else [phase])


def recipe_loss(
    student: EncoderConfig,
    teacher: EncoderConfig,
    config: DistillConfig,
    objective: PhaseObjective,
    trainer: TrainerConfig,
) -> TermsFunction:
    """Makes the loss of an objective with the recipe's layer map, for `make_train_step`.

    Its batch is a `MaskedBatch` with the teacher's `Outputs` on it; with `TrainerConfig.teacher_in_step` a
    `MaskedBatch` alone, and the settings have the teacher's parameters under `TEACHER`.
    """
    layers = layer_map(config.layer_map, student.num_hidden_layers, teacher.num_hidden_layers)
    loss = loss_function(student, layers, objective, trainer.compute_dtype)
    if not trainer.teacher_in_step:
        return loss

    def with_teacher(params: Params, batch: MaskedBatch, settings: Settings) -> tuple[dict[str, Mean], dict[str, Mean]]:
        read = outputs(teacher, settings[TEACHER], batch, objective.teacher_needs, trainer.compute_dtype)
        return loss(params, (batch, read), settings)

    return with_teacher


def phase_program(
    student: EncoderConfig,
    teacher: EncoderConfig,
    config: DistillConfig,
    objective: PhaseObjective,
    optimizer_config: OptimizerConfig,
    *,
    trainer: TrainerConfig = DEFAULTS,
    mesh: Mesh | None = None,
) -> tuple[TrainStep, optax.GradientTransformation]:
    """Compiles the step that minimises an objective; gives it and its optimizer. Batches are those of `recipe_loss`.

    With `TrainerConfig.teacher_in_step` the step's constants are `{TEACHER: parameters}`.
    """
    optimizer = make_optimizer(optimizer_config)
    alone = trainer.teacher_in_step
    step = make_train_step(
        recipe_loss(student, teacher, config, objective, trainer),
        optimizer,
        accumulation_steps=trainer.gradient_accumulation_steps,
        batch_axes=0 if alone else (0, BATCH_AXES),
        count_tokens=count_tokens if alone else lambda batch: count_tokens(batch[0]),
        mesh=mesh,
    )
    return step, optimizer


def check_rows(config: DistillConfig, sentence_pairs: bool) -> None:
    """Refuses a recipe that learns next-sentence prediction from rows that are no pairs.

    Raises:
        StageError: one line that names the phase.
    """
    for phase in config.phases:
        if "next_sentence" in phase.terms and not sentence_pairs:
            raise StageError(
                f"PhaseConfig.weights = {phase.weights} (phase {phase.name!r}): the rows are no sentence pairs; "
                "accepted: weights without 'next_sentence', or DataConfig.sentence_pairs = True"
            )


def _batch(
    teacher: Teacher,
    config: DistillConfig,
    phase: PhaseConfig,
    rows: token_arrays.TokenArrays,
    special: SpecialTokens,
    job: TrainingJob,
    number: int,
) -> MaskedBatch | tuple[MaskedBatch, Outputs]:
    """Makes the batch of step `number`, counted over all phases, as `recipe_loss` reads it."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(job.seed), 3), number)
    ids, types, pairs = take_rows(rows, config.batch_size, number, job.seed, job.mesh)
    batch = mask_tokens(key, ids, special, config.mask_rate, types, pairs)
    if not phase.mask_input:
        batch = batch._replace(input_ids=jax.numpy.asarray(ids))
    batch = partitioning.divide_rows(job.mesh, batch)
    if job.trainer.teacher_in_step:
        return batch
    needs, dtype = phase_objective(config, phase).teacher_needs, job.trainer.compute_dtype

    def run_teacher() -> Outputs:
        return teacher_outputs(teacher.encoder, teacher.params, batch, needs, dtype)

    if teacher.cache is None or not any(needs):
        return batch, run_teacher()
    shape = (config.batch_size, config.mask_rate, phase.mask_input)
    return batch, teacher.cache.get((number, job.seed, shape, needs, dtype), run_teacher)


def distill(
    student: EncoderConfig,
    teacher: Teacher,
    config: DistillConfig,
    rows: token_arrays.TokenArrays,
    special: SpecialTokens,
    job: TrainingJob,
    *,
    start: Start | None = None,
    stop_after: int | None = None,
) -> tuple[Params, int]:
    """Distils a student.

    The batches and masks depend on the job's seed and the step alone: all students of a search see the same ones.

    Args:
        student: architecture.
        teacher: the teacher, its parameters where the job's mesh has them.
        config: the recipe, already scaled for a flash distillation.
        rows: materialised `input_ids`, `[rows, length]`; of sentence pairs also those that `take_rows` reads.
        special: ids of the vocabulary.
        job: its seed seeds initial values, data order and masking; results of phases go to its directory.
        start: the model that the student starts from, in part or as a whole; None for the teacher.
        stop_after: steps to stop after, counted over all phases; a later call with the same directory continues from
            there, to the same end as one that never stopped. None runs the whole recipe.

    Returns:
        The student's parameters (encoder, masked-LM head, and next-sentence head if a phase trains it) and the number
        of steps so far: that of all phases without `stop_after`.

    Raises:
        DivergedError: the loss is not finite.
        StageError: the recipe does not fit student, teacher or data; one line names an accepted one.
    """
    check_rows(config, "next_sentence_label" in rows.features)
    partitioning.check_batch(job.mesh, "DistillConfig.batch_size", config.batch_size)
    program = cache(partial(phase_program, student, teacher.encoder, config, trainer=job.trainer, mesh=job.mesh))
    size, depth, length = config.batch_size, student.num_hidden_layers, rows.features["input_ids"].shape[1]
    flops = training_flops(student, size, length, num_predictions(length, config.mask_rate), teacher.encoder)
    params = init_student(student, teacher, config, job.seed, start)
    done = 0
    for settings in (phase for phase in config.phases if phase.steps):
        steps = settings.total_steps(depth)
        left = steps if stop_after is None else min(steps, stop_after - done)
        if left <= 0:
            break
        objective = phase_objective(config, settings)
        phase = Phase(
            settings,
            objective,
            *program(objective, settings.optimizer.without_schedule),
            num_layers=depth,
            stage_steps=settings.steps,
            batch=partial(_batch, teacher, config, settings, rows, special, job),
            describe_batch=partial(describe_rows, rows, size, seed=job.seed),
            flops=flops,
            constants={TEACHER: teacher.params} if job.trainer.teacher_in_step else None,
            checkpoint_every=config.checkpoint_every,
            first_batch=done,
        )
        stop = left if left < steps else None
        # The caller keeps the result of the last phase.
        params = run_phase(phase, params, job, stop_after=stop, keep=stop is None and settings is not config.phases[-1])
        done += left
    return params["student"], done
