"""The settings in which two configurations differ, as plain values, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# Stands for the value of a field that one of the two lacks.
MISSING = object()


def differences(name: str, one: Any, two: Any) -> Iterator[tuple[str, Any, Any]]:
    """Walks down two trees of plain values to the fields that differ.

    Args:
        name: place of the two trees, '' for whole configurations.
        one: plain values, in the form of `to_dict`.
        two: likewise.

    Yields:
        Place, such as `finetune.epochs` or `baselines[0].name`, and both values. Lists of objects are compared one by
        one where they are equally long, and as a whole otherwise.
    """
    if isinstance(one, dict) and isinstance(two, dict):
        for key in {**two, **one}:
            yield from differences(f"{name}.{key}".removeprefix("."), one.get(key, MISSING), two.get(key, MISSING))
    elif are_objects(one) and are_objects(two) and len(one) == len(two):
        for index, (mine, theirs) in enumerate(zip(one, two, strict=True)):
            yield from differences(f"{name}[{index}]", mine, theirs)
    elif one != two:
        yield name, one, two


def are_objects(value: Any) -> bool:
    """Returns True for a list of objects."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)
