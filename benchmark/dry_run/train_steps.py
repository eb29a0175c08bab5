"""The train steps of a run as programs with the shapes of their arguments: to be evaluated, or compiled, without data.

They are the programs that the stages run, made by the same functions, and nothing in them is an array: parameters,
optimizer state and batches are `jax.ShapeDtypeStruct`. With a mesh they also say where each of them lies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from benchmark.distillation import distill, initial, outputs
from benchmark.distillation.rates import rate_factors, stage_weights
from benchmark.training import finetune, masking, partitioning, pretrain
from benchmark.training.initial import shapes
from benchmark.training.state import init_state

if TYPE_CHECKING:
    import optax
    from jax.sharding import Mesh

    from benchmark.config import DataConfig, EncoderConfig, PhaseConfig, RunConfig
    from benchmark.models.trees import Params, PyTree
    from benchmark.training.state import Settings, TermsFunction, TrainState, TrainStep
    from tasks.catalogue import TaskInfo

# No shape depends on the ids; these are those of BERT's vocabulary.
_SPECIAL_IDS = (0, 101, 102, 103)
_RATE = jax.ShapeDtypeStruct((), np.float32)


@dataclass(frozen=True)
class Program:
    """A jitted function and its arguments, in which arrays are shapes.

    Attributes:
        name: description of the step.
        function: the jitted function.
        arguments: its arguments.
    """

    name: str
    function: Any
    arguments: tuple[PyTree, ...]

    def outputs(self) -> PyTree:
        """Evaluates the shapes of its results; raises the errors of the model's code."""
        return self.function.eval_shape(*self.arguments)


@dataclass(frozen=True)
class DistillationStep:
    """One step of a phase: the teacher's program, and the student's, which reads the results of the teacher's.

    With `TrainerConfig.teacher_in_step` the student's program holds the teacher, whose parameters are its `constants`,
    and the teacher's program only shows the outputs that are read. `constants` is None otherwise.
    """

    teacher: Program
    name: str
    function: TrainStep
    state: TrainState
    masked: masking.MaskedBatch
    rates: PyTree
    settings: Settings
    loss: TermsFunction
    constants: Settings | None

    def terms(self, read: outputs.Outputs) -> PyTree:
        """Evaluates the shapes of the loss's terms alone, in a fraction of the time of the whole step."""
        settings = self.settings | (self.constants or {})
        return jax.eval_shape(self.loss, self.state.params, self._batch(read), settings)

    def student(self, read: outputs.Outputs) -> Program:
        """Makes the student's program on shapes of the teacher's outputs."""
        constants = () if self.constants is None else (self.constants,)
        arguments = (self.state, self._batch(read), self.rates, self.settings, *constants)
        return Program(self.name, self.function, arguments)

    def _batch(self, read: outputs.Outputs) -> PyTree:
        return self.masked if self.constants is not None else (self.masked, read)


def masked_batch(
    data: DataConfig, vocab_size: int, batch_size: int, mask_rate: float, mesh: Mesh | None = None
) -> masking.MaskedBatch:
    """Evaluates the shapes of a masked batch, as the masking program gives them."""
    rows = (batch_size, data.pretrain_length)
    pairs = (jax.ShapeDtypeStruct(rows, np.uint8), jax.ShapeDtypeStruct(rows[:1], np.int32))
    found = masking.mask_tokens.eval_shape(
        jax.eval_shape(jax.random.key, 0),
        jax.ShapeDtypeStruct(rows, np.int32),
        masking.SpecialTokens(vocab_size, *_SPECIAL_IDS),
        mask_rate,
        *(pairs if data.sentence_pairs else (None, None)),
    )
    return partitioning.shaped_rows(mesh, found)


def _state(params: Params, optimizer: optax.GradientTransformation, mesh: Mesh | None) -> TrainState:
    state: TrainState = partitioning.shaped(mesh, jax.eval_shape(lambda p: init_state(p, optimizer), params))
    return state


def teacher_step(config: RunConfig, mesh: Mesh | None = None) -> Program:
    """Makes a step of the teacher's pretraining."""
    teacher, pairs = config.teacher, config.data.sentence_pairs
    assert teacher is not None
    encoder = teacher.architecture
    partitioning.check_batch(mesh, "PretrainConfig.batch_size", teacher.pretrain.batch_size)
    step, optimizer = pretrain.pretrain_program(
        encoder, teacher.pretrain, next_sentence=pairs, trainer=config.trainer, mesh=mesh
    )
    state = _state(pretrain.param_shapes(encoder, next_sentence=pairs), optimizer, mesh)
    size, rate = teacher.pretrain.batch_size, teacher.pretrain.mask_rate
    batch = masked_batch(config.data, encoder.vocab_size, size, rate, mesh)
    return Program("teacher", step, (state, batch, _RATE, {}))


def distillation_step(
    config: RunConfig, student: EncoderConfig, name: str, phase: PhaseConfig, mesh: Mesh | None = None
) -> DistillationStep:
    """Makes a step of a phase of a student's distillation.

    Raises:
        StageError: recipe, student, teacher, data and mesh do not go together.
    """
    assert config.distill is not None
    assert config.teacher is not None
    recipe, teacher, trainer = config.distill, config.teacher.architecture, config.trainer
    distill.check_rows(recipe, config.data.sentence_pairs)
    partitioning.check_batch(mesh, "DistillConfig.batch_size", recipe.batch_size)
    objective = distill.phase_objective(recipe, phase)
    schedule_free = phase.optimizer.without_schedule
    step, optimizer = distill.phase_program(
        student, teacher, recipe, objective, schedule_free, trainer=trainer, mesh=mesh
    )
    params = initial.student_shapes(student, teacher, recipe)
    params = {part: tree for part, tree in params.items() if part in ("student", *objective.projections)}
    masked = masked_batch(config.data, student.vocab_size, recipe.batch_size, recipe.mask_rate, mesh)
    given = partitioning.shaped(mesh, pretrain.param_shapes(teacher, next_sentence=config.data.sentence_pairs))
    arguments = (teacher, given, masked, objective.teacher_needs, trainer.compute_dtype)
    layers = student.num_hidden_layers
    return DistillationStep(
        Program(f"teacher's outputs for {name}, phase {phase.name}", outputs.teacher_outputs, arguments),
        f"{name}, phase {phase.name}",
        step,
        _state(params, optimizer, mesh),
        masked,
        rate_factors(params, phase, 0, layers),
        objective.settings(phase, stage_weights(phase, 0, layers)),
        distill.recipe_loss(student, teacher, recipe, objective, trainer),
        {distill.TEACHER: given} if trainer.teacher_in_step else None,
    )


def finetuning_step(config: RunConfig, encoder: EncoderConfig, name: str, task: TaskInfo) -> Program:
    """Makes a step of fine-tuning on a task, with rows of the greatest length."""
    settings, kind, head = config.finetune, task.kind, finetune.task_head(task)
    step, optimizer = finetune.train_step(encoder, head, settings, config.trainer)
    length = config.data.span_length if kind == "span" else config.data.task_length
    rows = jax.ShapeDtypeStruct((settings.batch_size, length), np.int32)
    number = jax.ShapeDtypeStruct(rows.shape[:1], np.float32 if kind == "regression" else np.int32)
    labels = ("start_position", "end_position") if kind == "span" else ("label",)
    batch = dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), rows) | dict.fromkeys(labels, number)
    state = _state(shapes(finetune.task_model(encoder, head), 3), optimizer, None)
    given = {"label_bias": finetune.label_bias(task)} if kind == "classification" else {}
    return Program(f"{name}, {kind}", step, (state, batch, _RATE, given))
