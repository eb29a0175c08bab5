"""The page's data, computed here so that the page itself only sorts, filters and draws."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from benchmark.records.record import LatencyBlock, Record, RecordError
from benchmark.records.same_track import differences
from benchmark.records.task_recipe import STARTED
from benchmark.records.track_settings import COMMON_PARTS
from leaderboard import repeated_runs, run_noise
from leaderboard.columns import COLUMNS
from leaderboard.distributions import distribution
from leaderboard.estimates import Estimate, TaskKey, common_tasks, comparable_averages, estimates, primary_scores
from leaderboard.export import printable
from leaderboard.rank import (
    CONTENDERS,
    LatencyGroup,
    group_reference,
    latency_blocks,
    latency_groups,
    pareto_front,
)
from leaderboard.standings import standings
from leaderboard.titles import own_titles, run_name, system_titles, task_label, training_files

if TYPE_CHECKING:
    from leaderboard.pairing import Pairs

AXES = ("latency", "speedup")
# Differences between the settings of two records that a message names.
_SHOWN_DIFFERENCES = 3
# Fields of a latency block that its group has already, and samples, of which the page gets a summary.
_NOT_SHOWN = {"samples_ns", "reference_samples_ns", *(field.name for field in fields(LatencyGroup))}


@dataclass(frozen=True)
class Quality:
    """One score that the plot can show and ranks can follow; all are percentages, higher is better."""

    key: str
    label: str
    description: str
    family: str


def board_data(
    records: Sequence[Record],
    title: str,
    history: Mapping[str, Any] | None,
    watch: Mapping[str, Any] | None = None,
    pairs: Pairs | None = None,
) -> dict[str, Any]:
    """Computes the data of the page.

    Args:
        records: the records of one track and version.
        title: heading of the page.
        history: a validated search history as plain values, or None.
        watch: what the page of a run that is not finished says of it (`leaderboard.watch.page_data`), with its track;
            there may be no record then.
        pairs: influences of single examples, by record and task, where they are known.

    Returns:
        Plain values, equal for equal records in any order.

    Raises:
        RecordError: no record (without `watch`), records of different tracks or versions, or a record that contradicts
            itself.
    """
    records = sorted(records, key=lambda record: record.id)
    unfinished = watch or {}
    track, version = _one_track(records) if records or watch is None else (watch["track"], watch["track_version"])
    tasks = _task_qualities(records)
    common = common_tasks(records)
    averages = sorted({name for record in records for name in comparable_averages(record)})
    qualities = _qualities(tasks, common, averages)
    repeated = repeated_runs.of_track(records)
    pairs = pairs or {}
    scores = estimates(records, repeated, pairs)
    groups = latency_groups(records)
    references = {group: group_reference(records, group) for group in groups}
    titles = system_titles(records)
    averaged = {"mean": [key.task for key in common]} | {quality.key: [key.task] for key, quality in tasks.items()}
    compared = standings(records, scores, [one.key for one in qualities], pairs, averaged)
    resolutions = {key: one.resolution for key, one in compared.items()}
    if repeated is not None and None in resolutions.values():
        # Before there are two systems to compare, the repeated runs say what will be told apart.
        planned = run_noise.resolutions(repeated, common)
        resolutions = {key: planned.get(key) if least is None else least for key, least in resolutions.items()}
    return {
        "title": printable(title),
        "track": track,
        "track_version": version,
        "embedded_data": track.startswith("micro")
        or bool(unfinished.get("embedded_data"))
        or any(record.provenance.embedded_data for record in records if record.provenance),
        "contenders": sorted(CONTENDERS),
        "devices": _devices(records),
        "columns": [asdict(column) for column in COLUMNS],
        "qualities": [asdict(quality) for quality in qualities],
        "common_tasks": [tasks[key].label for key in common],
        "groups": [
            asdict(group)
            | {
                "key": group.key,
                "reference": references[group],
                "only_a_rank": _is_only_a_rank(records, group),
                "runs": _measuring_runs(records, group),
            }
            for group in groups
        ],
        "rows": [_row(record, titles[record.id], scores[record.id], references) for record in records],
        "places": {key: one.places for key, one in compared.items()},
        "resolutions": resolutions,
        "tests": {key: one.tests for key, one in compared.items()},
        "repeated_runs": 0 if repeated is None else len(repeated.runs),
        "fronts": {group.key: _fronts(records, scores, qualities, group, references[group]) for group in groups},
        "history": history,
        "watch": watch,
    }


def _one_track(records: Sequence[Record]) -> tuple[str, str]:
    if not records:
        raise RecordError("a board needs at least one record")
    tracks = sorted({(record.track, record.track_version) for record in records})
    if len(tracks) > 1:
        names = ", ".join(f"{track} {version}" for track, version in tracks)
        raise RecordError(f"records of different tracks cannot share a board: {names}")
    ids = Counter(record.id.casefold() for record in records)
    for name, count in ids.items():
        if count > 1:
            raise RecordError(f"id = {name!r}: used by {count} records")
    _check_track_settings(records)
    return tracks[0]


def _check_track_settings(records: Sequence[Record]) -> None:
    """Refuses records that have the name of a track in common and not what a track fixes (RULES.md, 1)."""
    made_here = [(record.id, record.provenance) for record in records if record.provenance is not None]
    if any(own.track_settings for _, own in made_here):
        for name, own in made_here:
            if missing := COMMON_PARTS - own.track_settings.keys():
                raise RecordError(
                    f"{name}: provenance.track_settings: without {', '.join(sorted(missing))}, so that nothing says"
                    " whether it is of the track; accepted: a record with the settings of its track"
                )
    for index, (name, own) in enumerate(made_here):
        for other_name, other in made_here[:index]:
            found = list(differences(own, other))
            if found:
                rest = f" and {len(found) - _SHOWN_DIFFERENCES} more" if len(found) > _SHOWN_DIFFERENCES else ""
                raise RecordError(
                    f"{name}: not under the settings of {other_name}, though both name one track:"
                    f" {'; '.join(found[:_SHOWN_DIFFERENCES])}{rest}; accepted: records of equal settings, or another"
                    " RunConfig.track for other ones"
                )


def _is_only_a_rank(records: Iterable[Record], group: LatencyGroup) -> bool:
    """Returns True where a latency of the group is a roofline without a fitted cost of an operation."""
    blocks = (latency_blocks(record).get(group) for record in records)
    return any(block is not None and bool(block.details.get("only_a_rank")) for block in blocks)


def _measuring_runs(records: Iterable[Record], group: LatencyGroup) -> int:
    """Counts the runs whose latencies were measured in a group: at other times, and maybe on other machines."""
    if group.method != "measured":
        return 0
    return len({run_name(record) for record in records if group in latency_blocks(record)})


def _devices(records: Iterable[Record]) -> list[str]:
    """Describes each machine that results come from in one line, the most frequent first."""
    lines = Counter(
        _device_line(record.provenance.device) for record in records if record.provenance and record.provenance.device
    )
    return [printable(line) for line in sorted(lines, key=lambda line: (-lines[line], line))]


def _device_line(device: Mapping[str, Any]) -> str:
    """Describes a machine; fields without a wording here keep their names in the record."""
    rest = {name: value for name, value in sorted(device.items()) if value is not None}
    words = [str(rest.pop("cpu_model"))] if "cpu_model" in rest else []
    if "cpu_usable" in rest:
        words.append(f"{rest.pop('cpu_usable')} cores")
    if isinstance(rest.get("memory_bytes"), int):
        words.append(f"{rest.pop('memory_bytes') / 2**30:.1f} GiB")
    # One process with one device of the platform's kind goes without saying.
    expected = {"device_count": 1, "process_count": 1, "device_kind": rest.get("platform")}
    return ", ".join(words + [f"{name} {value}" for name, value in rest.items() if expected.get(name) != value])


def _task_qualities(records: Sequence[Record]) -> dict[TaskKey, Quality]:
    """Makes a quality of each task score; labels grow until they differ."""
    keys, titles = sorted({key for record in records for key in primary_scores(record)}), own_titles(records)
    files = training_files(records)
    labels = {key: titles.get(key.task) or task_label(key.task) for key in keys}
    parts = {key: f", {PurePath(files[key].name).name}" if key in files else "" for key in keys}
    ends = {key: parts[key] + (f" ({key.variant})" if key.variant else "") for key in keys}
    spellings = {
        key: tuple(
            words + ends[key] for words in (label, f"{label} {key.split}", f"{key.task} {key.split} {key.metric}")
        )
        for key, label in labels.items()
    }
    counts = Counter(spelling for options in spellings.values() for spelling in set(options))
    qualities = {}
    for key in keys:
        label = next((spelling for spelling in spellings[key] if counts[spelling] == 1), key.key)
        description = f"{key.task}, {key.metric} on {key.split}"
        if key in files:
            description += f", trained on {files[key].words}"
        if key.variant:
            description += f", {key.variant}"
        qualities[key] = Quality(key.key, printable(label), printable(description), "task")
    return qualities


def _qualities(tasks: Mapping[TaskKey, Quality], common: Sequence[TaskKey], averages: Sequence[str]) -> list[Quality]:
    names = ", ".join(tasks[key].label for key in common)
    mean = Quality("mean", "Mean score", f"plain mean of the tasks that every system has: {names or 'none'}", "mean")
    masked = Quality(
        "masked_lm_accuracy",
        "Masked-LM accuracy",
        "share of masked tokens predicted correctly in validation text",
        "masked",
    )
    return [
        mean,
        masked,
        *tasks.values(),
        *(Quality(f"average.{name}", printable(name), _average_description(name), "average") for name in averages),
    ]


def _average_description(name: str) -> str:
    known, started, _ = name.partition(STARTED)
    note = ", some tasks having started from the fine-tuned parameters of another one" if started else ""
    return f"average {printable(known)}{note}"


def _fronts(
    records: Sequence[Record],
    scores: Mapping[str, Mapping[str, Estimate]],
    qualities: Sequence[Quality],
    group: LatencyGroup,
    reference: str | None,
) -> dict[str, dict[str, list[str]]]:
    """Computes the front of every pair of axes in one group: axis -> quality -> ids by rising cost."""
    costs: dict[str, dict[str, float]] = {axis: {} for axis in AXES}
    for record in records:
        block = latency_blocks(record).get(group)
        if block is None or record.system.kind not in CONTENDERS:
            continue
        costs["latency"][record.id] = block.latency_s
        if block.speedup is not None and block.reference == reference:
            costs["speedup"][record.id] = -block.speedup
    return {
        axis: {
            quality.key: pareto_front(
                {n: (cost, scores[n][quality.key].value) for n, cost in costs[axis].items() if quality.key in scores[n]}
            )
            for quality in qualities
        }
        for axis in AXES
    }


def _row(
    record: Record, title: str, scores: Mapping[str, Estimate], references: Mapping[LatencyGroup, str | None]
) -> dict[str, Any]:
    value = record.model_dump(mode="json", include={"id", "trust", "tasks", "training", "provenance"})
    for task, scored in zip(value["tasks"], record.tasks, strict=True):
        task["key"] = TaskKey.from_score(scored).key
        for name in ("definition", "training_file"):
            task[name] = _printable(task[name])
    system = record.system.model_dump(mode="json")
    blocks = latency_blocks(record)
    return value | {
        "system": system | {"title": title},
        "scores": {key: _score(estimate) for key, estimate in scores.items()},
        "latency": {group.key: _latency(block, references[group]) for group, block in blocks.items()},
    }


def _score(estimate: Estimate) -> list[float | None]:
    """The value, the interval of the mean over runs, and that of another run."""
    return [estimate.value, *(estimate.interval or (None, None)), *(estimate.run or (None, None))]


def _printable(value: Any) -> Any:
    """Makes every text of a value printable: labels, columns and names of files come from contributors."""
    if isinstance(value, dict):
        return {printable(name): _printable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_printable(item) for item in value]
    return printable(value) if isinstance(value, str) else value


def _latency(block: LatencyBlock, reference: str | None) -> dict[str, Any]:
    value = block.model_dump(mode="json", exclude=_NOT_SHOWN)
    return value | {
        "comparable_speedup": block.speedup is not None and block.reference == reference,
        "distribution": distribution(block.samples_ns, block.reference_samples_ns),
    }
