"""Own tasks for tests, on files in a temporary folder."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from benchmark.config import TaskConfig
from benchmark.records.task_definition import TaskDefinition, TaskFile
from tasks.catalogue import OwnTask, TaskInfo
from tasks.sources import own

STARS = {"1": "awful", "2": "weak", "3": "fair", "4": "good", "5": "superb"}


def write_stars(path: Path, count: int = 200, seed: int = 0) -> Path:
    """Writes a tab-separated file of five classes, which one word of each text decides."""
    rng = random.Random(seed)
    rows = [(f"the {rng.choice(['lamp', 'phone'])} is {word} .", label) for label, word in STARS.items()]
    chosen = [rng.choice(rows) for _ in range(count)]
    path.write_text("text\tstars\n" + "".join(f"{text}\t{label}\n" for text, label in chosen), encoding="utf-8")
    return path


def own_task(path: Path, **changes: Any) -> OwnTask:
    """Makes the definition of a task whose training file is `path`."""
    values: dict[str, Any] = {"name": "mine_v1", "train": path.name}
    return TaskConfig(**values | changes).request(path.parent)


def own_definition(**changes: Any) -> TaskDefinition:
    """Makes the definition of an own task in a record."""
    values: dict[str, Any] = {
        "title": "Stars",
        "kind": "classification",
        "files": {"train": TaskFile(name="stars.tsv", format="tsv", sha256="0" * 64)},
        "examples": {"train": 180, "validation": 20},
        "validation_fraction": 0.1,
        "split_seed": 0,
        "text_columns": ["text"],
        "label_column": "stars",
        "label_names": list(STARS),
        "label_range": [],
        "unanswerable": False,
        "metrics": ["accuracy"],
    }
    return TaskDefinition(**values | changes)


def read(info: TaskInfo, split: str, on_bad_row: Any = "error") -> list[dict[str, Any]]:
    """Reads all examples of a split."""
    return list(own.read_examples(info, Path(), split, on_bad_row))
