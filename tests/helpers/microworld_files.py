"""Reading the generated files as the tests of the microworld need them, without the package's own readers."""

from __future__ import annotations

import json
import pathlib
import re

import pytest

from tasks import microworld

# Columns of (train, dev, test) and positions of first text, second text and label in the train and dev files.
LAYOUTS = {
    "CoLA": ((4, 4, 2), (3, None, 1)),
    "SST-2": ((2, 2, 2), (0, None, 1)),
    "MRPC": ((5, 5, 5), (3, 4, 0)),
    "STS-B": ((10, 10, 9), (7, 8, 9)),
    "QQP": ((6, 6, 3), (3, 4, 5)),
    "MNLI": ((12, 16, 10), (8, 9, -1)),
    "QNLI": ((4, 4, 3), (1, 2, 3)),
    "RTE": ((4, 4, 3), (1, 2, 3)),
}

Example = tuple[str, str, str]


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The data for seed 0 at full size."""
    # An equal call reuses the tree, so all modules of a process share one.
    directory = tmp_path_factory.getbasetemp() / "microworld_full"
    microworld.generate(directory)
    return directory


def tokens(text: str) -> list[str]:
    """Words and marks of a text in lower case."""
    return re.findall(r"[a-z0-9]+|[^\sa-z0-9]", text.lower())


def read_lines(path: pathlib.Path) -> list[list[str]]:
    """Cells of every line of a file with tabs."""
    return [line.split("\t") for line in path.read_text(encoding="utf-8").removesuffix("\n").split("\n")]


def splits(task: str) -> tuple[str, ...]:
    """Names of the files of a task."""
    if task == "MNLI":
        return ("train", "dev_matched", "dev_mismatched", "test_matched", "test_mismatched")
    return ("train", "dev", "test")


def dev_of(task: str) -> str:
    """Name of the first dev file of a task."""
    return "dev_matched" if task == "MNLI" else "dev"


def examples(directory: pathlib.Path, task: str, split: str) -> list[Example]:
    """First text, second text and label of every example of a train or dev file."""
    first, second, label = LAYOUTS[task][1]
    lines = read_lines(directory / f"glue/{task}/{split}.tsv")[0 if task == "CoLA" else 1 :]
    return [(cells[first], "" if second is None else cells[second], cells[label]) for cells in lines]


def questions(path: pathlib.Path) -> list[tuple[str, dict]]:
    """Paragraph and question of every question of a SQuAD file."""
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    return [(p["context"], qa) for article in articles for p in article["paragraphs"] for qa in p["qas"]]
