"""Differences between two records in what their track fixes (`benchmark.records.track_settings`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from benchmark.config import canonical_json

if TYPE_CHECKING:
    from benchmark.records.record import Provenance

_MISSING = "nothing"


def differences(one: Provenance, two: Provenance) -> Iterator[str]:
    """Lists what one record has under other settings than another: place, its value, and the value of the other.

    A part that only one of the two has is no difference, as a published checkpoint has no recipe of the track; nor is a
    file that only one has read. Records without these settings are compared by files and vocabulary.
    """
    for part in sorted(one.track_settings.keys() & two.track_settings.keys()):
        if one.track_settings[part].sha256 != two.track_settings[part].sha256:
            yield from _different(part, one.track_settings[part].settings, two.track_settings[part].settings)
    for name in sorted(one.data_digests.keys() & two.data_digests.keys()):
        if one.data_digests[name] != two.data_digests[name]:
            yield f"file {name}: sha256 {one.data_digests[name][:12]} instead of {two.data_digests[name][:12]}"
    both_trained = all("text" in side.track_settings or not side.track_settings for side in (one, two))
    if both_trained and one.vocabulary_digest != two.vocabulary_digest:
        yield f"vocabulary: {one.vocabulary_digest[:12]} instead of {two.vocabulary_digest[:12]}"


def _different(place: str, one: Any, two: Any) -> Iterator[str]:
    """Walks down two settings to the fields that differ."""
    if isinstance(one, dict) and isinstance(two, dict):
        for name in sorted(one.keys() | two.keys()):
            yield from _different(f"{place}.{name}", one.get(name, _MISSING), two.get(name, _MISSING))
    elif isinstance(one, list) and isinstance(two, list) and len(one) == len(two) and any(map(_nested, one)):
        for index, (mine, theirs) in enumerate(zip(one, two, strict=True)):
            yield from _different(f"{place}[{index}]", mine, theirs)
    elif one != two:
        yield f"{place} = {_short(one)} instead of {_short(two)}"


def _nested(value: Any) -> bool:
    return isinstance(value, dict)


def _short(value: Any) -> str:
    text = canonical_json(value)
    return text if len(text) <= 80 else text[:77] + "..."
