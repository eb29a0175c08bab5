"""Runs that grow: changed settings with which the run of a folder goes on, because all that is done stays as it is.

More trials, found students, seeds, tasks or baselines add to a run. Every stage keeps what it has (its fingerprints
name what each part depends on), and the records are made anew: they are those of a fresh run of the new settings.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

# What is compared by itself below.
_GROWING = (
    *(("search", "num_trials"), ("search", "num_found")),
    *(("distill", "seeds"), ("finetune", "seeds"), ("finetune", "epochs"), ("finetune", "recipes")),
    *(("data", "tasks"), ("data", "own_tasks")),
    *(("baselines",), ("untrained_control",)),
)


def grows(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Tells if a run of the settings `after` only adds to one of the settings `before`.

    Args:
        before: settings of a RunConfig, without the fields that change no result, as JSON has them.
        after: likewise.
    """
    if _fixed(before) != _fixed(after):
        return False
    if before["search"] is not None and any(
        before["search"][n] > after["search"][n] for n in ("num_trials", "num_found")
    ):
        return False
    return (
        # The first seeds stay the first: a student learns its tasks from the teacher of that seed, and is exported.
        all(two[: len(one)] == one for one, two in (_seeds(before, after, part) for part in ("distill", "finetune")))
        and before["untrained_control"] in ("", after["untrained_control"])
        and _holds(_epochs(after), _epochs(before))
        and _holds(_recipes(after), _recipes(before))
        and all(_holds(_by_name(two), _by_name(one)) for one, two in _lists(before, after))
    )


def _fixed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings without those that may grow."""
    fixed = copy.deepcopy(dict(settings))
    for *parts, name in _GROWING:
        part = fixed
        for step in parts:
            part = part[step] or {}
        part.pop(name, None)
    return fixed


def _seeds(before: Mapping[str, Any], after: Mapping[str, Any], part: str) -> tuple[list[int], list[int]]:
    # Settings leave the distillation's out where they have their default.
    one, two = ((settings[part] or {}).get("seeds", [0]) for settings in (before, after))
    return one, two


def _lists(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    return [(before["baselines"], after["baselines"]), (before["data"]["own_tasks"], after["data"]["own_tasks"])]


def _by_name(items: list[Any]) -> dict[str, Any]:
    return {item["name"]: item for item in items}


def _epochs(settings: Mapping[str, Any]) -> dict[str, float]:
    """Returns the epochs of each task."""
    tasks, epochs = settings["data"]["tasks"], settings["finetune"]["epochs"]
    return dict(zip(tasks, epochs if len(epochs) > 1 else epochs * len(tasks), strict=True))


def _recipes(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the recipe of each task; None for those that have none of their own."""
    own = {recipe["task"]: recipe for recipe in settings["finetune"].get("recipes", ())}
    return {task: own.get(task) for task in settings["data"]["tasks"]}


def _holds(whole: Mapping[str, Any], part: Mapping[str, Any]) -> bool:
    return all(name in whole and whole[name] == value for name, value in part.items())
