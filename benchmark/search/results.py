"""Results of a search: its history for the page, and the students that are distilled in full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmark.config import EncoderConfig, SearchConfig, to_dict
from benchmark.hardware.estimates import is_only_a_rank
from benchmark.search import pareto
from benchmark.search.space import architecture_hash, decode, searched_fields
from tasks.system.errors import StageError

if TYPE_CHECKING:
    from benchmark.search.journal import Trial

# Masked-LM scores of a trial that its history has, whichever of them is the objective.
SCORES = tuple(name + end for name in ("accuracy", "teacher_agreement", "teacher_kl") for end in ("", "_stderr"))


def history(
    config: SearchConfig, trials: list[Trial], track: str, method: str = "roofline", machine: str = ""
) -> dict[str, Any]:
    """Returns the search as the page shows it: trials, front, hypervolume after each trial, method of latency.

    Args:
        config: space, algorithm, thresholds.
        trials: the trials.
        track: name of the track.
        method: method of the latencies.
        machine: where they were measured; '' for estimates, which are of the search's chip.
    """
    completed = [t for t in trials if t.status == "completed"]
    front = pareto.non_dominated([(t.result[config.outcome], t.result["latency_s"]) for t in completed])
    on_front = {t.number for t, member in zip(completed, front, strict=True) if member}
    rows, seen = [], []
    for trial in trials:
        if trial.status == "completed":
            seen.append((trial.result[config.outcome], trial.result["latency_s"]))
        rows.append(
            {
                "trial": trial.number,
                "status": trial.status,
                "generator": trial.generator,
                "encoder": to_dict(decode(config.space, trial.point)),
                "parameters": trial.result["parameters"],
                **{name: trial.result.get(name) for name in SCORES},
                "latency_s": trial.result["latency_s"],
                "on_front": trial.number in on_front,
                "hypervolume": pareto.hypervolume(seen, config.accuracy_threshold, config.latency_threshold_s),
                "steps": trial.result.get("steps"),
                "seconds": trial.result["seconds"],
                "suggest_seconds": trial.result["suggest_seconds"],
            }
        )
    objectives = {
        config.outcome: {"unit": "percent", "direction": "maximize", "threshold": config.accuracy_threshold},
        "latency": {
            "unit": "s",
            "direction": "minimize",
            "threshold": config.latency_threshold_s,
            "method": method,
            "chip": machine or config.chip.name,
            **({"only_a_rank": True} if is_only_a_rank(method, config.chip) else {}),
        },
    }
    return {
        "schema_version": 1,
        "track": track,
        "algorithm": config.algorithm,
        "objectives": objectives,
        "search_fields": list(searched_fields(config.space)),
        "trials": rows,
    }


def found_systems(config: SearchConfig, trials: list[Trial]) -> list[tuple[str, EncoderConfig]]:
    """Chooses the students that are distilled in full: front members, those that add most hypervolume first.

    Returns:
        At most `num_found` pairs of name (`found-<hash>`) and architecture; fewer where the front is smaller.

    Raises:
        StageError: no trial completed.
    """
    completed = [t for t in trials if t.status == "completed"]
    if not completed:
        raise StageError("search: no trial completed, nothing to distil")
    points = [(t.result[config.outcome], t.result["latency_s"]) for t in completed]
    front = [t for t, member in zip(completed, pareto.non_dominated(points), strict=True) if member]
    chosen: list[Trial] = []
    while front and len(chosen) < config.num_found:
        base = [(t.result[config.outcome], t.result["latency_s"]) for t in chosen]

        def gain(trial: Trial, base: list[tuple[float, float]] = base) -> float:
            point = (trial.result[config.outcome], trial.result["latency_s"])
            volume = pareto.hypervolume([*base, point], config.accuracy_threshold, config.latency_threshold_s)
            return round(volume, pareto.DECIMALS)

        # Of equal ones the first that was tried.
        best = max(front, key=gain)
        front.remove(best)
        chosen.append(best)
    encoders = [decode(config.space, t.point) for t in chosen]
    return [(f"found-{architecture_hash(e)[:8]}", e) for e in encoders]
