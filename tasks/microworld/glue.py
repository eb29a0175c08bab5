"""Rows of the GLUE tasks: which labels and levels a file has in which shares, and its examples."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection

from tasks.microworld import grammar, inference, opinions, similarity
from tasks.microworld.example import Row, Setting
from tasks.microworld.picker import EVAL, TRAIN
from tasks.microworld.world import World

# Labels of each task with their shares in percent: of the train file, of the dev and test files. They follow the real
# tasks to within a percent, but the dev files of CoLA, MRPC and RTE, which keep the shares of their train files.
LABELS: dict[str, dict[str, tuple[int, int]]] = {
    "CoLA": {"1": (70, 70), "0": (30, 30)},
    "SST-2": {"1": (56, 51), "0": (44, 49)},
    "MRPC": {"1": (67, 67), "0": (33, 33)},
    "STS-B": {"": (100, 100)},
    "QQP": {"0": (63, 63), "1": (37, 37)},
    "MNLI": {"entailment": (34, 34), "neutral": (33, 33), "contradiction": (33, 33)},
    "QNLI": {"entailment": (50, 50), "not_entailment": (50, 50)},
    "RTE": {"entailment": (50, 50), "not_entailment": (50, 50)},
}
# Shares of the levels 1, 2 and 3 in percent, the same for every label and every split.
LEVELS: dict[str, tuple[int, int, int]] = {
    "CoLA": (50, 30, 20),
    "SST-2": (60, 20, 20),
    "MRPC": (45, 40, 15),
    "STS-B": (40, 40, 20),
    "QQP": (40, 40, 20),
    "MNLI": (40, 40, 20),
    "QNLI": (50, 30, 20),
    "RTE": (15, 65, 20),
}
MATCHED = ("fiction", "travel", "government")
MISMATCHED = ("letters", "telephone")
# A file asks for far fewer rows than can be made; this many repetitions in a row mean that it does not.
_TRIES = 1_000


def rows(
    seed: int, task: str, split: str, world: World, count: int, *, taken: Collection[tuple[str, str]] = frozenset()
) -> list[Row]:
    """Make the rows of one file.

    Args:
      seed: The seed.
      task: A key of `LABELS`.
      split: "train", or a name that starts with "dev" or "test".
      world: The world.
      count: Number of rows.
      taken: Texts (first, second) that must not occur, because another file of the task has them.

    Returns:
      The rows, in random order, with the shares of `LABELS` and `LEVELS` and without repetition.

    Raises:
      ValueError: There are not so many different rows.
    """
    rng = random.Random(f"{seed}/glue/{task}/{split}")
    setting = Setting(
        rng=rng,
        picker=TRAIN if split == "train" else EVAL,
        world=world,
        genres=MISMATCHED if split.endswith("mismatched") else MATCHED,
    )
    done = set(taken)
    found = []
    for label, level in _plan(rng, task, split, count):
        for _ in range(_TRIES):
            row = _MAKERS[task](setting, label, level)
            if (row.first, row.second) not in done:
                break
        else:
            raise ValueError(f"{task} {split}: {count} rows are more than can be made without repetition")
        done.add((row.first, row.second))
        found.append(row)
    return found


def _plan(rng: random.Random, task: str, split: str, count: int) -> list[tuple[str, int]]:
    """List label and level of every row, in random order."""
    shares = {label: of_train if split == "train" else of_rest for label, (of_train, of_rest) in LABELS[task].items()}
    plan = [
        (label, level)
        for label, number in zip(shares, _apportion(count, tuple(shares.values())), strict=True)
        for level, part in zip((1, 2, 3), _apportion(number, LEVELS[task]), strict=True)
        for _ in range(part)
    ]
    rng.shuffle(plan)
    return plan


def _apportion(count: int, shares: tuple[int, ...]) -> list[int]:
    """Divide a count by shares in percent; the parts add up to it and miss their share by less than one."""
    ends = [round(count * sum(shares[: index + 1]) / 100) for index in range(len(shares))]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def _cola(setting: Setting, label: str, level: int) -> Row:
    """Acceptable or broken sentence."""
    text = grammar.acceptability(setting.rng, setting.picker, acceptable=label == "1", level=level)
    return Row(text, "", label, level)


def _sst2(setting: Setting, label: str, level: int) -> Row:
    """Judgement in lower case with separated marks, as in the official files."""
    text = opinions.opinion(setting.rng, setting.picker, good=label == "1", level=level)
    return Row(text.replace(",", " ,") + " . ", "", label, level)


_MAKERS: dict[str, Callable[[Setting, str, int], Row]] = {
    "CoLA": _cola,
    "SST-2": _sst2,
    "MRPC": similarity.mrpc,
    "STS-B": similarity.stsb,
    "QQP": similarity.qqp,
    "MNLI": inference.mnli,
    "QNLI": inference.qnli,
    "RTE": inference.rte,
}
