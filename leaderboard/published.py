"""The page of published systems: scores that publications report, beside latencies that were obtained here.

The two never merge: each column says whose its numbers are. Scores are comparable where task or average, split and
metric are the same, latencies inside one group (`leaderboard.rank.LatencyGroup`).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.records.csv_text import csv_text
from benchmark.records.record import Record, RecordError, ReportedScore
from leaderboard.build import render
from leaderboard.export import printable, records_json
from leaderboard.rank import LatencyGroup, latency_blocks, latency_groups, pareto_front
from tasks.catalogue import TASKS
from tasks.scoring.averages import AVERAGES
from tasks.system.atomic_write import write_text

if TYPE_CHECKING:
    from benchmark.records.csv_text import Cell
    from benchmark.records.record import LatencyBlock

AXES = ("latency", "speedup")
_FAMILIES = ("average", "task", "masked_lm")
_METRICS = {"f1": "F1", "exact_match": "exact match", "matthews": "Matthews correlation"}
# The address at the end of a source.
_ADDRESS = re.compile(r",?\s*https://\S+$")
# Above this share of a core, other programs make a latency doubtful.
_QUIET = 0.25


def score_key(score: ReportedScore) -> str:
    """Returns the text that names what a reported score measures, in addresses and files.

    Scores of one key are comparable. Averages of unknown definition, and masked-LM accuracies, which are of texts of
    their own, are so inside one source only: its digest is part of the key.
    """
    parts = [score.family, score.name, score.split, score.metric]
    if _of_one_source(score):
        parts.append(hashlib.sha256(score.source.encode()).hexdigest()[:8])
    return ".".join(part for part in parts if part)


def _of_one_source(score: ReportedScore) -> bool:
    return score.family == "masked_lm" or (score.family == "average" and score.name not in AVERAGES)


def build_published(records: Sequence[Record], out: Path, *, title: str) -> Path:
    """Writes `index.html`, `scores.csv`, `latencies.csv` and `records.json`.

    Args:
        records: records of kind `reported`.
        out: folder to write to; it is created if missing.
        title: heading of the page.

    Returns:
        Path of the page.

    Raises:
        RecordError: there is no record, or one of another kind.
    """
    data = published_data(records, title)
    records = sorted(records, key=lambda record: record.id)
    write_text(out / "scores.csv", scores_csv(records))
    write_text(out / "latencies.csv", latencies_csv(records))
    write_text(out / "records.json", records_json(records))
    write_text(out / "index.html", render(data, "published.html", "published.js"))
    return out / "index.html"


def published_data(records: Sequence[Record], title: str) -> dict[str, Any]:
    """Computes the data of the page.

    Raises:
        RecordError: there is no record, or one of another kind.
    """
    if not records:
        raise RecordError("a page of published systems needs at least one record")
    for record in records:
        if record.system.kind != "reported":
            raise RecordError(f"{record.id}: system.kind = {record.system.kind!r}: expected 'reported'")
    records = sorted(records, key=lambda record: record.id)
    groups = latency_groups(records)
    here = [group for group in groups if group.method != "reported"]
    rows = [_row(record, records, groups) for record in records]
    qualities = _qualities(records, {row["id"] for row in rows if any(g.key in row["latency"] for g in here)})
    return {
        "title": printable(title),
        "qualities": qualities,
        "costs": [_cost(group, records) for group in groups],
        "rows": rows,
        "fronts": {
            axis: {group.key: {q["key"]: _front(rows, axis, group.key, q["key"]) for q in qualities} for group in here}
            for axis in AXES
        },
        "machines": _lines(_machine(record) for record in records),
        "protocols": _lines(_protocol(record) for record in records),
        "commits": _lines(_commit(record) for record in records),
        "absent": _absent(records),
        "disturbed": _disturbed(records),
    }


def _lines(texts: Iterable[str | None]) -> list[str]:
    """Counts descriptions; returns them with the most frequent first."""
    counts = Counter(printable(text) for text in texts if text)
    return sorted(counts, key=lambda text: (-counts[text], text))


def _machine(record: Record) -> str | None:
    if record.measurement is None:
        return None
    device, versions = record.measurement.device, record.measurement.versions
    memory = device.get("memory_bytes")
    words = [f"{device.get('cpu_model') or 'unknown processor'}, {device.get('cpu_usable')} cores"]
    if device.get("chip") not in (None, device.get("cpu_model")):
        words.append(str(device["chip"]))
    if isinstance(memory, int):
        words.append(f"{memory / 2**30:.0f} GiB")
    return "; ".join([", ".join(words), ", ".join(f"{name} {version}" for name, version in versions.items())])


def _protocol(record: Record) -> str | None:
    if record.measurement is None:
        return None
    settings = record.measurement.settings
    count = settings.get("processes")
    return (
        f"{count} fresh process{'' if count == 1 else 'es'}, in which each system alternates with "
        f"{settings.get('reference_name')} for {settings.get('min_seconds')} to {settings.get('max_seconds')} s"
    )


def _commit(record: Record) -> str | None:
    if record.measurement is None:
        return None
    return record.measurement.git_commit[:12] + (" (with uncommitted changes)" if record.measurement.git_dirty else "")


def _absent(records: Sequence[Record]) -> list[str]:
    """Says, once for each reason, which systems have no latency by a runtime or a chip."""
    systems: dict[tuple[str, str], list[str]] = {}
    measured = [record for record in records if record.measurement is not None]
    for record in measured:
        assert record.measurement is not None
        for what, why in record.measurement.absent.items():
            systems.setdefault((what, why), []).append(record.system.title)
    return [
        printable(f"No latency by {what} of {'any system' if len(names) == len(measured) else ', '.join(names)}: {why}")
        for (what, why), names in sorted(systems.items())
    ]


def _disturbed(records: Sequence[Record]) -> list[str]:
    """Lists the systems during whose measurement other programs were busy, with the cores that they took."""
    found = {}
    for record in records:
        shares = [block.details.get("other_cores") for block in record.latency if block.method == "measured"]
        busiest = max((share for share in shares if isinstance(share, int | float)), default=0.0)
        if busiest > _QUIET:
            found[record.system.title] = busiest
    if len(found) > 1 and len(found) == sum(record.measurement is not None for record in records):
        return [f"every system (up to {max(found.values()):.1f} cores)"]
    return [printable(f"{title} ({cores:.1f} cores)") for title, cores in sorted(found.items())]


def _qualities(records: Sequence[Record], measured: set[str]) -> list[dict[str, Any]]:
    """Describes everything that is reported: averages first, and what most of the measured systems have first."""
    examples = {score_key(score): score for record in records for score in record.reported}
    counts = Counter(key for r in records if r.id in measured for key in {score_key(score) for score in r.reported})
    ordered = sorted(examples, key=lambda key: (_FAMILIES.index(examples[key].family), -counts[key], key))
    return [_quality(key, examples[key]) | {"count": counts[key]} for key in ordered]


def _quality(key: str, score: ReportedScore) -> dict[str, Any]:
    metric = _METRICS.get(score.metric or "", score.metric or "")
    split = "split not stated" if score.split == "unknown" else score.split
    source = _ADDRESS.sub("", score.source)
    if score.family == "average" and score.name in AVERAGES:
        label, about = f"GLUE average {score.name}", AVERAGES[score.name].description
    elif score.family == "average":
        label, about = f"GLUE average of unknown definition ({source})", "its definition is not stated"
    elif score.family == "task":
        title = TASKS[score.name].title if score.name in TASKS else score.name
        label, about = f"{title} {metric}", score.name
    else:
        label, about = (
            f"Masked-LM {metric} ({source})",
            "share of masked tokens predicted correctly, on a text of its own",
        )
    return {
        "key": key,
        "family": "one_source" if _of_one_source(score) else score.family,
        "label": printable(f"{label}, {split}"),
        "name": printable(label),
        "split": split,
        "description": printable(about),
    }


def _cost(group: LatencyGroup, records: Sequence[Record]) -> dict[str, Any]:
    """Describes a latency group, with its label on the page and whose its numbers are."""
    whose = {"measured": "measured here", "compiled": "compiled here", "roofline": "estimated here"}
    runtimes = {"xla": "XLA", "onnxruntime": "ONNX Runtime"}
    where = runtimes.get(group.runtime, group.runtime) or group.chip.replace("_", " ").replace("tpu", "TPU")
    threads = f", {group.threads} threads" if group.threads else ""
    shape = f"batch {group.batch_size}, length {group.sequence_length}, {group.dtype}"
    reference = _reference(_blocks(records, group)) or _reference(b for record in records for b in record.latency)
    return asdict(group) | {
        "key": group.key,
        "label": printable(where),
        "whose": whose.get(group.method, "reported"),
        "description": printable(f"{group.method} on {group.chip}{threads}, {shape}"),
        "reference": next((printable(r.system.title) for r in records if r.system.name == reference), reference),
    }


def _blocks(records: Iterable[Record], group: LatencyGroup) -> list[LatencyBlock]:
    return [block for record in records if (block := latency_blocks(record).get(group)) is not None]


def _reference(blocks: Iterable[LatencyBlock]) -> str | None:
    """Returns the name of the most frequent reference."""
    names = Counter(block.reference for block in blocks if block.reference)
    return min(names, key=lambda name: (-names[name], name)) if names else None


def _row(record: Record, records: Sequence[Record], groups: Sequence[LatencyGroup]) -> dict[str, Any]:
    scores: dict[str, list[dict[str, Any]]] = {}
    for score in record.reported:
        entry = {"value": score.value, "source": printable(score.source), "note": printable(score.note)}
        scores.setdefault(score_key(score), []).append(entry)
    system, own = record.system, latency_blocks(record)
    return {
        "id": record.id,
        "title": printable(system.title),
        "parameters": system.parameters,
        "counted": system.encoder is not None,
        "scores": scores,
        "latency": {g.key: _latency(record, own[g], _speedup(own[g], g, records)) for g in groups if g in own},
    }


def _speedup(block: LatencyBlock, group: LatencyGroup, records: Sequence[Record]) -> float | None:
    """Returns the speed-up over the reference; where it was not timed in turn, the ratio of the two latencies.

    That of the reference itself is 1, and not the ratio of its two series.
    """
    if block.method == "reported":
        return None
    blocks = _blocks(records, group)
    if (own := _reference(blocks)) is not None:
        return block.speedup if block.reference == own else None
    name = _reference(b for record in records for b in record.latency)
    other = next((latency_blocks(record).get(group) for record in records if record.system.name == name), None)
    return other.latency_s / block.latency_s if other is not None else None


def _latency(record: Record, block: LatencyBlock, speedup: float | None) -> dict[str, Any]:
    is_reference = block.reference == record.system.name
    source = block.details.get("source")
    owner = block.details.get("measured_as")
    return {
        "latency_s": block.latency_s,
        "is_reference": is_reference,
        "speedup": 1.0 if is_reference else speedup,
        "speedup_interval": block.speedup_interval if speedup == block.speedup and not is_reference else None,
        "measured_as": printable(str(owner)) if owner else None,
        "source": printable(str(source)) if source else None,
    }


def _front(rows: Sequence[Mapping[str, Any]], axis: str, cost: str, quality: str) -> list[str]:
    """Computes the front of the systems that have both numbers; of several sources the first counts."""
    points = {}
    for row in rows:
        if cost in row["latency"] and quality in row["scores"]:
            latency = row["latency"][cost]
            speedup = latency["speedup"]
            value = latency["latency_s"] if axis == "latency" else None if speedup is None else -speedup
            points[row["id"]] = (value, row["scores"][quality][0]["value"])
    return pareto_front(points)


def scores_csv(records: Sequence[Record]) -> str:
    """Writes one line for each reported score, as CSV."""
    header = ["system", "title", "family", "name", "split", "metric", "value", "source", "note"]
    lines: list[list[Cell]] = [
        [r.system.name, r.system.title, s.family, s.name, s.split, s.metric, s.value, s.source, s.note]
        for r in records
        for s in r.reported
    ]
    return csv_text(header, lines)


def latencies_csv(records: Sequence[Record]) -> str:
    """Writes one line for each latency, as CSV; method `reported` marks those of publications."""
    header = ["system", "title", "method", "chip", "runtime", "threads", "batch_size", "sequence_length", "dtype"]
    header += ["latency_s", "reference", "speedup", "speedup.low", "speedup.high", "noise_floor", "source"]
    lines: list[list[Cell]] = []
    for record in records:
        for b in record.latency:
            source = b.details.get("source")
            lines.append(
                [
                    *(record.system.name, record.system.title, b.method, b.chip, b.runtime, b.threads, b.batch_size),
                    *(b.sequence_length, b.dtype, b.latency_s, b.reference, b.speedup),
                    *(b.speedup_interval or (None, None)),
                    *(b.noise_floor, None if source is None else str(source)),
                ]
            )
    return csv_text(header, lines)
