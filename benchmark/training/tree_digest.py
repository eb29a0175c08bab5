"""The digest of a tree of arrays: equal digests stand for equal names, types, shapes and bits."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import jax
import numpy as np

if TYPE_CHECKING:
    from benchmark.models.trees import PyTree


def tree_digest(tree: PyTree) -> str:
    """Computes the SHA-256, in hexadecimal, of the names, types, shapes and bytes of a tree of arrays.

    Args:
        tree: dictionaries of dictionaries, down to arrays (or None); arrays on a device are fetched.
    """
    digest = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(tree):
        array = np.asarray(jax.device_get(leaf))
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
