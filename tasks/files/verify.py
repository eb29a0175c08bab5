"""The comparison of data files with known ones: number of examples, digest of the content."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tasks.catalogue import TASKS, TaskInfo
from tasks.encoding import vocabulary
from tasks.files import layouts, readers
from tasks.files.known_files import KNOWN_FILES, known_versions
from tasks.files.source_notes import wrong_count
from tasks.files.text_files import content_digest
from tasks.system.compression import COMPRESSIONS
from tasks.system.errors import DataError

if TYPE_CHECKING:
    from tasks.files.layouts import SplitFiles

Level = Literal["ok", "warning", "error", "missing"]

_VOCABULARIES = tuple(f"vocab/*.txt{ending}" for ending in ("", *COMPRESSIONS))


@dataclass(frozen=True)
class FileCheck:
    """The result of checking the files of one split."""

    # The name of the task, or `vocabulary`.
    task: str
    split: str
    # The files, relative to the data root.
    file: str
    # The number of examples, None where the file could not be read.
    rows: int | None
    # The official number.
    official_rows: int | None
    # `official`, `copy`, `rebuilt` or `unknown`, one for each file.
    digest: str
    # The severity of the verdict.
    level: Level
    # The result in words.
    verdict: str


def check_directory(root: Path) -> list[FileCheck]:
    """Checks every file of a task, and every vocabulary, below a data root.

    Args:
        root: the folder that holds `glue/` and `squad/`, or the folders of the tasks.

    Returns:
        One entry for each split of each task (level `missing` where there is no file) and each further file of a split.

    Raises:
        DataError: if there is no folder, or no file in it that belongs to a task.
    """
    if not root.is_dir():
        raise DataError(f"{root} is no folder; the folder that holds glue/ and squad/ is expected")
    checks = []
    for info in TASKS.values():
        for split, official in info.split_sizes.items():
            found = layouts.find_all(info, root, split)
            checks += [_check_split(info, split, files, root) for files in found]
            if not found:
                checks.append(FileCheck(info.name, split, "-", None, official, "-", "missing", "no file"))
    checks += [
        _check_vocabulary(path, root)
        for path in sorted(path for pattern in _VOCABULARIES for path in root.glob(pattern))
    ]
    if all(check.level == "missing" for check in checks):
        some = ", ".join(TASKS[name].official_file("train") for name in ("glue_sst2_v1", "squad_v1_1_v1"))
        raise DataError(f"{root}: no file of any task; official files are expected there, such as {some}")
    return checks


def _judge_digest(path: Path, name: str) -> tuple[str, Level, str]:
    """Looks up the content of a file: its origin, the level of the result, and the reason."""
    digest, size = content_digest(path)
    known = KNOWN_FILES.get(digest)
    if known is not None and known.name != name:
        return known.origin, "error", f"this is {known.name}, {name} is expected"
    if known is not None:
        return known.origin, "ok", ""
    others = ", ".join(f"{file.bytes:,} ({file.origin})" for file in known_versions(name))
    return "unknown", "warning", f"unknown content of {size:,} bytes" + (f"; known: {others}" if others else "")


def _check_split(info: TaskInfo, split: str, files: SplitFiles, root: Path) -> FileCheck:
    """Reads the files of a split, counts and digests."""
    shown = " + ".join(str(path.relative_to(root)) for path in files.paths)
    rows: int | None = None
    origins, problems = [], []
    levels: list[Level] = ["ok"]
    try:
        for path, name in zip(files.paths, files.official_names, strict=True):
            origin, level, problem = _judge_digest(path, name)
            origins.append(origin)
            levels.append(level)
            problems.append(problem)
        rows = readers.report(info, files, split).examples
        problems.insert(0, wrong_count(info, split, rows))
        levels.append("error" if problems[0] else "ok")
    except DataError as error:
        levels.append("error")
        problems.insert(0, str(error))
    level = next(level for level in ("error", "warning", "ok") if level in levels)
    verdict = "; ".join(filter(None, problems)) or "ok"
    digest = " + ".join(origins) or "-"
    return FileCheck(info.name, split, shown, rows, info.split_sizes[split], digest, level, verdict)


def _check_vocabulary(path: Path, root: Path) -> FileCheck:
    """Reads a vocabulary; only that of a published model can be known."""
    name = str(path.relative_to(root))
    try:
        rows: int | None = vocabulary.load(path).size
        official = name if path.suffix == ".txt" else name.removesuffix(path.suffix)
        digest, level, verdict = _judge_digest(path, official)
    except DataError as error:
        rows, digest, level, verdict = None, "-", "error", str(error)
    return FileCheck("vocabulary", "-", name, rows, None, digest, level, verdict or "ok")


def table(checks: list[FileCheck]) -> str:
    """Writes the result of a check for a terminal.

    Returns:
        A line for each, and a last one that sums up.
    """
    rows: list[tuple[str, ...]] = [("task", "split", "file", "rows", "official", "digest", "verdict")]
    for check in checks:
        counts = ["-" if count is None else f"{count:,}" for count in (check.rows, check.official_rows)]
        # Rows that need attention stand out; the others need one word.
        verdict = f"{check.level.upper()}: {check.verdict}" if check.level in ("warning", "error") else check.verdict
        rows.append((check.task, check.split, check.file, *counts, check.digest, verdict))
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if position in (3, 4) else cell.ljust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        lines.append("  ".join([*cells, row[-1]]))
    number = {level: sum(check.level == level for check in checks) for level in ("ok", "warning", "error", "missing")}
    lines.append(
        f"{number['ok']} good, {number['warning']} of unknown content, {number['error']} wrong;"
        f" {number['missing']} splits have no file"
    )
    return "\n".join(lines)
