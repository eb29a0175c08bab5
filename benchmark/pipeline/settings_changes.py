"""The settings in which a run differs from the one in its folder, in the words of `--dry_run`."""

from __future__ import annotations

import re
from typing import Any

from benchmark.config.differences import MISSING, are_objects, differences
from tasks.system.errors import shown

_DIGEST = re.compile(r"[0-9a-f]{64}")
_MOST = 4
_WIDTH = 48


def changes(old: Any, new: Any) -> str:
    """Names the settings that differ: `seed 0 -> 1`, a few of them and the number of the rest.

    Args:
        old: the settings on which the results in the folder depend, as `to_dict` gives them; None where it has none.
        new: those of this run.

    Returns:
        The words, without line break; '' where nothing differs, or `old` holds no settings.
    """
    every = differences("", old, new) if isinstance(old, dict) else ()
    # A setting that only the folder has is one that this code does not know.
    found = [difference for difference in every if difference[2] is not MISSING]
    words = [f"{_called(name)} {_text(before)} -> {_text(now)}" for name, before, now in found[:_MOST]]
    more = [f"{len(found) - _MOST} more"] if len(found) > _MOST else []
    return ", ".join(words + more)


def _called(name: str) -> str:
    """Says what the digest of a checkpoint is, which nobody has written into the settings."""
    return f"{name} (the content of its files)" if name.endswith("checkpoint.sha256") else name


def _text(value: Any) -> str:
    """Shortens a value: of an object or a list of them only what tells it apart, of a digest the start."""
    if value is MISSING:
        return "(no such setting)"
    if isinstance(value, dict):
        return str(value.get("name") or "(given)")
    if are_objects(value):
        return shown("[" + ", ".join(_text(one) for one in value) + "]", _WIDTH)
    if isinstance(value, str) and _DIGEST.fullmatch(value):
        return f"{value[:12]}..."
    return shown(repr(value), _WIDTH)
