"""JSON as the project reads it from strangers: finite numbers, and every field once."""

from __future__ import annotations

import json
import math
from typing import Any


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, value in pairs:
        if key in fields:
            raise ValueError(f"the field {key!r} is given twice")
        fields[key] = value
    return fields


def strict_json(text: str) -> Any:
    """Reads JSON in which every number is finite and no object gives a field twice.

    Args:
        text: the JSON text. Python's reader alone would take NaN, Infinity and 1e999, and the last of equal fields.

    Returns:
        The decoded value.

    Raises:
        ValueError: the text is something else; the message is one line.
    """
    try:
        return json.loads(text, parse_constant=_finite, parse_float=_finite, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("nested too deeply") from None
