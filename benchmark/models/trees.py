"""Types of parameter trees and of trees in general, for annotations."""

from typing import Any, TypeAlias

# Nested dictionaries, names of modules and parameters -> arrays. Dry runs have `jax.ShapeDtypeStruct` as leaves.
Params: TypeAlias = dict[str, Any]
# Any tree of arrays that jax knows: parameters, a batch, or a training state.
PyTree: TypeAlias = Any
