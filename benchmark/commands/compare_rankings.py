"""Kendall's tau between scores of flash distillations and those of full ones, from recorded students.

`python -m benchmark.commands.compare_rankings runs/students` reads finished runs whose search tried students that were
also distilled in full (`benchmark.commands.sample_students` makes such a run), or a CSV table that `--out` wrote.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.system.command_line import OneLineParser, check_output_file
from tasks.system.errors import InputError, named_files, run_command

if TYPE_CHECKING:
    from benchmark.records.record import Record

# Scores of a flash distillation, and whether larger ones are better.
FLASH = {"accuracy": True, "teacher_agreement": True, "teacher_kl": False}
# Fewer students say nothing about a ranking.
FEWEST = 4


@dataclass(frozen=True)
class Student:
    """A student with the scores of its flash distillation (`FLASH`) and those of its full one, by name."""

    name: str
    flash: Mapping[str, float]
    full: Mapping[str, float]


@dataclass(frozen=True)
class Agreement:
    """How well scores of flash distillations rank students by one score of their full distillation.

    Attributes:
        score: name of the score.
        students: number of students that have it.
        tau: Kendall's tau-b of each flash score, and its standard error by the jackknife.
        gain: tau of the agreement with the teacher less that of the accuracy, likewise.
    """

    score: str
    students: int
    tau: Mapping[str, tuple[float, float]]
    gain: tuple[float, float]


def read_students(path: Path) -> list[Student]:
    """Reads the students of a run's folder, or of a table.

    Raises:
        InputError: it is neither, or it is damaged; one line.
    """
    return _read_run(path) if path.is_dir() else _read_table(path)


def _read_run(run: Path) -> list[Student]:
    from benchmark.config import fingerprint
    from benchmark.records.history import read_history
    from benchmark.records.record import read
    from benchmark.records.verification import record_files

    history = run / "search" / "history.json"
    if not history.is_file():
        raise InputError(f"{run}: expected the folder of a finished run with a search, which has search/history.json")
    trials = {}
    for trial in read_history(history)["trials"]:
        flash = {name: trial[name] for name in FLASH}
        if trial["status"] == "completed" and None not in flash.values():
            trials[fingerprint(trial["encoder"])] = flash
    students: dict[str, Student] = {}
    for record in map(read, record_files(run / "results")):
        key = fingerprint(record.system.encoder)
        # A found student may have the architecture of a baseline, and then its parameters too.
        if record.system.kind in ("found", "baseline") and key in trials and key not in students:
            students[key] = Student(f"{run.name}/{record.system.name}", trials[key], _full_scores(record))
    return list(students.values())


def _full_scores(record: Record) -> dict[str, float]:
    """Takes the scores of a full distillation: each task by its primary metric, their mean, and masked LM."""
    tasks = {task.task: task.metrics[task.primary_metric].value for task in record.tasks}
    scores = {"mean": math.fsum(tasks.values()) / len(tasks), **tasks} if tasks else {}
    if record.training is not None and record.training.masked_lm_accuracy is not None:
        scores["masked_lm_accuracy"] = record.training.masked_lm_accuracy
    return scores


def _read_table(path: Path) -> list[Student]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        students = []
        for row in rows:
            numbers = {name: float(value) for name, value in row.items() if name != "student" and value}
            flash = {name: numbers.pop(name) for name in FLASH}
            students.append(Student(row["student"], flash, numbers))
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        columns = ", ".join(("student", *FLASH))
        raise InputError(
            f"{path}: expected a run's folder, or a CSV table of {columns} and scores: {error!r}"
        ) from None
    return students


def table(students: Sequence[Student]) -> str:
    """Writes students as the CSV table that `read_students` reads."""
    from benchmark.records.csv_text import csv_text

    names = list(dict.fromkeys(name for student in students for name in student.full))
    rows = [[s.name, *(s.flash[name] for name in FLASH), *(s.full.get(name) for name in names)] for s in students]
    return csv_text(["student", *FLASH, *names], rows)


def compare(students: Sequence[Student]) -> list[Agreement]:
    """Compares the rankings for every score that enough students have; errors are those of the jackknife.

    Sources: Kendall 1945 (doi 10.1093/biomet/33.3.239), the tau that counts ties; Arvesen 1969
    (doi 10.1214/aoms/1177697287), the jackknife of such statistics.
    """
    found = []
    for score in dict.fromkeys(name for student in students for name in student.full):
        having = [student for student in students if score in student.full]
        if len(having) < FEWEST:
            continue
        whole = _taus(having, score)
        left_out = [_taus([s for s in having if s is not one], score) for one in having]
        tau = {name: (whole[name], _jackknife([part[name] for part in left_out])) for name in FLASH}
        gains = [part["teacher_agreement"] - part["accuracy"] for part in left_out]
        gain = whole["teacher_agreement"] - whole["accuracy"], _jackknife(gains)
        found.append(Agreement(score, len(having), tau, gain))
    return found


def _taus(students: Sequence[Student], score: str) -> dict[str, float]:
    """Computes tau-b of each flash score with a score; NaN where all students are equal."""
    from scipy.stats import kendalltau

    full = [student.full[score] for student in students]
    signs = {name: 1.0 if larger else -1.0 for name, larger in FLASH.items()}
    return {n: float(kendalltau([sign * s.flash[n] for s in students], full).statistic) for n, sign in signs.items()}


def _jackknife(values: Sequence[float]) -> float:
    """Computes the standard error of a statistic from its values without each observation in turn."""
    count, mean = len(values), math.fsum(values) / len(values)
    return math.sqrt((count - 1) / count * math.fsum((value - mean) ** 2 for value in values))


def lines(found: Sequence[Agreement]) -> list[str]:
    """Words the comparison as lines of a table."""
    header = ["full distillation", "students", *FLASH, "agreement less accuracy"]
    rows = [header]
    for one in found:
        cells = [*one.tau.values(), one.gain]
        rows.append([one.score, str(one.students), *(f"{value:+.3f} ± {error:.3f}" for value, error in cells)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the comparison; exit code 2 and one line for bad input."""
    parser = OneLineParser(
        prog="python -m benchmark.commands.compare_rankings", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "source", nargs="+", type=Path, metavar="RUN|CSV", help="folder of a run, or a table of students"
    )
    parser.add_argument("--out", type=Path, help="writes the students as a CSV table")
    return run_command(lambda: _compare(parser.parse_args(arguments)))


def _compare(options: argparse.Namespace) -> int:
    check_output_file("--out", options.out)
    with named_files():
        students = [student for source in options.source for student in read_students(source)]
    found: list[Any] = compare(students)
    if not found:
        places = ", ".join(map(str, options.source))
        raise InputError(
            f"{places}: {len(students)} students with scores of flash and full distillation; expected at least {FEWEST}"
        )
    if options.out is not None:
        from tasks.system.atomic_write import write_text

        with named_files():
            write_text(options.out, table(students))
    print("\n".join(lines(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
