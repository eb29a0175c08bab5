"""MobileBERT's recipe: progressive layer-wise transfer, then masked-LM distillation.

A phase compiles once for an architecture: which layers are transferred, and at which rate each parameter moves, are
arguments of the step. The teacher's forward pass is a program of its own, shared by all students of a process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmark.config import DistillConfig, EncoderConfig, OptimizerConfig
from benchmark.distillation import losses
from benchmark.models.heads import MaskedLM
from benchmark.training import checkpoints
from benchmark.training.fit import fit
from benchmark.training.masking import MaskedBatch, SpecialTokens, mask_tokens
from benchmark.training.optimizers import learning_rate, make_direction
from benchmark.training.pretrain import init_params, take_rows
from benchmark.training.state import init_state, make_train_step
from tasks import arrays


@dataclass(frozen=True)
class Teacher:
    """A trained teacher: architecture and parameters with masked-LM head."""

    encoder: EncoderConfig
    params: Any


class TeacherOutputs(NamedTuple):
    """What the teacher hands to a step: `[batch, predictions, vocab]`, and stacks over its layers."""

    logits: jax.Array
    hidden_states: jax.Array
    attention_scores: jax.Array


def uniform_layer_map(student_layers: int, teacher_layers: int) -> tuple[int, ...]:
    """Teacher layer (from 0) that each student layer imitates: evenly spaced, the last one to the last one.

    Raises:
        ValueError: the student has more layers than the teacher.
    """
    if student_layers > teacher_layers:
        raise ValueError(f"a student of {student_layers} layers cannot imitate a teacher of {teacher_layers}")
    return tuple((i + 1) * teacher_layers // student_layers - 1 for i in range(student_layers))


@partial(jax.jit, static_argnums=0)
def teacher_outputs(encoder: EncoderConfig, params: Any, batch: MaskedBatch) -> TeacherOutputs:
    """Runs the teacher on a masked batch."""
    output = MaskedLM(encoder).apply(
        {"params": params},
        batch.input_ids,
        batch.attention_mask,
        batch.token_type_ids,
        batch.positions,
        output_hidden_states=True,
        output_attentions=True,
    )
    return TeacherOutputs(output.logits, output.encoder.hidden_states, output.encoder.attention_scores)


def distillation_loss(
    student: EncoderConfig, layer_map: tuple[int, ...], config: DistillConfig, *, transfer: bool, masked_lm: bool
) -> Callable[..., Any]:
    """Loss of a phase, for `make_train_step`; the batch is a `MaskedBatch` and the `TeacherOutputs` on it.

    Args:
        student: architecture.
        layer_map: teacher layer of each student layer.
        config: weights of the recipe.
        transfer: whether the program holds the feature and attention terms; `settings["layers"]` `[layers]` weighs the
            student's layers.
        masked_lm: whether it holds masked LM against hard labels and teacher; `settings["masked_lm"]` is its weight.

    Returns:
        The loss function; its parts are the terms as they enter the sum.
    """
    model, mapped = MaskedLM(student), np.asarray(layer_map)

    def loss(params: Any, batch: Any, settings: dict[str, Any]) -> tuple[jax.Array, dict[str, jax.Array]]:
        b, teacher = batch
        logits, _, output = model.apply(
            {"params": params["student"]},
            b.input_ids,
            b.attention_mask,
            b.token_type_ids,
            b.positions,
            output_hidden_states=transfer,
            output_attentions=transfer,
        )
        parts = {}
        if transfer:
            states, target = output.hidden_states, teacher.hidden_states[mapped]
            if "projection" in params:
                states = states @ params["projection"]["kernel"]
            mask, scores = b.attention_mask.astype(states.dtype), teacher.attention_scores[mapped]
            parts = {
                "feature_map": config.feature_map_weight * losses.feature_map_loss(states, target, mask),
                "feature_mean": config.feature_mean_weight * losses.feature_mean_loss(states, target, mask),
                "feature_variance": config.feature_variance_weight * losses.feature_variance_loss(states, target, mask),
                "attention": config.attention_weight * losses.attention_loss(output.attention_scores, scores, mask),
            }
            parts = {name: (value * settings["layers"]).sum() for name, value in parts.items()}
        if masked_lm:
            value = losses.mixed_masked_lm_loss(logits, teacher.logits, b.labels, b.weights, config.ground_truth_ratio)
            parts["masked_lm"] = settings["masked_lm"] * value
        return sum(parts.values(), jnp.zeros(())), parts

    return loss


def init_student(student: EncoderConfig, teacher: Teacher, seed: int, copy_embeddings: bool) -> dict[str, Any]:
    """Random student; embedding parameters are the teacher's wherever the shapes agree, if asked for.

    Returns:
        `student`: parameters with masked-LM head; `projection`: a map from the student's to the teacher's width for the
        feature losses, only where the widths differ (it is dropped after distillation).
    """
    params = init_params(student, seed)
    if copy_embeddings:
        own, source = params["encoder"]["embeddings"], teacher.params["encoder"]["embeddings"]
        params["encoder"]["embeddings"] = jax.tree.map_with_path(
            lambda path, leaf: _at(source, path, leaf), own, is_leaf=lambda x: not isinstance(x, dict)
        )
    result: dict[str, Any] = {"student": params}
    widths = (student.hidden_size, teacher.encoder.hidden_size)
    if widths[0] != widths[1]:
        kernel = np.random.default_rng((seed, 2)).standard_normal(widths, np.float32) * widths[0] ** -0.5
        result["projection"] = {"kernel": kernel.astype(np.float32)}
    return result


def _at(source: Any, path: Any, leaf: jax.Array) -> jax.Array:
    for entry in path:
        source = source.get(entry.key) if isinstance(source, dict) else None
    # A copy: the training step donates its state, and the teacher's own arrays must survive that.
    return jnp.array(source) if source is not None and np.shape(source) == leaf.shape else leaf


def _transfer_rates(params: Any, stage: int, layers: int) -> Any:
    """Learning-rate factors of a transfer stage: layers up to `stage` and the projection move, nothing else."""
    moving = (np.arange(layers) <= stage).astype(np.float32)

    def factor(path: Any, leaf: Any) -> np.ndarray:
        names, ones = [entry.key for entry in path], np.ones((1,) * np.ndim(leaf), np.float32)
        if names[:3] == ["student", "encoder", "layers"]:
            # One shape for all stages and phases: the step is compiled once.
            return moving.reshape((layers,) + (1,) * (np.ndim(leaf) - 1))
        return ones * np.float32(names[0] == "projection")

    return jax.tree.map_with_path(factor, params)


@dataclass(frozen=True)
class _Run:
    """What the phases of one distillation share; the arguments of `distill`."""

    student: EncoderConfig
    teacher: Teacher
    config: DistillConfig
    rows: arrays.TokenArrays
    special: SpecialTokens
    seed: int
    directory: Path | None
    name: str
    progress: Callable[[str], None]

    def program(self, optimizer: OptimizerConfig, *, transfer: bool, masked_lm: bool) -> tuple[Any, Any]:
        """The jitted step of a phase, and its optimiser without learning rate."""
        layer_map = uniform_layer_map(self.student.num_hidden_layers, self.teacher.encoder.num_hidden_layers)
        loss = distillation_loss(self.student, layer_map, self.config, transfer=transfer, masked_lm=masked_lm)
        direction = make_direction(optimizer)
        return make_train_step(loss, direction), direction

    def batch(self, number: int) -> tuple[MaskedBatch, TeacherOutputs]:
        """Batch of a step, counted over all phases, and the teacher's outputs on it."""
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(self.seed), 3), number)
        ids, types, pairs = take_rows(self.rows, self.config.batch_size, number, self.seed)
        masked = mask_tokens(key, ids, self.special, self.config.mask_rate, types, pairs)
        return masked, teacher_outputs(self.teacher.encoder, self.teacher.params, masked)

    def train(self, phase: str, params: Any, program: tuple[Any, Any], inputs: Callable[..., Any], steps: int) -> Any:
        """Runs the steps of a phase and gives the parameters back."""
        step, direction = program
        state, _ = fit(
            init_state(params, direction),
            step,
            inputs,
            steps,
            name=f"{self.name} {phase}",
            directory=self.directory / phase if self.directory else None,
            checkpoint_every=self.config.checkpoint_every,
            progress=self.progress,
        )
        return state.params


def distill(
    student: EncoderConfig,
    teacher: Teacher,
    config: DistillConfig,
    rows: arrays.TokenArrays,
    special: SpecialTokens,
    *,
    seed: int,
    directory: Path | None,
    name: str,
    progress: Callable[[str], None],
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

    Returns:
        The student's parameters (encoder and masked-LM head) and the number of steps of all phases.

    Raises:
        DivergedError: the loss is not finite.
    """
    run = _Run(student, teacher, config, rows, special, seed, directory, name, progress)
    # One program for both phases where asked for; the optimisers differ only in what a program does not hold.
    shared = run.program(config.transfer_optimizer, transfer=True, masked_lm=True) if config.one_program else None
    transfer_steps = config.layer_steps * student.num_hidden_layers
    params = init_student(student, teacher, seed, config.copy_embeddings)
    if transfer_steps:
        params = _transfer(run, params, shared)
    if not config.one_program:
        params = {"student": params["student"]}
    params = _distill_masked_lm(run, params, shared, transfer_steps)
    return params["student"], transfer_steps + config.distill_steps


def _transfer(run: _Run, params: Any, program: tuple[Any, Any] | None) -> Any:
    """First phase: the student's layers learn the teacher's feature maps and attention, one more layer each stage."""
    config, layers = run.config, run.student.num_hidden_layers
    result = run.directory / "transferred" if run.directory else None
    if result is not None and result.exists():
        return checkpoints.restore(result, params)
    rates = [_transfer_rates(params, stage, layers) for stage in range(layers)]

    def inputs(number: int) -> tuple[Any, Any, dict[str, Any]]:
        stage = number // config.layer_steps
        rate = learning_rate(config.transfer_optimizer, number % config.layer_steps, config.layer_steps)
        weights = np.where(np.arange(layers) <= stage, 1.0 / (stage + 1), 0.0).astype(np.float32)
        scaled = jax.tree.map(lambda factor: factor * np.float32(rate), rates[stage])
        return run.batch(number), scaled, {"layers": weights, "masked_lm": np.float32(0.0)}

    program = program or run.program(config.transfer_optimizer, transfer=True, masked_lm=False)
    params = run.train("transfer", params, program, inputs, config.layer_steps * layers)
    if result is not None:
        checkpoints.save(result, params)
    return params


def _distill_masked_lm(run: _Run, params: Any, program: tuple[Any, Any] | None, first_batch: int) -> Any:
    """Second phase: all parameters learn masked LM from the hard labels and from the teacher's distribution."""
    config, layers = run.config, run.student.num_hidden_layers
    everywhere = jax.tree.map(np.ones_like, _transfer_rates(params, 0, layers))
    settings = {"layers": np.zeros(layers, np.float32), "masked_lm": np.float32(1.0)}

    def inputs(number: int) -> tuple[Any, Any, dict[str, Any]]:
        rate = np.float32(learning_rate(config.distill_optimizer, number, config.distill_steps))
        return run.batch(first_batch + number), jax.tree.map(lambda one: one * rate, everywhere), settings

    program = program or run.program(config.distill_optimizer, transfer=False, masked_lm=True)
    return run.train("distillation", params, program, inputs, config.distill_steps)
