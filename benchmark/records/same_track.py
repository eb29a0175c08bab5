"""Differences between two records in what their track fixes (`benchmark.records.track_settings`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from benchmark.config import canonical_json
from benchmark.config.differences import MISSING
from benchmark.config.differences import differences as setting_differences

if TYPE_CHECKING:
    from benchmark.records.record import Provenance


def differences(one: Provenance, two: Provenance) -> Iterator[str]:
    """Lists what one record has under other settings than another: place, its value, and the value of the other.

    A part that only one of the two has is no difference, as a published checkpoint has no recipe of the track; nor is a
    file that only one has read. Records without these settings are compared by files and vocabulary.
    """
    for part in sorted(one.track_settings.keys() & two.track_settings.keys()):
        if one.track_settings[part].sha256 != two.track_settings[part].sha256:
            both = (side.track_settings[part].settings for side in (one, two))
            for place, mine, theirs in setting_differences(part, *both):
                yield f"{place} = {_short(mine)} instead of {_short(theirs)}"
    for name in sorted(one.data_digests.keys() & two.data_digests.keys()):
        if one.data_digests[name] != two.data_digests[name]:
            yield f"file {name}: sha256 {one.data_digests[name][:12]} instead of {two.data_digests[name][:12]}"
    both_trained = all("text" in side.track_settings or not side.track_settings for side in (one, two))
    if both_trained and one.vocabulary_digest != two.vocabulary_digest:
        yield f"vocabulary: {one.vocabulary_digest[:12]} instead of {two.vocabulary_digest[:12]}"


def _short(value: Any) -> str:
    if value is MISSING:
        return "nothing"
    text = canonical_json(value)
    return text if len(text) <= 80 else text[:77] + "..."
