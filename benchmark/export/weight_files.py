"""Files of weights in Hugging Face directories: safetensors, shards with their index, and pickles.

`read_tensors` reads their content, `read_headers` the names and shapes alone, which takes no time and no memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.models.hugging_face import CheckpointError
from tasks.system.errors import shown

SINGLE, INDEX, PICKLE = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"

# Bytes of a file's name.
_LONGEST_NAME = 255
# Types that are read: name in numpy and torch -> name in the header of a safetensors file.
_FLOATS = {"float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64"}
_MOST_KEYS = 8


def weight_names(directory: Path) -> list[str]:
    """Names the files that `read_tensors` reads.

    Raises:
        CheckpointError: the index of shards is damaged.
    """
    if (directory / SINGLE).is_file():
        return [SINGLE]
    return [INDEX, *shard_names(directory)] if (directory / INDEX).is_file() else [PICKLE]


def require_weights(directory: Path, allow_pickle: bool) -> None:
    """Refuses a directory without weights, without reading them.

    Raises:
        CheckpointError: it has none, or only a pickle, which is not allowed.
    """
    if (directory / SINGLE).is_file() or (directory / INDEX).is_file():
        return
    pickle = directory / PICKLE
    if not pickle.is_file():
        raise CheckpointError(f"{directory}: no {SINGLE}, {INDEX} or {PICKLE}; one of them is expected")
    if not allow_pickle:
        raise CheckpointError(
            f"{pickle}: is a pickle file; convert it to safetensors, or read it with --allow_pickle (in a run:"
            " CheckpointConfig.allow_pickle = True) if you trust it"
        )


def read_tensors(directory: Path, allow_pickle: bool) -> dict[str, np.ndarray]:
    """Reads all tensors, under their names in the files.

    Raises:
        CheckpointError: a file is missing or damaged, or a tensor is of another type than floating point.
    """
    return _read(directory, allow_pickle, content=True)


def read_headers(directory: Path, allow_pickle: bool) -> dict[str, np.ndarray]:
    """Reads names and shapes of all tensors as `read_tensors` would, without their content.

    A file that is shorter than its header says is found.

    Returns:
        Name -> a view of a single zero that has the shape of the tensor.

    Raises:
        CheckpointError: as in `read_tensors`.
    """
    return _read(directory, allow_pickle, content=False)


def _read(directory: Path, allow_pickle: bool, *, content: bool) -> dict[str, np.ndarray]:
    require_weights(directory, allow_pickle)
    if (directory / SINGLE).is_file():
        return _read_safetensors(directory / SINGLE, content)
    if (directory / INDEX).is_file():
        return _read_shards(directory, content)
    return _read_pickle(directory / PICKLE, content)


def _shape_alone(shape: Any) -> np.ndarray:
    return np.broadcast_to(np.float32(0), tuple(shape))


def _read_safetensors(path: Path, content: bool) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            headers = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
            types = {name: header.get_dtype() for name, header in headers.items()}
            shapes = {name: _shape_alone(header.get_shape()) for name, header in headers.items()}
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: damaged: {error}") from None
    for name, found in types.items():
        if found not in _FLOATS.values() and not name.endswith("_ids"):
            raise CheckpointError(f"{path}: {name} is {_plain_type(found)}; accepted: {', '.join(_FLOATS)}")
    if not content:
        return shapes
    # NumPy's own reader knows no bfloat16.
    from safetensors.flax import load_file

    return {name: np.asarray(tensor) for name, tensor in load_file(path).items()}


def _plain_type(name: str) -> str:
    """Spells out a type of a safetensors header: `I8` is `int8`."""
    words = {"I": "int", "U": "uint"}
    return f"{words[name[0]]}{name[1:]}" if name[0] in words and name[1:].isdecimal() else name.lower()


def _shard_index(directory: Path) -> dict[str, str]:
    """Reads the index of shards: name of a tensor -> name of its file."""
    path = directory / INDEX
    try:
        places: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        names = list(places.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: not an index of shards: {error!r}") from None
    for name in names:
        if not isinstance(name, str) or name in ("", ".", "..") or Path(name).name != name or len(name) > _LONGEST_NAME:
            raise CheckpointError(
                f"{path}: shard {shown(repr(name))}; the name of a file in the folder of the index is expected"
            )
    return places


def shard_names(directory: Path) -> list[str]:
    """Names the files that the index of shards lists.

    Raises:
        CheckpointError: the index is damaged.
    """
    return sorted(set(_shard_index(directory).values()))


def _read_shards(directory: Path, content: bool) -> dict[str, np.ndarray]:
    path, places = directory / INDEX, _shard_index(directory)
    state: dict[str, np.ndarray] = {}
    for name in shard_names(directory):
        if not (directory / name).is_file():
            raise CheckpointError(f"{path}: shard {name!r} is missing; expected in the folder of the index")
        found = _read_safetensors(directory / name, content)
        if elsewhere := sorted(tensor for tensor in found if places.get(tensor, name) != name):
            raise CheckpointError(f"{directory / name}: holds {elsewhere[0]}, which the index has in another shard")
        state |= found
    if differing := sorted(set(state) ^ set(places)):
        raise CheckpointError(f"{path}: index and shards differ in {differing[0]}")
    return state


def _read_pickle(path: Path, content: bool) -> dict[str, np.ndarray]:
    import torch

    try:
        state = torch.load(path, map_location="cpu" if content else "meta", weights_only=True)
    # The reader's errors have no common base; each of them means that the file is not accepted.
    except Exception as error:  # noqa: BLE001
        raise CheckpointError(f"{path}: damaged, or more than tensors ({type(error).__name__})") from None
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{path}: holds a {type(state).__name__}; a dictionary of tensors is expected")
    tensors = _tensors_of(path, state)
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() and not name.endswith("_ids"):
            dtype = str(tensor.dtype).removeprefix("torch.")
            raise CheckpointError(f"{path}: {name} is {dtype}; accepted: {', '.join(_FLOATS)}")
    if content:
        return {name: tensor.detach().float().numpy() for name, tensor in tensors.items()}
    return {name: _shape_alone(tensor.shape) for name, tensor in tensors.items()}


def _tensors_of(path: Path, state: Mapping[Any, Any]) -> Mapping[str, Any]:
    """Finds the named tensors of a pickle: it is a dictionary of them, or a training state that holds exactly one.

    Raises:
        CheckpointError: it holds none or several; the message names the keys.
    """
    if _named_tensors(state):
        return state
    found = [key for key, value in state.items() if isinstance(value, Mapping) and _named_tensors(value)]
    if len(found) == 1:
        inner: Mapping[str, Any] = state[found[0]]
        return inner
    keys = [shown(repr(key), 40) for key in state]
    more = f" and {len(keys) - _MOST_KEYS} more" if len(keys) > _MOST_KEYS else ""
    several = f", and {len(found)} of them are dictionaries of tensors" if found else ""
    raise CheckpointError(
        f"{path}: has the keys {', '.join(keys[:_MOST_KEYS]) or '(none)'}{more}{several}; names of tensors are"
        " expected, or a training state with one dictionary of tensors, as {'model': ..., 'epoch': 3}"
    )


def _named_tensors(values: Mapping[Any, Any]) -> bool:
    """Returns True for a dictionary of nothing but tensors, by name."""
    import torch

    return bool(values) and all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in values.items())
