"""Learning rates of the parameters in a phase, as factors of the optimizer's rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import numpy as np

if TYPE_CHECKING:
    from benchmark.config import PhaseConfig
    from benchmark.models.trees import Params


# Parameters of the group `position_embeddings`: the position table, and the bias of attention by distance.
_POSITIONS = ("position_embeddings", "relative_attention_bias")


def group_of(path: tuple[str, ...]) -> str:
    """Finds the group, as `PhaseConfig.frozen` names it, of a parameter of the student with its head.

    Args:
        path: keys from the root of the student's parameters.
    """
    if path[:2] == ("encoder", "layers"):
        return "layers"
    if path[:1] == ("encoder",):
        return "position_embeddings" if path[-1] in _POSITIONS else "embeddings"
    return "heads"


def rate_factors(params: Params, phase: PhaseConfig, stage: int, num_layers: int) -> Params:
    """Computes the factor of the learning rate of each parameter.

    Args:
        params: `student`, and next to it the projections, which always move.
        phase: its frozen groups, and the rates of the layers in a stage.
        stage: stage of a phase that transfers layer by layer, from 0; ignored in others.
        num_layers: layers of the student.

    Returns:
        A tree like `params`, float32. A leaf has one factor for each layer, or one for all of its parameter, with axes
        of size 1 to broadcast: the same shapes in all stages and phases, so that a step is compiled once.
    """
    layers = np.ones(num_layers, np.float32)
    if phase.per_layer:
        number = np.arange(num_layers)
        layers = np.where(number < stage, phase.earlier_layers_rate, 0.0).astype(np.float32)
        layers[stage] = phase.current_layer_rate
    frozen = set(phase.frozen) | ({"position_embeddings"} if "embeddings" in phase.frozen else set())

    def factor(path: tuple[jax.tree_util.DictKey, ...], leaf: jax.Array | np.ndarray) -> np.ndarray:
        names = tuple(entry.key for entry in path)
        group = group_of(names[1:]) if names[0] == "student" else "projections"
        moves = np.float32(group not in frozen)
        if group == "layers":
            return moves * layers.reshape((num_layers,) + (1,) * (np.ndim(leaf) - 1))
        return moves * np.ones((1,) * np.ndim(leaf), np.float32)

    return jax.tree.map_with_path(factor, params)


def stage_weights(phase: PhaseConfig, stage: int, num_layers: int) -> np.ndarray:
    """Computes the factor of each student layer's loss in a stage, `[layers]`; ones in a phase without stages.

    See `PhaseConfig.stage_loss`.
    """
    if not phase.per_layer:
        return np.ones(num_layers, np.float32)
    number = np.arange(num_layers)
    if phase.stage_loss == "mean":
        return np.where(number <= stage, 1.0 / (stage + 1), 0.0).astype(np.float32)
    divisor = stage + 1 if phase.stage_loss == "current" else num_layers
    return np.where(number == stage, 1.0 / divisor, 0.0).astype(np.float32)
