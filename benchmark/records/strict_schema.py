"""Strict JSON and schemas for files from strangers: finite numbers, every field once, no unknown ones."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.system.errors import InputError, nearest, one_line, shown

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Finite = Annotated[float, Field(allow_inf_nan=False)]
# A score; correlations times 100 may be negative.
Percent = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=2**53)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class StrictModel(BaseModel):
    """Base of every schema: unknown fields and other types are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Model = TypeVar("Model", bound=StrictModel)


def validated(model: type[Model], value: object, name: str, error: type[InputError]) -> Model:
    """Validates a decoded JSON value.

    Args:
        model: its schema.
        value: the value.
        name: file name for the message.
        error: raised where the value does not follow the schema; names file, field, value and the accepted values.
    """
    try:
        return model.model_validate(value)
    except ValidationError as refused:
        found = refused.errors()
        # A mistyped name is an unknown field and a missing one: the first says what is in the file.
        first = next((e for e in found if e["type"] == _UNKNOWN), found[0])
        # Names of unknown fields come from the file: control characters in them would reach the reader's terminal.
        field = one_line(".".join(map(str, first["loc"]))) or model.__name__.lower()
        raise error(f"{name}: {field}{_reason(first, found)}") from None


_UNKNOWN, _MISSING = "extra_forbidden", "missing"


def _reason(first: ErrorDetails, found: Sequence[ErrorDetails]) -> str:
    """Words what follows the name of a field that was refused."""
    if first["type"] == _MISSING:
        return " is missing"
    value = f" = {shown(repr(first.get('input')))}"
    if first["type"] != _UNKNOWN:
        return f"{value}: {first['msg']}"
    beside = [str(e["loc"][-1]) for e in found if e["type"] == _MISSING and e["loc"][:-1] == first["loc"][:-1]]
    return f"{value}: unknown field{nearest(str(first['loc'][-1]), beside)}"


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
        ValueError: the text is not such JSON; the message is one line.
    """
    try:
        return json.loads(text, parse_constant=_finite, parse_float=_finite, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("nested too deeply") from None
