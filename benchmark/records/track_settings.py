"""The settings that a track fixes, in every record: records are ranked together only where these are equal.

The name of a track promises them, their digests show them (RULES.md, 1). What a search may choose, the tasks that a run
scores (each score is compared by itself), the seeds, and how a machine carries a run out are not among them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from benchmark.config import RunConfig, canonical_json, fingerprint
from benchmark.config.checks import result_settings
from benchmark.records.strict_schema import StrictModel

# Fields of DataConfig that decide how a row of a task is made, and those that are compared in another way: digests of
# files and of the vocabulary, the rows of text, and the tasks with their training files, each of which is compared by
# itself.
_TASK_ROWS = ("task_length", "span_length", "span_stride", "max_query_length", "on_bad_row")
_NOT_OF_THE_TEXT = (
    *("source", "directory", "microworld_seed", "microworld_scale", "tasks", "own_tasks", "train_files"),
    *("vocabulary", "checkpoint", "pretrain_corpora", "pretrain_validation"),
)
# Fields of FinetuneConfig on which the score of a seed does not depend.
_FREE_FINETUNING = ("seeds", "write_nbest")


# Parts that every record of a run has.
COMMON_PARTS = frozenset({"task_rows", "finetuning", "latency", "numerics"})


class TrackSettings(StrictModel):
    """One part of what a track fixes: the settings, and the SHA-256 of their canonical JSON."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    settings: dict[str, Any]

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> TrackSettings:
        """Adds the digest to some settings, in which tuples become lists as in JSON."""
        plain = json.loads(canonical_json(settings))
        return cls(sha256=fingerprint(plain), settings=plain)

    @model_validator(mode="after")
    def _digest_fits(self) -> TrackSettings:
        if self.sha256 != fingerprint(self.settings):
            raise ValueError("sha256 is not the digest of settings")
        return self


def track_settings(config: RunConfig, text_rows: Mapping[str, str], *, trained: bool) -> dict[str, TrackSettings]:
    """Collects what the settings of a run fix for one of its systems.

    Args:
        config: the settings.
        text_rows: names of the arrays of text by split, each of which stands for its content.
        trained: False for a published checkpoint, which brings its own vocabulary and was trained elsewhere.

    Returns:
        The settings by part: `task_rows`, `finetuning`, `latency`, `numerics` and, for a system of this run's training,
        `text`, `teacher` and `recipe`.
    """
    data = result_settings(config.data)
    parts: dict[str, Any] = {
        "task_rows": {name: data[name] for name in _TASK_ROWS},
        "finetuning": _without(result_settings(config.finetune), _FREE_FINETUNING),
        "latency": result_settings(config.latency),
        "numerics": {
            "numerics": config.numerics,
            "reduction_threads": config.reduction_threads,
            "compute_dtype": config.trainer.compute_dtype,
        },
    }
    if trained:
        parts["text"] = _without(data, (*_TASK_ROWS, *_NOT_OF_THE_TEXT)) | {"rows": dict(text_rows)}
        parts["teacher"] = result_settings(config.teacher)
        recipe = result_settings(config.distill)
        parts["recipe"] = None if recipe is None else _without(recipe, ("seeds",))
    return {name: TrackSettings.of(settings) for name, settings in parts.items() if settings is not None}


def _without(settings: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in names}
