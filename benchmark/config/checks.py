"""Base of every settings class: fields with limits, checks of types and values, canonical JSON and fingerprints.

Each field carries in its metadata its limits (`at_least`, `at_most`, `choices`, `pattern`), which
`Checked.__post_init__` applies to every class alike, and whether results depend on it (`changes_results`). Standard
library only.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import re
import types
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.system.errors import InputError

# The largest seed: jax keeps the low 32 bits of a key's seed, so that larger ones would start alike.
LARGEST_SEED = 2**31 - 1

_VARIABLE = re.compile(r"\$(\w+|\{\w+\})")


class ConfigError(InputError):
    """A setting that cannot be used.

    Attributes:
        selector: `Class.field`, as it is written in a gin file.
        value: the value that was refused.
        accepted: the accepted values, in words.
        unknown: the part of the value that is none of the field's choices, None where that is not the mistake.
        entry: key of the refused entry of a mapping, whose value is then `value`; None otherwise.
    """

    def __init__(
        self, selector: str, value: Any, accepted: str, *, unknown: Any = None, entry: str | None = None
    ) -> None:
        self.selector, self.value, self.accepted, self.unknown, self.entry = selector, value, accepted, unknown, entry
        super().__init__(f"{selector}{self.subscript} = {value!r}: expected {accepted}")

    @property
    def subscript(self) -> str:
        """`['key']` where one entry of a mapping was refused, and nothing otherwise."""
        return "" if self.entry is None else f"[{self.entry!r}]"


class FrozenMapping(Mapping[str, Any]):
    """An immutable mapping of plain values, sorted by name: equal ones have one hash, one text and one pickle."""

    def __init__(self, values: Mapping[str, Any] = types.MappingProxyType({})) -> None:
        """Takes a copy."""
        self._values = dict(sorted(values.items()))

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(tuple(self._values.items()))

    def __repr__(self) -> str:
        return repr(self._values)


def setting(
    default: Any = dataclasses.MISSING,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    choices: Collection[Any] | None = None,
    pattern: str | None = None,
    changes_results: bool = True,
    added: bool = False,
) -> Any:
    """Declares a field with limits; for a tuple field the limits hold for each element.

    For a mapping `choices` are its keys, and the other limits hold for each value.

    Args:
        default: default value; without it the field must be given.
        at_least: smallest accepted number.
        at_most: largest accepted number.
        choices: the accepted values.
        pattern: a regular expression that the whole text must match.
        changes_results: False for a field that no result depends on. It is left out of fingerprints, so that a
            finished run can be continued with another value.
        added: True for a field that came after results had been published. While it has its default, which may never
            change, it is left out of fingerprints, so that those of older results stay what they are.

    Returns:
        A dataclass field.
    """
    metadata = {
        "at_least": at_least,
        "at_most": at_most,
        "choices": tuple(choices) if choices else None,
        "pattern": pattern,
        "changes_results": changes_results,
        "added": added,
    }
    return dataclasses.field(default=default, metadata=metadata)


def _accepted(kind: Any, limits: Mapping[str, Any]) -> str:
    """Describes the values that a field accepts."""
    choices = " in {" + ", ".join(map(str, limits["choices"])) + "}" if limits.get("choices") else ""
    if typing.get_origin(kind) is Mapping:
        name, value = typing.get_args(kind)
        text = f"a mapping from {_describe(name)}{choices} to {_describe(value)}"
    else:
        text = _describe(kind) + choices
    for limit, relation in (("pattern", "matching"), ("at_least", ">="), ("at_most", "<=")):
        if limits.get(limit) is not None:
            text += f" {relation} {limits[limit]}"
    return text


def _fits(
    value: Any, choices: Any = None, pattern: str | None = None, at_least: Any = None, at_most: Any = None
) -> bool:
    """Returns True where a value keeps the limits; None stands for no limit."""
    return (
        (choices is None or value in choices)
        and (pattern is None or re.fullmatch(pattern, value) is not None)
        and (at_least is None or value >= at_least)
        and (at_most is None or value <= at_most)
    )


def _describe(kind: Any) -> str:
    origin = typing.get_origin(kind)
    if origin is tuple:
        return f"a sequence of {_describe(typing.get_args(kind)[0])} values"
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_describe(k) for k in typing.get_args(kind))
    if kind is type(None):
        return "None"
    name: str = kind.__name__
    return f"@{name}()" if dataclasses.is_dataclass(kind) else name


def _coerce(value: Any, kind: Any) -> Any:
    """Converts `value` to `kind`: int to float, a sequence to a tuple.

    Raises:
        TypeError: the value is of another type.
    """
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        for option in typing.get_args(kind):
            try:
                return _coerce(value, option)
            except TypeError:
                continue
        raise TypeError
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise TypeError
        return tuple(_coerce(v, typing.get_args(kind)[0]) for v in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise TypeError from None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError
    if kind is float and not math.isfinite(value):
        raise TypeError
    return value


def _checked(selector: str, value: Any, kind: Any, limits: Mapping[str, Any]) -> Any:
    """Converts the value of a field and applies the limits of the field.

    Raises:
        ConfigError: the value is of another type or outside the limits.
    """
    accepted = _accepted(kind, limits)
    if typing.get_origin(kind) is Mapping and isinstance(value, Mapping):
        return _checked_mapping(selector, value, kind, limits)
    try:
        if typing.get_origin(kind) is Mapping:
            raise TypeError
        value = _coerce(value, kind)
    except TypeError:
        raise ConfigError(selector, value, accepted) from None
    choices, pattern, *ends = (limits.get(name) for name in ("choices", "pattern", "at_least", "at_most"))
    for item in value if isinstance(value, tuple) else (value,):
        if item is not None and not _fits(item, choices, pattern, *ends):
            raise ConfigError(selector, value, accepted, unknown=item)
    return value


def _checked_mapping(selector: str, given: Mapping[Any, Any], kind: Any, limits: Mapping[str, Any]) -> FrozenMapping:
    """Converts a mapping; an error names the entry that was refused."""
    choices, *ends = (limits.get(name) for name in ("choices", "at_least", "at_most"))
    key_kind, item_kind = typing.get_args(kind)
    items = {}
    for key, item in given.items():
        if not isinstance(key, key_kind) or not _fits(key, choices):
            raise ConfigError(selector, given, f"{_accepted(kind, limits)}, without {key!r}", unknown=key)
        try:
            items[key] = _coerce(item, item_kind)
            if not _fits(items[key], None, None, *ends):
                raise TypeError
        except TypeError:
            accepted = ("a finite " if item_kind is float else "a ") + _accepted(item_kind, {**limits, "choices": None})
            raise ConfigError(selector, item, accepted, entry=key) from None
    return FrozenMapping(items)


@dataclass(frozen=True, kw_only=True)
class Checked:
    """Base of all settings classes: every field is checked when an object is made."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            selector, value = f"{type(self).__name__}.{field.name}", getattr(self, field.name)
            object.__setattr__(self, field.name, _checked(selector, value, hints[field.name], field.metadata))
        self.check()

    def check(self) -> None:
        """Checks relations between fields; a class with such relations overrides it."""

    def refuse(self, field: str, accepted: str) -> typing.NoReturn:
        """Raises ConfigError for one of this object's fields."""
        raise ConfigError(f"{type(self).__name__}.{field}", getattr(self, field), accepted)

    def expanded(self, field: str, accepted: str) -> str:
        """Expands the environment variables in the text of a field.

        Raises:
            ConfigError: one of them is not set, or is empty: what is written below it would be looked for elsewhere.
        """
        text = getattr(self, field)
        for name in missing_variables(text):
            state = "empty" if name in os.environ else "not set"
            self.refuse(field, f"{accepted}; the environment variable {name} in it is {state}")
        return os.path.expandvars(text)


def missing_variables(text: str) -> list[str]:
    """Lists the environment variables in a text that are not set, or are empty."""
    names = (name.strip("{}") for name in _VARIABLE.findall(text))
    return [name for name in names if not os.environ.get(name)]


def to_dict(config: Any) -> Any:
    """Turns a configuration into plain dictionaries, lists and scalars, ready for JSON."""
    if dataclasses.is_dataclass(config):
        return {f.name: to_dict(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {name: to_dict(value) for name, value in config.items()}
    return [to_dict(v) for v in config] if isinstance(config, tuple | list) else config


def result_settings(config: Any) -> Any:
    """Turns a configuration into plain values as `to_dict` does, without the fields that change no result.

    Fields that were `added` are left out too where they have their default.
    """
    if dataclasses.is_dataclass(config):
        fields = [f for f in dataclasses.fields(config) if f.metadata.get("changes_results", True)]
        fields = [f for f in fields if not (f.metadata.get("added") and getattr(config, f.name) == f.default)]
        return {f.name: result_settings(getattr(config, f.name)) for f in fields}
    return [result_settings(v) for v in config] if isinstance(config, tuple | list) else config


def canonical_json(value: Any) -> str:
    """Writes JSON with sorted keys and no spaces: equal configurations give equal text on every machine."""
    return json.dumps(to_dict(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def fingerprint(*values: Any) -> str:
    """Computes the SHA-256, in hexadecimal, of the canonical JSON of the `result_settings` of the given values."""
    return hashlib.sha256(canonical_json(result_settings(values)).encode()).hexdigest()
