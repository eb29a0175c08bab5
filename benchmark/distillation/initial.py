"""Initial parameters of a student: random values, copies of another model's, and maps between widths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from benchmark.distillation.layer_maps import layer_map
from benchmark.distillation.objectives import PhaseObjective
from benchmark.training.pretrain import init_params, param_shapes
from tasks.system.errors import StageError

if TYPE_CHECKING:
    from benchmark.config import DistillConfig, EncoderConfig
    from benchmark.distillation.teacher_cache import Teacher
    from benchmark.models.trees import Params, PyTree

# Keeps the random streams of the maps apart from each other and from those of parameters.
_STREAMS = {"projection": 2, "embedding_projection": 4}


@dataclass(frozen=True)
class Start:
    """A model other than the teacher that a student starts from.

    Attributes:
        encoder: architecture.
        params: tree with `encoder` and any heads.
        whole: True takes all of it, as the student's architecture is the same; False the parts that the recipe names.
    """

    encoder: EncoderConfig
    params: Params
    whole: bool = False


def init_student(
    student: EncoderConfig, teacher: Teacher, config: DistillConfig, seed: int, start: Start | None = None
) -> Params:
    """Makes the initial parameters of a distillation.

    Args:
        student: architecture.
        teacher: the teacher.
        config: the parts to copy, and the losses that compare states.
        seed: seeds the random values.
        start: the model to copy from; None for the teacher.

    Returns:
        `student`: parameters with masked-LM head, and next-sentence head if a phase trains it. Where the widths differ
        also `projection` and `embedding_projection`, learned maps from the student's to the teacher's width for the
        losses on hidden states and on embeddings, each if a phase has such a loss; they are dropped after distillation.

    Raises:
        StageError: layers or head to copy have other shapes in that model.
    """
    params = init_params(student, seed, next_sentence=any("next_sentence" in phase.terms for phase in config.phases))
    given = start or Start(teacher.encoder, teacher.params)
    if given.whole:
        params |= {name: _copy_tree(given.params[name], params[name], name) for name in params if name in given.params}
    elif config.copy_embeddings:
        own, source = params["encoder"]["embeddings"], given.params["encoder"]["embeddings"]
        if student.position_offset != given.encoder.position_offset:
            # A row stands for another position there.
            source = {name: values for name, values in source.items() if name != "position_embeddings"}
        params["encoder"]["embeddings"] = jax.tree.map_with_path(
            lambda path, leaf: _copy_where_shapes_agree(source, path, leaf),
            own,
            is_leaf=lambda x: not isinstance(x, dict),
        )
    if config.copy_layers and not given.whole:
        chosen = np.asarray(layer_map(config.layer_map, student.num_hidden_layers, given.encoder.num_hidden_layers))
        layers = jax.tree.map(lambda leaf: leaf[chosen], given.params["encoder"]["layers"])
        params["encoder"]["layers"] = _copy_tree(layers, params["encoder"]["layers"], "layers")
        # The bias of attention by distance is a part of all layers.
        params["encoder"] |= _copy_tree(_shared(given.params["encoder"]), _shared(params["encoder"]), "encoder")
        if "masked_lm" in given.params:
            params["masked_lm"] = _copy_tree(given.params["masked_lm"], params["masked_lm"], "masked_lm")
    return {"student": params} | init_projections(
        student, teacher.encoder, PhaseObjective.from_phases(config.phases), seed
    )


def init_projections(
    student: EncoderConfig, teacher: EncoderConfig, objective: PhaseObjective, seed: int
) -> dict[str, dict[str, np.ndarray]]:
    """Draws the maps from the student's to the teacher's width that an objective needs; none where widths agree."""
    result = {}
    widths = (student.hidden_size, teacher.hidden_size)
    if widths[0] != widths[1]:
        for name in objective.projections:
            random = np.random.default_rng((seed, _STREAMS[name]))
            kernel = random.standard_normal(widths, np.float32) * widths[0] ** -0.5
            result[name] = {"kernel": kernel.astype(np.float32)}
    return result


def student_shapes(student: EncoderConfig, teacher: EncoderConfig, config: DistillConfig) -> Params:
    """Evaluates the shapes of the parameters that `init_student` makes.

    Raises:
        StageError: layers or head to copy have other shapes in the teacher; a checkpoint is not looked at.
    """
    own = param_shapes(student, next_sentence=any("next_sentence" in phase.terms for phase in config.phases))
    if config.copy_layers and config.start_checkpoint is None:
        given, count = param_shapes(teacher), student.num_hidden_layers
        layers = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape[1:]), leaf.dtype), given["encoder"]["layers"]
        )
        _check_same_shapes(layers, own["encoder"]["layers"], "layers")
        _check_same_shapes(_shared(given["encoder"]), _shared(own["encoder"]), "encoder")
        _check_same_shapes(given["masked_lm"], own["masked_lm"], "masked_lm")
    widths = (student.hidden_size, teacher.hidden_size)
    names = PhaseObjective.from_phases(config.phases).projections if widths[0] != widths[1] else ()
    return {"student": own} | {name: {"kernel": jax.ShapeDtypeStruct(widths, np.float32)} for name in names}


def _shared(encoder: Params) -> Params:
    """Returns the parameters that belong to all layers together: the relative position bias, where there is one."""
    return {name: leaf for name, leaf in encoder.items() if name == "relative_attention_bias"}


def _copy_where_shapes_agree(
    source: PyTree, path: tuple[jax.tree_util.DictKey, ...], leaf: np.ndarray
) -> jax.Array | np.ndarray:
    """Copies the array at `path` of `source` if it has the shape of `leaf`, else `leaf`."""
    for entry in path:
        source = source.get(entry.key) if isinstance(source, dict) else None
    # A copy: the training step donates its state, and the teacher's own arrays must survive that.
    return jnp.array(source) if source is not None and np.shape(source) == leaf.shape else leaf


def _copy_tree(source: Params, own: Params, name: str) -> Params:
    """Copies `source`, which must have the names and shapes of `own`."""
    _check_same_shapes(source, own, name)
    return jax.tree.map(jnp.array, source)


def _check_same_shapes(source: Params, own: Params, name: str) -> None:
    """Raises StageError if `source` and `own` differ in parameter names or shapes."""
    theirs = {jax.tree_util.keystr(path): np.shape(leaf) for path, leaf in jax.tree.leaves_with_path(source)}
    ours = {jax.tree_util.keystr(path): np.shape(leaf) for path, leaf in jax.tree.leaves_with_path(own)}
    for path in sorted(theirs.keys() | ours.keys()):
        if theirs.get(path) != ours.get(path):
            raise StageError(
                f"DistillConfig.copy_layers = True: {name}{path} has shape {ours.get(path)} in the student "
                f"and {theirs.get(path)} in the model to copy; accepted: a student whose layers and head have that "
                "model's shapes, or False"
            )
