"""The search space: points as values of the searched fields, validity, canonical identity, enumeration."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping

from benchmark.config import ConfigError, EncoderConfig, SearchSpace, fingerprint

Point = Mapping[str, int]


def searched_fields(space: SearchSpace) -> tuple[str, ...]:
    """Returns the names of the fields with more than one value; the others are constants of the track."""
    return tuple(name for name in space.FIELDS if len(getattr(space, name)) > 1)


def decode(space: SearchSpace, point: Point) -> EncoderConfig:
    """Returns the architecture of a point, which has a value for each searched field.

    Raises:
        ConfigError: the values contradict each other, for example heads that do not divide the width.
    """
    constants = {name: getattr(space, name)[0] for name in space.FIELDS}
    return dataclasses.replace(space.base, **{**constants, **point})


def encode(space: SearchSpace, encoder: EncoderConfig) -> Point:
    """Returns the point of an architecture: its values of the searched fields."""
    return {name: getattr(encoder, name) for name in searched_fields(space)}


def decode_if_valid(space: SearchSpace, point: Point) -> EncoderConfig | None:
    """Returns the architecture of a point; None where its values contradict each other or a condition is not met."""
    try:
        encoder = decode(space, point)
    except ConfigError:
        return None
    return encoder if space.allows(encoder) else None


def combinations(space: SearchSpace) -> int:
    """Counts the combinations of values, those that are no architecture included."""
    return math.prod(len(getattr(space, name)) for name in searched_fields(space))


def enumerate_points(space: SearchSpace) -> list[Point]:
    """Lists all valid points, in the order of the fields."""
    names = searched_fields(space)
    points = [
        dict(zip(names, values, strict=True)) for values in itertools.product(*(getattr(space, n) for n in names))
    ]
    return [point for point in points if is_valid(space, point)]


def is_valid(space: SearchSpace, point: Point) -> bool:
    """Returns True where the point is an architecture of the space."""
    return decode_if_valid(space, point) is not None


def architecture_hash(encoder: EncoderConfig) -> str:
    """Returns the canonical identity of an architecture: equal architectures are one trial."""
    return fingerprint(encoder)[:16]
