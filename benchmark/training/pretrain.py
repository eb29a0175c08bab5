"""Pretraining from scratch: masked LM, and next sentence where rows are pairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np

from benchmark.models.heads import MaskedLM
from benchmark.training import checkpoints, partitioning
from benchmark.training.batches import count_tokens, describe_rows, take_rows
from benchmark.training.fit import FitReport, Steps, fit
from benchmark.training.initial import init_tree, shapes
from benchmark.training.losses import masked_lm_loss
from benchmark.training.masking import SpecialTokens, mask_tokens, num_predictions
from benchmark.training.metrics import training_flops
from benchmark.training.optimizers import learning_rate, make_optimizer
from benchmark.training.state import DEFAULTS, init_state, make_train_step

if TYPE_CHECKING:
    import optax
    from jax.sharding import Mesh

    from benchmark.config import EncoderConfig, PretrainConfig, TrainerConfig
    from benchmark.models.trees import Params
    from benchmark.training.fit import StepInputs
    from benchmark.training.job import TrainingJob
    from benchmark.training.state import TrainStep
    from tasks.arrays import token_arrays


def init_params(encoder: EncoderConfig, seed: int, *, next_sentence: bool = False) -> Params:
    """Draws random parameters of an encoder with masked-LM head, and with next-sentence head if asked, on the host."""
    return init_tree(MaskedLM(encoder, next_sentence=next_sentence), encoder, seed, num_inputs=4)


def param_shapes(encoder: EncoderConfig, *, next_sentence: bool = False) -> Params:
    """Evaluates the shapes of the parameters that `init_params` draws."""
    return shapes(MaskedLM(encoder, next_sentence=next_sentence), num_inputs=4)


def load_params(path: Path, encoder: EncoderConfig) -> Params:
    """Reads the parameters of a pretraining or a distillation, with the heads that they have.

    Args:
        path: a checkpoint.
        encoder: architecture.

    Raises:
        ValueError: the checkpoint is of another architecture.
        FileNotFoundError: there is no checkpoint at `path`.
    """
    pairs = "next_sentence" in checkpoints.names(path)
    return checkpoints.restore(path, init_params(encoder, 0, next_sentence=pairs))


def pretrain_program(
    encoder: EncoderConfig,
    config: PretrainConfig,
    *,
    next_sentence: bool,
    trainer: TrainerConfig = DEFAULTS,
    mesh: Mesh | None = None,
) -> tuple[TrainStep, optax.GradientTransformation]:
    """Compiles the step of pretraining on a `MaskedBatch`; gives it and its optimizer without learning rate."""
    optimizer = make_optimizer(config.optimizer)
    step = make_train_step(
        masked_lm_loss(encoder, next_sentence=next_sentence, compute_dtype=trainer.compute_dtype),
        optimizer,
        accumulation_steps=trainer.gradient_accumulation_steps,
        count_tokens=count_tokens,
        mesh=mesh,
    )
    return step, optimizer


def pretrain(
    encoder: EncoderConfig,
    config: PretrainConfig,
    rows: token_arrays.TokenArrays,
    special: SpecialTokens,
    job: TrainingJob,
) -> tuple[Params, FitReport]:
    """Trains an encoder from scratch on token rows.

    Args:
        encoder: architecture.
        config: steps, batch size, optimizer.
        rows: materialised `input_ids`, `[rows, length]`; of sentence pairs also `token_type_ids` and
            `next_sentence_label`, `[rows]`, which the model then learns to predict too.
        special: ids of the vocabulary.
        job: its seed seeds initial values, data order and masking.

    Returns:
        Parameters (encoder, masked-LM head and, where rows are pairs, next-sentence head) and the fit report.
    """
    partitioning.check_batch(job.mesh, "PretrainConfig.batch_size", config.batch_size)
    seed, size = job.seed, config.batch_size
    key = jax.random.key(seed)
    pairs = "next_sentence_label" in rows.features
    step, optimizer = pretrain_program(encoder, config, next_sentence=pairs, trainer=job.trainer, mesh=job.mesh)
    length = rows.features["input_ids"].shape[1]

    def inputs(number: int) -> StepInputs:
        ids, types, labels = take_rows(rows, size, number, seed, job.mesh)
        batch = mask_tokens(jax.random.fold_in(key, number), ids, special, config.mask_rate, types, labels)
        batch = partitioning.divide_rows(job.mesh, batch)
        return batch, np.float32(learning_rate(config.optimizer, number, config.steps)), {}

    steps = Steps(
        step,
        inputs,
        config.steps,
        describe_batch=lambda number: describe_rows(rows, size, number, seed),
        flops=training_flops(encoder, size, length, num_predictions(length, config.mask_rate)),
    )
    state = init_state(init_params(encoder, seed, next_sentence=pairs), optimizer)
    state, report = fit(state, steps, job, checkpoint_every=config.checkpoint_every)
    return state.params, report
