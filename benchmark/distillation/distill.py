"""Distils one student: the phases of a recipe in order, each continued where an interrupted run left it.

A phase compiles once for an architecture: weights of terms and layers, and the rate of each parameter, are arguments of
the step. Phases that compute the same terms with the same optimiser share their program.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from benchmark.config import DistillConfig, EncoderConfig, OptimizerConfig, PhaseConfig, TrainerConfig
from benchmark.distillation.initial import init_student
from benchmark.distillation.layer_maps import layer_map
from benchmark.distillation.objectives import Objective, loss_function
from benchmark.distillation.outputs import BATCH_AXES, Outputs, Teacher, outputs, teacher_outputs
from benchmark.distillation.rates import rate_factors, stage_weights
from benchmark.distillation.teacher_cache import TeacherCache
from benchmark.training import checkpoints, distributed, partitioning
from benchmark.training.batches import count_tokens, describe_rows, take_rows
from benchmark.training.fit import fit
from benchmark.training.hooks import UNWATCHED, Monitor
from benchmark.training.masking import MaskedBatch, SpecialTokens, mask_tokens, num_predictions
from benchmark.training.metrics import training_flops
from benchmark.training.optimizers import learning_rate, make_direction
from benchmark.training.state import DEFAULTS, LossFunction, init_state, make_train_step
from tasks.arrays import token_arrays
from tasks.system.errors import StageError

# The constant of a step that holds the teacher's parameters.
TEACHER = "teacher"


def phase_objective(config: DistillConfig, phase: PhaseConfig) -> Objective:
    """What the program of a phase of a recipe computes."""
    return Objective.of(config.phases if config.one_program else [phase])


def recipe_loss(
    student: EncoderConfig, teacher: EncoderConfig, config: DistillConfig, objective: Objective, trainer: TrainerConfig
) -> LossFunction:
    """The loss of an objective with the recipe's layer map, for `make_train_step`.

    Its batch is a `MaskedBatch` with the teacher's `Outputs` on it; with `TrainerConfig.teacher_in_step` a
    `MaskedBatch` alone, and the settings have the teacher's parameters under `TEACHER`.
    """
    layers = layer_map(config.layer_map, student.num_hidden_layers, teacher.num_hidden_layers)
    loss = loss_function(student, layers, objective, trainer.compute_dtype)
    if not trainer.teacher_in_step:
        return loss

    def with_teacher(params: Any, batch: MaskedBatch, settings: dict[str, Any]) -> Any:
        read = outputs(teacher, settings[TEACHER], batch, objective.teacher_needs, trainer.compute_dtype)
        return loss(params, (batch, read), settings)

    return with_teacher


def phase_program(
    student: EncoderConfig,
    teacher: EncoderConfig,
    config: DistillConfig,
    objective: Objective,
    optimizer: OptimizerConfig,
    *,
    trainer: TrainerConfig = DEFAULTS,
    mesh: Mesh | None = None,
) -> tuple[Any, Any]:
    """The jitted step that minimises an objective, and its optimiser without learning rate; batches as `recipe_loss`.

    With `TrainerConfig.teacher_in_step` the step's constants are `{TEACHER: parameters}`.
    """
    direction = make_direction(optimizer)
    alone = trainer.teacher_in_step
    step = make_train_step(
        recipe_loss(student, teacher, config, objective, trainer),
        direction,
        accumulation_steps=trainer.gradient_accumulation_steps,
        batch_axes=0 if alone else (0, BATCH_AXES),
        count_tokens=count_tokens if alone else lambda batch: count_tokens(batch[0]),
        mesh=mesh,
    )
    return step, direction


def check_rows(config: DistillConfig, sentence_pairs: bool) -> None:
    """Refuses a recipe that learns next-sentence prediction from rows that are no pairs.

    Raises:
        StageError: one line that names the phase.
    """
    for phase in config.phases:
        if phase.next_sentence_weight and not sentence_pairs:
            raise StageError(
                f"PhaseConfig.next_sentence_weight = {phase.next_sentence_weight} (phase {phase.name!r}): the rows are "
                "no sentence pairs; accepted: 0.0, or DataConfig.sentence_pairs = True"
            )


@dataclass(frozen=True)
class _Run:
    """What the phases of one distillation share; the arguments of `distill`, and the programs compiled so far."""

    student: EncoderConfig
    teacher: Teacher
    config: DistillConfig
    rows: token_arrays.TokenArrays
    special: SpecialTokens
    seed: int
    directory: Path | None
    name: str
    progress: Callable[[str], None]
    trainer: TrainerConfig = DEFAULTS
    monitor: Monitor = UNWATCHED
    mesh: Mesh | None = None
    cache: TeacherCache | None = None
    programs: dict[Any, tuple[Any, Any]] = field(default_factory=dict)

    def objective(self, phase: PhaseConfig) -> Objective:
        """What the program of a phase computes."""
        return phase_objective(self.config, phase)

    def program(self, phase: PhaseConfig) -> tuple[Any, Any]:
        """The jitted step of a phase, and its optimiser without learning rate."""
        key = (self.objective(phase), phase.optimizer.without_schedule)
        if key not in self.programs:
            self.programs[key] = phase_program(
                self.student, self.teacher.encoder, self.config, *key, trainer=self.trainer, mesh=self.mesh
            )
        return self.programs[key]

    def batch(self, phase: PhaseConfig, number: int) -> MaskedBatch | tuple[MaskedBatch, Outputs]:
        """Batch of a step, counted over all phases, as `recipe_loss` reads it."""
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(self.seed), 3), number)
        ids, types, pairs = take_rows(self.rows, self.config.batch_size, number, self.seed, self.mesh)
        batch = mask_tokens(key, ids, self.special, self.config.mask_rate, types, pairs)
        if not phase.mask_input:
            batch = batch._replace(input_ids=jax.numpy.asarray(ids))
        batch = partitioning.divide_rows(self.mesh, batch)
        if self.trainer.teacher_in_step:
            return batch
        needs, dtype = self.objective(phase).teacher_needs, self.trainer.compute_dtype

        def ask() -> Outputs:
            return teacher_outputs(self.teacher.encoder, self.teacher.params, batch, needs, dtype)

        if self.cache is None or not any(needs):
            return batch, ask()
        shape = (self.config.batch_size, self.config.mask_rate, phase.mask_input)
        return batch, self.cache.get((number, self.seed, shape, needs, dtype), ask)

    def train(self, phase: PhaseConfig, params: Any, first_batch: int, stop_after: int | None) -> Any:
        """Runs the steps of a phase, all or up to `stop_after`, and gives the parameters back."""
        layers, objective = self.student.num_hidden_layers, self.objective(phase)
        stages = range(layers if phase.per_layer else 1)
        factors = [rate_factors(params, phase, stage, layers) for stage in stages]
        settings = [objective.settings(phase, stage_weights(phase, stage, layers)) for stage in stages]

        def inputs(number: int) -> tuple[Any, Any, dict[str, Any]]:
            stage, step = divmod(number, phase.steps)
            rate = np.float32(learning_rate(phase.optimizer, step, phase.steps))
            rates = jax.tree.map(lambda factor: factor * rate, factors[stage])
            return self.batch(phase, first_batch + number), rates, settings[stage]

        size, length = self.config.batch_size, self.rows.features["input_ids"].shape[1]
        predictions = num_predictions(length, self.config.mask_rate)
        step, direction = self.program(phase)
        folder = self.directory / phase.name if self.directory else None
        state, _ = fit(
            init_state(params, direction),
            step,
            inputs,
            phase.total_steps(layers),
            name=f"{self.name} {phase.name}",
            directory=folder,
            checkpoint_every=self.config.checkpoint_every,
            log_every=self.trainer.log_every,
            progress=self.progress,
            hooks=self.monitor.hooks(f"{self.name} {phase.name}", self.progress, folder),
            steps_per_dispatch=self.trainer.steps_per_dispatch,
            describe_batch=lambda number: describe_rows(self.rows, size, first_batch + number, self.seed),
            flops_per_step=training_flops(self.student, size, length, predictions, self.teacher.encoder),
            peak_flops=self.monitor.peak_flops,
            mesh=self.mesh,
            stop_after=stop_after,
            constants={TEACHER: self.teacher.params} if self.trainer.teacher_in_step else None,
        )
        return state.params


def distill(
    student: EncoderConfig,
    teacher: Teacher,
    config: DistillConfig,
    rows: token_arrays.TokenArrays,
    special: SpecialTokens,
    *,
    seed: int,
    directory: Path | None,
    name: str,
    progress: Callable[[str], None],
    trainer: TrainerConfig = DEFAULTS,
    monitor: Monitor = UNWATCHED,
    mesh: Mesh | None = None,
    cache: TeacherCache | None = None,
    stop_after: int | None = None,
) -> tuple[Any, int]:
    """Distils a student from scratch.

    The batches and masks depend on `seed` and the step alone: all students of a search see the same ones.

    Args:
        student: architecture.
        teacher: the teacher.
        config: the recipe, already scaled for a flash distillation.
        rows: materialised `input_ids`, `[rows, length]`; of sentence pairs also what `take_rows` reads.
        special: ids of the vocabulary.
        seed: seeds initial values, data order and masking.
        directory: for checkpoints, phase results and metrics; None keeps nothing.
        name: shown in progress lines and errors.
        progress: receives progress lines.
        trainer: how to train.
        monitor: what watches.
        mesh: the devices to train on, where the teacher's parameters lie already; None for one.
        cache: of this teacher on these rows, shared by the students of a run; None asks the teacher every time. It is
            of no use with `TrainerConfig.teacher_in_step`.
        stop_after: steps to stop after, counted over all phases; a later call with the same directory goes on from
            there, to the same end as one that never stopped. None goes through the whole recipe.

    Returns:
        The student's parameters (encoder, masked-LM head, and next-sentence head if a phase trains it) and the number
        of steps so far, which is that of all phases without `stop_after`.

    Raises:
        DivergedError: the loss is not finite.
        StageError: the recipe does not fit student, teacher or data; one line says what would.
    """
    check_rows(config, "next_sentence_label" in rows.features)
    partitioning.check_batch(mesh, "DistillConfig.batch_size", config.batch_size)
    run = _Run(student, teacher, config, rows, special, seed, directory, name, progress, trainer, monitor, mesh, cache)
    params = init_student(student, teacher, config, seed)
    done = 0
    for phase in config.phases:
        steps = phase.total_steps(student.num_hidden_layers)
        left = steps if stop_after is None else min(steps, stop_after - done)
        if steps and left <= 0:
            break
        result = directory / phase.name / "result" if directory else None
        damage = checkpoints.damage(result) if result is not None and result.exists() else None
        if damage:
            progress(f"{name}: the result of phase {phase.name!r} is damaged and is made again: {damage}")
        if result is not None and distributed.agree(result.exists() and not damage):
            params = checkpoints.restore(result, params)
        elif steps:
            # A map between widths that the phase has no use for stays as it is.
            held = {"student", *run.objective(phase).projections} & params.keys()
            stop = left if left < steps else None
            params = params | run.train(phase, {name: params[name] for name in held}, done, stop)
            if result is not None and stop is None and phase is not config.phases[-1]:
                checkpoints.save(result, params)
        done += left
    return params["student"], done
