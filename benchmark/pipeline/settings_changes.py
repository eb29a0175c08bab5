"""The settings in which a run differs from the one in its folder, in the words of `--dry_run`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from benchmark.config import RunConfig, to_dict
from benchmark.config.checks import result_settings
from tasks.system.errors import shown

_MISSING = object()
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MOST = 4
_WIDTH = 48


def changes(old: Any, config: RunConfig) -> str:
    """Names the settings that change results and differ: `seed 0 -> 1`, a few of them and the number of the rest.

    Args:
        old: the settings in the folder, as `to_dict` wrote them.
        config: those of this run.

    Returns:
        The words, without line break; '' where nothing differs, or `old` holds no settings.
    """
    found = list(_changes("", old, result_settings(config))) if isinstance(old, dict) else []
    words = [f"{_called(name)} {_text(before)} -> {_text(now)}" for name, before, now in found[:_MOST]]
    more = [f"{len(found) - _MOST} more"] if len(found) > _MOST else []
    return ", ".join(words + more)


def _changes(name: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yields name, old and new value of each setting that differs.

    Names that only the old settings have are passed over: no result depends on them, or this code has none of them.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key, value in new.items():
            yield from _changes(f"{name}.{key}".removeprefix("."), old.get(key, _MISSING), value)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new) and _of_dicts(old) and _of_dicts(new):
        for i, (before, now) in enumerate(zip(old, new, strict=True)):
            yield from _changes(f"{name}[{i}]", before, now)
    elif old != (plain := to_dict(new)):
        yield name, old, plain


def _called(name: str) -> str:
    """Says what the digest of a checkpoint is, which nobody has written into the settings."""
    return f"{name} (the content of its files)" if name.endswith("checkpoint.sha256") else name


def _of_dicts(values: list[Any]) -> bool:
    return all(isinstance(value, dict) for value in values)


def _text(value: Any) -> str:
    """Shortens a value: of an object or a list of them only what tells it apart, of a digest the start."""
    if value is _MISSING:
        return "(no such setting)"
    if isinstance(value, dict):
        return str(value.get("name") or "(given)")
    if isinstance(value, list) and value and _of_dicts(value):
        return shown("[" + ", ".join(_text(one) for one in value) + "]", _WIDTH)
    if isinstance(value, str) and _DIGEST.fullmatch(value):
        return f"{value[:12]}..."
    return shown(repr(value), _WIDTH)
