"""Pretraining: masked LM, and next sentence where rows are pairs; from scratch, or from a checkpoint (adaptation)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from benchmark.models.heads import MaskedLM, SequenceModel
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
    from benchmark.models.trees import Params, PyTree
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
    """Reads the parameters of a pretraining, a distillation or a checkpoint, with the heads that they have.

    Args:
        path: a checkpoint.
        encoder: architecture.

    Raises:
        ValueError: the checkpoint is of another architecture.
        FileNotFoundError: there is no checkpoint at `path`.
    """
    names = checkpoints.names(path)
    like = param_shapes(encoder, next_sentence="next_sentence" in names)
    if "pooler" in names:
        like |= {"pooler": shapes(SequenceModel(encoder, 1), num_inputs=3)["pooler"]}
    params: Params = checkpoints.restore(path, {name: tree for name, tree in like.items() if name in names})
    return params


def with_masked_lm_head(encoder: EncoderConfig, params: Params) -> Params:
    """Adds a masked-LM head to parameters that have none.

    It is the identity up to its activation and its norm, so that the word table alone decides: a state near a word's
    embedding predicts that word. Its output weights are the word table, as in every head of this project.

    Args:
        encoder: architecture.
        params: tree with `encoder` and any heads; it is not changed.
    """
    if "masked_lm" in params:
        return params
    like = param_shapes(encoder)["masked_lm"]
    head = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), like)
    head["transform"]["kernel"] = np.eye(*like["transform"]["kernel"].shape, dtype=np.float32)
    head["norm"]["scale"] = np.ones(like["norm"]["scale"].shape, np.float32)
    return params | {"masked_lm": head}


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
    start = init_params(encoder, job.seed, next_sentence="next_sentence_label" in rows.features)
    return _train(encoder, start, config, rows, special, job)


def adapt(
    encoder: EncoderConfig,
    start: Params,
    config: PretrainConfig,
    rows: token_arrays.TokenArrays,
    special: SpecialTokens,
    job: TrainingJob,
) -> tuple[Params, FitReport]:
    """Trains a checkpoint on; arguments and results are those of `pretrain`, with one more.

    Args:
        encoder: architecture.
        start: tree with `encoder` and `masked_lm`; it is not changed. Other heads come back as they are, but for
            `next_sentence`, which pairs train, from random values where the checkpoint lacks it.
        config: with the number of steps in which the encoder stands still.
        rows: as for `pretrain`.
        special: as for `pretrain`.
        job: as for `pretrain`.
    """
    pairs = "next_sentence_label" in rows.features
    fresh = init_params(encoder, job.seed, next_sentence=pairs)
    # A copy: the train step takes its state over.
    own = {name: jax.tree.map(jnp.array, start.get(name, tree)) for name, tree in fresh.items()}
    params, report = _train(encoder, own, config, rows, special, job)
    return start | params, report


def _constant(value: np.float32, _: object) -> np.float32:
    return value


def _rate(params: Params, config: PretrainConfig, number: int) -> PyTree:
    """Learning rate of a step: one for all parameters, or a tree where the encoder has another one for some steps."""
    rate = np.float32(learning_rate(config.optimizer, number, config.steps))
    if not config.frozen_encoder_steps:
        return rate
    encoder_rate = rate * np.float32(number >= config.frozen_encoder_steps)
    rates = {name: encoder_rate if name == "encoder" else rate for name in params}
    return {name: jax.tree.map(partial(_constant, rates[name]), tree) for name, tree in params.items()}


def _train(
    encoder: EncoderConfig,
    start: Params,
    config: PretrainConfig,
    rows: token_arrays.TokenArrays,
    special: SpecialTokens,
    job: TrainingJob,
) -> tuple[Params, FitReport]:
    """Trains from given parameters, which the train step takes over."""
    partitioning.check_batch(job.mesh, "PretrainConfig.batch_size", config.batch_size)
    seed, size = job.seed, config.batch_size
    key = jax.random.key(seed)
    pairs = "next_sentence_label" in rows.features
    like = jax.eval_shape(lambda: start)
    step, optimizer = pretrain_program(encoder, config, next_sentence=pairs, trainer=job.trainer, mesh=job.mesh)
    length = rows.features["input_ids"].shape[1]

    def inputs(number: int) -> StepInputs:
        ids, types, labels = take_rows(rows, size, number, seed, job.mesh)
        batch = mask_tokens(jax.random.fold_in(key, number), ids, special, config.mask_rate, types, labels)
        batch = partitioning.divide_rows(job.mesh, batch)
        return batch, _rate(like, config, number), {}

    steps = Steps(
        step,
        inputs,
        config.steps,
        describe_batch=lambda number: describe_rows(rows, size, number, seed),
        flops=training_flops(encoder, size, length, num_predictions(length, config.mask_rate)),
    )
    state = init_state(start, optimizer)
    state, report = fit(state, steps, job, checkpoint_every=config.checkpoint_every)
    return state.params, report
