"""Settings from the JSON that `to_dict` made of them, as a run's folder has it in `config.json`."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from benchmark.config.checks import Checked, ConfigError

Settings = TypeVar("Settings", bound=Checked)


def from_dict(kind: type[Settings], values: Any) -> Settings:
    """Builds settings, and those inside them, from plain values.

    Args:
        kind: their class.
        values: as `to_dict` gives them; fields with a default may be missing.

    Raises:
        ConfigError: a field is unknown or missing, or its class refuses a value.
    """
    name, hints = kind.__name__, typing.get_type_hints(kind)
    if not isinstance(values, Mapping):
        raise ConfigError(name, values, "an object with the fields of this class")
    known = {field.name: field for field in dataclasses.fields(kind)}
    for key in values:
        if key not in known:
            raise ConfigError(f"{name}.{key}", values[key], "one of the fields " + ", ".join(sorted(known)))
    for key, field in known.items():
        if key not in values and field.default is dataclasses.MISSING:
            raise ConfigError(f"{name}.{key}", None, "a value, as this field has no default")
    return kind(**{key: _value(hints[key], value) for key, value in values.items()})


def _value(kind: Any, value: Any) -> Any:
    """Builds the settings in the value of a field; their class checks everything else."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        classes = [option for option in inner if _is_settings(option)]
        return value if value is None or not classes else _value(classes[0], value)
    if origin is tuple and isinstance(value, list):
        return tuple(_value(inner[0], item) for item in value)
    return from_dict(kind, value) if _is_settings(kind) else value


def _is_settings(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Checked)
