"""CSV files of a search: its trials, its front, the importance of its fields, the predictions of its models.

Made from the search history (`benchmark.search.results.history` with its `analysis`), so that the files of a run and
those next to the page are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmark.records.csv_text import csv_text

_SCORES = tuple(name + end for name in ("accuracy", "teacher_agreement", "teacher_kl") for end in ("", "_stderr"))
_OUTCOMES = ("parameters", *_SCORES, "latency_s")


def tables(history: Mapping[str, Any]) -> dict[str, str]:
    """Builds the four files by name; docs/search.md lists their columns.

    Args:
        history: a search history, with or without `analysis`. A missing analysis is an empty cell, or a file with a
            header alone.

    Returns:
        RFC 4180 text for `trials.csv`, `front.csv`, `importance.csv` and `predictions.csv`.
    """
    trials, fields = history["trials"], history["search_fields"]
    analysis = history.get("analysis") or {}
    probability = {row["trial"]: row["probability"] for row in analysis.get("front", ())}
    architecture = [[trial["encoder"][field] for field in fields] for trial in trials]
    outcomes = [[trial.get(name) for name in _OUTCOMES] for trial in trials]
    all_trials = [
        [
            *(trial["trial"], trial["status"], trial["generator"], *values, *found),
            *(int(trial["on_front"]), probability.get(trial["trial"]), trial["hypervolume"], trial.get("steps")),
            *(trial["seconds"], trial.get("suggest_seconds")),
        ]
        for trial, values, found in zip(trials, architecture, outcomes, strict=True)
    ]
    front = sorted(
        (
            [trial["trial"], *values, *found, probability.get(trial["trial"])]
            for trial, values, found in zip(trials, architecture, outcomes, strict=True)
            if trial["on_front"]
        ),
        key=lambda row: row[-2],
    )
    importance = [
        [row["field"], row["first_order"], row["total_order"], row["effect"]]
        for row in analysis.get("importance") or ()
    ]
    by_number = {trial["trial"]: trial for trial in trials}
    score = next(name for name in history["objectives"] if name != "latency")
    predictions = [
        [
            *(model["model"], int(model["proposes"]), row["trial"], by_number[row["trial"]][score]),
            *(by_number[row["trial"]][f"{score}_stderr"], row["mean"], row["stderr"]),
        ]
        for model in analysis.get("predictions", ())
        for row in model["trials"]
    ]
    ends = ["on_front", "front_probability", "hypervolume", "steps", "seconds", "suggest_seconds"]
    observed = ["observed", "observed_stderr", "predicted", "predicted_stderr"]
    return {
        "trials.csv": csv_text(["trial", "status", "generator", *fields, *_OUTCOMES, *ends], all_trials),
        "front.csv": csv_text(["trial", *fields, *_OUTCOMES, "front_probability"], front),
        "importance.csv": csv_text(["field", "first_order", "total_order", "effect"], importance),
        "predictions.csv": csv_text(["model", "proposes", "trial", *observed], predictions),
    }
