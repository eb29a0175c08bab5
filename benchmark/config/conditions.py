"""Relations between the fields of an architecture, written as text and read as data, never run as code."""

from __future__ import annotations

import ast
import functools
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_ARITHMETIC: dict[type, Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_RELATIONS: dict[type, Callable[[int, int], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
ACCEPTED = "a relation such as 'intermediate_size >= 2 * intra_bottleneck_size', with + - * // % and == != < <= > >="


@dataclass(frozen=True)
class Condition:
    """A relation between whole numbers and named fields; `parse` makes it."""

    text: str
    tree: ast.Compare

    def names(self) -> Iterator[str]:
        """Lists the names in the relation."""
        return (node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name))

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Returns True where the relation holds for the values of the fields; a division by zero makes it false."""
        try:
            numbers = [_value(part, values) for part in (self.tree.left, *self.tree.comparators)]
        except ZeroDivisionError:
            return False
        relations = [_RELATIONS[type(op)] for op in self.tree.ops]
        return all(r(a, b) for r, a, b in zip(relations, numbers, numbers[1:], strict=False))


@functools.cache
def parse(text: str) -> Condition:
    """Reads a relation.

    Raises:
        ValueError: the text is no relation; the message names the accepted form.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(ACCEPTED) from None
    if not isinstance(tree, ast.Compare) or not all(type(op) in _RELATIONS for op in tree.ops):
        raise ValueError(ACCEPTED)
    for part in (tree.left, *tree.comparators):
        _check(part)
    return Condition(text, tree)


def _check(node: ast.expr) -> None:
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        _check(node.left)
        _check(node.right)
    elif not (isinstance(node, ast.Name) or (isinstance(node, ast.Constant) and type(node.value) is int)):
        raise ValueError(ACCEPTED)


def _value(node: ast.expr, values: Mapping[str, Any]) -> int:
    if isinstance(node, ast.BinOp):
        return _ARITHMETIC[type(node.op)](_value(node.left, values), _value(node.right, values))
    if isinstance(node, ast.Name):
        return int(values[node.id])
    assert isinstance(node, ast.Constant)
    return int(node.value)  # type: ignore[arg-type]
