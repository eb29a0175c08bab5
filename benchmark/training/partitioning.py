"""Placement of parameters, optimizer state and batches on devices; XLA derives the rest of the program.

A mesh has two axes: `data` groups of devices divide a batch, and the `model` devices of a group divide wide matrices
(arXiv 1909.08053). Two tables say how: parameter path -> names of its dimensions, and name -> mesh axis. No model code
knows of them. `mesh=None` everywhere means one device and changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from tasks.system.errors import StageError

if TYPE_CHECKING:
    from benchmark.config import MeshConfig
    from benchmark.models.trees import PyTree

# Names of dimensions that are divided; every other dimension is whole on each device.
MESH_AXES = {"batch": "data", "vocab": "model", "heads": "model", "mlp": "model"}

# The end of a parameter's path -> names of its dimensions. The first match counts. The parameters of a layer kind are
# one array with the layer as first dimension. The first of two maps is divided by its outputs and the second by its
# inputs, so that a device computes its heads, or its share of a feed-forward network, alone.
PARAMETER_AXES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"embeddings/word_embeddings", ("vocab", "embed")),
    (r"embeddings/position_embeddings", ("position", "embed")),
    (r"embeddings/token_type_embeddings", ("type", "embed")),
    (r"embeddings/transformation/kernel", ("trigram", "embed")),
    (r"encoder/relative_attention_bias", ("bucket", "heads")),
    (r"layers/(query|key|value)/kernel", ("layer", "embed", "heads")),
    (r"layers/(query|key|value)/bias", ("layer", "heads")),
    (r"layers/attention_output/kernel", ("layer", "heads", "embed")),
    (r"layers/intermediate_\d+/kernel", ("layer", "embed", "mlp")),
    (r"layers/intermediate_\d+/bias", ("layer", "mlp")),
    (r"layers/output_\d+/kernel", ("layer", "mlp", "embed")),
    (r"layers/(input|attention|output)_bottleneck/kernel", ("layer", "embed", "embed")),
    (r"layers/\w+/(bias|scale)", ("layer", "embed")),
    (r"masked_lm/decoder", ("embed", "vocab")),
    (r"masked_lm/bias", ("vocab",)),
    (r"(transform|pooler|next_sentence|classifier|span|(embedding_)?projection)/kernel", ("embed", "output")),
    (r"(bias|scale)", ("embed",)),
)


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh | None:
    """Arranges the devices of all processes; None where there is one device.

    Args:
        config: sizes of the axes.
        devices: other devices than those of this run, such as the ones that a program is only compiled for.

    Raises:
        StageError: the settings ask for too many devices, or leave out the devices of a process.
    """
    count = jax.device_count() if devices is None else len(devices)
    data = config.data or count // config.model
    used = data * config.model
    if used > count or not data or (used < count and jax.process_count() > 1):
        accepted = f"{count} devices, all of them used" if jax.process_count() > 1 else f"at most {count} devices"
        raise StageError(f"MeshConfig.data = {config.data}, MeshConfig.model = {config.model}: expected {accepted}")
    if used == 1:
        return None
    axis_types = (AxisType.Auto,) * 2
    return jax.make_mesh((data, config.model), ("data", "model"), axis_types=axis_types, devices=devices)


def dimension_names(path: str, ndim: int) -> tuple[str, ...] | None:
    """Names of a parameter's dimensions, or None for an array that is no parameter, such as a step counter.

    Args:
        path: names joined by slashes. The optimizer's moments of a parameter end with the parameter's path, and so lie
            where the parameter does.
        ndim: number of dimensions.
    """
    for pattern, names in PARAMETER_AXES:
        if len(names) == ndim and re.search(f"(^|/){pattern}$", path):
            return names
    return None


def partition(sizes: Mapping[str, int], names: tuple[str, ...], shape: tuple[int, ...]) -> PartitionSpec:
    """Mesh axis of each dimension; None for one that is not divided or that its mesh axis does not divide evenly.

    Args:
        sizes: of the mesh axes, by name.
        names: of the dimensions.
        shape: of the array.
    """
    axes = (MESH_AXES.get(name) for name in names)
    return PartitionSpec(*(a if a and n % sizes[a] == 0 else None for a, n in zip(axes, shape, strict=True)))


def shardings(mesh: Mesh, tree: PyTree) -> PyTree:
    """Placement of the leaves of parameters or a training state; a leaf without a rule is whole on every device."""

    def sharding(path: jax.tree_util.KeyPath, leaf: jax.Array | np.ndarray | jax.ShapeDtypeStruct) -> NamedSharding:
        shape = np.shape(leaf)
        names = dimension_names(jax.tree_util.keystr(path, simple=True, separator="/"), len(shape))
        return NamedSharding(mesh, partition(mesh.shape, names, shape) if names else PartitionSpec())

    return jax.tree.map_with_path(sharding, tree)


def _placed(leaf: jax.Array | np.ndarray, sharding: NamedSharding) -> jax.Array:
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    # Every process has the whole value and hands its devices their parts; nothing is sent.
    value = np.asarray(leaf)
    return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index])


def place(mesh: Mesh | None, tree: PyTree) -> PyTree:
    """Puts parameters or a training state, equal in all processes, on the devices of the mesh."""
    if mesh is None:
        return jax.tree.map(jax.numpy.asarray, tree)
    return jax.tree.map(_placed, tree, shardings(mesh, tree))


def shaped(mesh: Mesh | None, shapes: PyTree) -> PyTree:
    """Shapes and dtypes of parameters or a training state, as `place` puts them on the mesh."""
    if mesh is None:
        return shapes
    return jax.tree.map(
        lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), shapes, shardings(mesh, shapes)
    )


def constrain(mesh: Mesh | None, tree: PyTree) -> PyTree:
    """Keeps a training state and its metrics where `place` puts them; for use inside a compiled function."""
    return tree if mesh is None else jax.lax.with_sharding_constraint(tree, shardings(mesh, tree))


def _rows(mesh: Mesh, shape: tuple[int, ...]) -> NamedSharding:
    names = ("batch", *["whole"] * (len(shape) - 1))
    return NamedSharding(mesh, partition(mesh.shape, names, shape))


def own_rows(mesh: Mesh | None, batch_size: int) -> np.ndarray:
    """Lists the rows of a batch that the devices of this process need, rising; all where it cannot be divided."""
    everything = np.arange(batch_size)
    if mesh is None:
        return everything
    parts = _rows(mesh, (batch_size,)).addressable_devices_indices_map((batch_size,)).values()
    return np.unique(np.concatenate([everything[part] for part in parts]))


def place_rows(mesh: Mesh | None, rows: PyTree, batch_size: int) -> PyTree:
    """Makes a batch of the rows that each process read.

    Args:
        mesh: the mesh.
        rows: a tree of host arrays `[len(own_rows), ...]`.
        batch_size: rows over all processes.

    Returns:
        The same tree of arrays `[batch_size, ...]`, divided among the devices.
    """
    if mesh is None:
        return rows

    def whole(part: np.ndarray) -> jax.Array:
        shape = (batch_size, *part.shape[1:])
        return jax.make_array_from_process_local_data(_rows(mesh, shape), part, shape)

    return jax.tree.map(whole, rows)


def divide_rows(mesh: Mesh | None, batch: PyTree) -> PyTree:
    """Divides the first dimension of computed arrays, such as a masked batch, among the devices."""
    if mesh is None:
        return batch
    return jax.tree.map(lambda x: jax.device_put(x, _rows(mesh, x.shape)), batch)


def shaped_rows(mesh: Mesh | None, shapes: PyTree) -> PyTree:
    """Shapes and dtypes of a batch, as `place_rows` and `divide_rows` put it on the mesh."""
    if mesh is None:
        return shapes
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=_rows(mesh, x.shape)), shapes)


def check_batch(mesh: Mesh | None, field: str, batch_size: int) -> None:
    """Refuses a training batch that the mesh cannot divide: every device would compute all of it.

    Raises:
        StageError: one line that names `field`.
    """
    if mesh is not None and batch_size % mesh.shape["data"]:
        raise StageError(f"{field} = {batch_size}: expected a multiple of {mesh.shape['data']}, the mesh's data axis")
