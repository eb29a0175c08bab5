"""Rows of the data: those of the token arrays where they exist, else what sizes of files and published counts say."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmark.training.batches import batch_lengths, row_lengths, used_length
from tasks import sources
from tasks.arrays import token_arrays
from tasks.catalogue import find_tasks
from tasks.materialize import upkeep
from tasks.sources import corpora
from tasks.sources.texts import find_corpus
from tasks.system.errors import InputError

if TYPE_CHECKING:
    from benchmark.config import DataConfig, RunConfig
    from tasks.catalogue import TaskInfo

# Rows of a split of the microworld at scale 1, for each kind of task; MNLI has more. Tokens of its text.
MICROWORLD = {"train": 2_000, "validation": 1_000, "test": 400}
MICROWORLD_MNLI = 3_000
MICROWORLD_SPAN = {"train": 2_000, "validation": 800}
MICROWORLD_TOKENS = 710_000
# Of English text: bytes of a token of WordPiece, tokens of a SQuAD example, bytes of a row of a table.
BYTES_OF_TOKEN = 4.5
SQUAD_TOKENS = 170
BYTES_OF_ROW = 120
# Longer arrays are not read for the lengths of their rows.
_MOST_ROWS = 500_000
_PLAIN = (".tsv", ".csv", ".jsonl", ".ndjson", ".txt")


@dataclass(frozen=True)
class SplitRows:
    """Rows of one split of a task.

    Attributes:
        count: number of rows; of a span task windows.
        length: columns that a batch without grouping has.
        shares: of batches of similar rows the lengths, each with its share of the batches.
    """

    count: int
    length: int
    shares: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Rows:
    """Rows of a run.

    Attributes:
        pretrain: rows of text to train on.
        validation: rows of text to measure on.
        tasks: task -> `train` and `evaluation` -> rows; a task that trains on another's rows has no `train`.
        known: True where all of them come from token arrays.
    """

    pretrain: int
    validation: int
    tasks: Mapping[str, Mapping[str, SplitRows]]
    known: bool


def read_rows(config: RunConfig, workdir: Path) -> Rows:
    """Counts the rows of a run without writing, tokenising or downloading anything."""
    data, folder = config.data, workdir / "data"
    index = upkeep.read_index(folder) or {}
    own = {task.name: task.request(None) for task in data.own_tasks}
    pad_id, there = index.get("vocabulary", {}).get("pad_id", 0), index.get("tasks", {})
    known, tasks = True, {}
    for info in find_tasks(data.tasks, own.values(), data.train_files).values():
        splits = {}
        for role, names in (("train", ("train",)), ("evaluation", ("validation", "test"))):
            split = next((name for name in names if name in there.get(info.name, info.split_stems)), "")
            if not split or (role == "train" and info.trained_on):
                continue
            arrays = folder / there[info.name][split] if split in there.get(info.name, {}) else None
            if arrays is not None and token_arrays.is_complete(arrays):
                size = config.finetune.for_task(info.name, data.tasks.index(info.name)).batch_size
                splits[role] = _of_arrays(arrays, pad_id, config, size)
            else:
                known, splits[role] = False, _estimated(config, info, split)
        tasks[info.name] = splits
    pretrain = {split: _array_rows(folder / name) for split, name in index.get("pretrain", {}).items()}
    text = bool(data.pretrain_corpora)
    return Rows(
        pretrain.get("train", _text_rows(data) if text else 0),
        pretrain.get("validation", (data.validation_rows or 1_000) if text else 0),
        tasks,
        known and (not text or "train" in pretrain),
    )


def _array_rows(folder: Path) -> int:
    try:
        return int(json.loads((folder / token_arrays.META_FILE).read_text(encoding="utf-8"))["rows"])
    except (OSError, ValueError, KeyError):
        return 0


def _of_arrays(folder: Path, pad_id: int, config: RunConfig, size: int) -> SplitRows:
    """Reads the rows of token arrays for batches of `size`; without their lock, which would be a file in the folder."""
    meta = json.loads((folder / token_arrays.META_FILE).read_text(encoding="utf-8"))
    ids = np.load(folder / "input_ids.npy", mmap_mode="r" if meta["rows"] else None)
    if not len(ids) or len(ids) > _MOST_ROWS:
        return _whole(len(ids), ids.shape[1], config)
    arrays = token_arrays.TokenArrays(folder, {"input_ids": ids}, meta)
    length = used_length(arrays, pad_id, config.finetune.length_multiple)
    if not config.finetune.group_by_length:
        return SplitRows(len(ids), length, ((length, 1.0),))
    lengths = row_lengths(arrays, pad_id)
    widths = batch_lengths(lengths, size)
    ordered = np.sort(lengths)
    longest = np.append(ordered[size - 1 :: size], ordered[-1])
    counts = np.bincount(np.searchsorted(widths, longest), minlength=len(widths)) / len(longest)
    return SplitRows(len(ids), length, tuple((int(w), float(c)) for w, c in zip(widths, counts, strict=True)))


def _whole(count: int, length: int, config: RunConfig) -> SplitRows:
    """Takes rows whose lengths are not known as full, and grouped ones as evenly distributed over six lengths."""
    if not config.finetune.group_by_length:
        return SplitRows(count, length, ((length, 1.0),))
    return SplitRows(count, length, tuple((math.ceil(length * part / 6), 1 / 6) for part in range(1, 7)))


def _estimated(config: RunConfig, info: TaskInfo, split: str) -> SplitRows:
    data, span = config.data, info.kind == "span"
    length = data.span_length if span else data.task_length
    if data.source == "microworld" and info.own is None:
        sizes = MICROWORLD_SPAN if span else MICROWORLD
        full = MICROWORLD_MNLI if "mnli" in info.name and split == "train" else sizes.get(split, 0)
        return _whole(max(8, round(full * data.microworld_scale)), length, config)
    count = _examples(data, info, split)
    if span and data.source != "microworld":
        # Windows of a context that is longer than the room beside the question.
        count = math.ceil(count * (1 + max(0, SQUAD_TOKENS - data.span_length) / data.span_stride))
    return _whole(count, length, config)


def _examples(data: DataConfig, info: TaskInfo, split: str) -> int:
    """Counts the examples of a split: lines of a table, else its published size, else the size of its files."""
    share = 1.0
    if info.own is not None and all(file.split != "validation" for file in info.own.files):
        held_out = info.own.validation_fraction
        share = {"train": 1 - held_out, "validation": held_out}.get(split, 1.0)
    try:
        root = Path(data.expanded_directory())
        own = [task.request(root) for task in data.own_tasks if task.name == info.name]
        found = next(iter(find_tasks([info.name], own, data.train_files).values()))
        files = sources.task_files(data.source, found, root, split)
    except (InputError, OSError):
        files = ()
    if files and files[0].suffix in _PLAIN:
        with files[0].open("rb") as file:
            lines = sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))
        return max(1, round(share * (lines - 1)))
    if info.own is None:
        return info.split_sizes.get(split, 0)
    return max(1, round(share * sum(file.stat().st_size for file in files) / BYTES_OF_ROW))


def _text_rows(data: DataConfig) -> int:
    """Estimates the rows of the text from the bytes of its files."""
    if data.source == "microworld":
        tokens = MICROWORLD_TOKENS * data.microworld_scale
    else:
        try:
            root = Path(data.expanded_directory())
            files = [f for entry in data.pretrain_corpora for f in corpora.corpus_files(find_corpus(root, entry))]
            # A compressed text is about a third as long.
            size = sum(f.stat().st_size * (1 if f.suffix in ("", *_PLAIN) else 3) for f in files)
        except (InputError, OSError):
            size = 0
        tokens = size / BYTES_OF_TOKEN
    rows = math.ceil(tokens / (data.pretrain_length - 2))
    return min(rows, data.pretrain_max_rows) if data.pretrain_max_rows else rows
