"""Writing the files in the official layouts, all at once or not at all."""

from __future__ import annotations

import hashlib
import json
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterable
from typing import Any

from tasks.microworld.corpus import Document
from tasks.microworld.example import Row

MANIFEST = "microworld.json"
# The official MRPC train and dev files begin with a byte-order mark.
_MARK = "\ufeff"
_PARSES = ("-", "-", "-", "-")
_STSB = ("main-captions", "microworld", "2026", "0000", "none", "none")


def glue_lines(task: str, split: str, rows: list[Row]) -> list[str]:
    """Put rows into the official layout of a GLUE file.

    Args:
      task: Name of the task.
      split: "train", or a name that starts with "dev" or "test"; test files carry no labels.
      rows: The rows.

    Returns:
      The lines of the file, header included where the official file has one.
    """
    test = split.startswith("test")
    table = [_HEADERS[task](split)] if task != "CoLA" or test else []
    table += [_ROWS[task](index, row, split) for index, row in enumerate(rows)]
    mark = _MARK if task == "MRPC" and not test else ""
    return [mark + "\t".join(table[0]), *("\t".join(cells) for cells in table[1:])]


def _pair_header(first: str, second: str, label: str) -> Callable[[str], list[str]]:
    """Make the header of a pair task whose test file lacks the label."""
    return lambda split: ["index", first, second] + ([] if split.startswith("test") else [label])


def _single(index: int, row: Row, split: str) -> list[str]:
    """Sentence and label."""
    return [str(index), row.first] if split.startswith("test") else [row.first, row.label]


def _cola(index: int, row: Row, split: str) -> list[str]:
    """Source, label, mark of the original author, sentence."""
    if split.startswith("test"):
        return [str(index), row.first]
    return ["mw01", row.label, "" if row.label == "1" else "*", row.first]


def _pair(index: int, row: Row, split: str) -> list[str]:
    """Index, pair and label."""
    return [str(index), row.first, row.second] + ([] if split.startswith("test") else [row.label])


def _mrpc(index: int, row: Row, split: str) -> list[str]:
    """Label (or index), two ids, pair."""
    ids = [str(1_000_000 + 2 * index), str(1_000_001 + 2 * index)]
    return [str(index) if split.startswith("test") else row.label, *ids, row.first, row.second]


def _qqp(index: int, row: Row, split: str) -> list[str]:
    """Id, two question ids, pair and label."""
    if split.startswith("test"):
        return [str(index), row.first, row.second]
    return [str(index), str(2 * index + 1), str(2 * index + 2), row.first, row.second, row.label]


def _stsb(index: int, row: Row, split: str) -> list[str]:
    """Index, six columns of origin, pair and score."""
    return [str(index), *_STSB, row.first, row.second] + ([] if split.startswith("test") else [row.label])


def _mnli(index: int, row: Row, split: str) -> list[str]:
    """Index, ids, genre, parses, pair, the annotators' labels and the gold label."""
    labels = {"train": 1, "dev": 5, "test": 0}[split.split("_")[0]]
    cells = [str(index), str(index), f"{index}e", row.genre, *_PARSES, row.first, row.second, *[row.label] * labels]
    return cells + ([row.label] if labels else [])


def _mnli_header(split: str) -> list[str]:
    """The header of MNLI, which differs between the splits."""
    labels = {"train": 1, "dev": 5, "test": 0}[split.split("_")[0]]
    cells = ["index", "promptID", "pairID", "genre", "sentence1_binary_parse", "sentence2_binary_parse"]
    cells += ["sentence1_parse", "sentence2_parse", "sentence1", "sentence2"]
    return cells + [f"label{number + 1}" for number in range(labels)] + (["gold_label"] if labels else [])


def _qqp_header(split: str) -> list[str]:
    """The header of QQP."""
    if split.startswith("test"):
        return ["id", "question1", "question2"]
    return ["id", "qid1", "qid2", "question1", "question2", "is_duplicate"]


_STSB_HEADER = ["index", "genre", "filename", "year", "old_index", "source1", "source2", "sentence1", "sentence2"]
_HEADERS: dict[str, Callable[[str], list[str]]] = {
    "CoLA": lambda split: ["index", "sentence"],
    "SST-2": lambda split: ["index", "sentence"] if split.startswith("test") else ["sentence", "label"],
    "MRPC": lambda split: [
        "index" if split.startswith("test") else "Quality",
        "#1 ID",
        "#2 ID",
        "#1 String",
        "#2 String",
    ],
    "STS-B": lambda split: _STSB_HEADER + ([] if split.startswith("test") else ["score"]),
    "QQP": _qqp_header,
    "MNLI": _mnli_header,
    "QNLI": _pair_header("question", "sentence", "label"),
    "RTE": _pair_header("sentence1", "sentence2", "label"),
}
_ROWS: dict[str, Callable[[int, Row, str], list[str]]] = {
    "CoLA": _cola,
    "SST-2": _single,
    "MRPC": _mrpc,
    "STS-B": _stsb,
    "QQP": _qqp,
    "MNLI": _mnli,
    "QNLI": _pair,
    "RTE": _pair,
}


def wiki_lines(documents: Iterable[Document]) -> list[str]:
    """Put documents into the layout of WikiExtractor.

    Args:
      documents: The documents.

    Returns:
      The lines of the file.
    """
    lines = []
    for number, document in enumerate(documents, start=1):
        url = f"https://microworld.invalid/wiki?curid={number}"
        lines.append(f'<doc id="{number}" url="{url}" title="{document.title}">')
        lines += [document.title, "", " ".join(document.sentences), "</doc>"]
    return lines


def write_lines(path: pathlib.Path, lines: list[str]) -> None:
    """Write a text file.

    Args:
      path: The file; its directory is made.
      lines: The lines.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(("\n".join(lines) + "\n").encode())


def write_json(path: pathlib.Path, content: object) -> None:
    """Write a JSON file.

    Args:
      path: The file; its directory is made.
      content: The content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n").encode())


def digest(path: pathlib.Path) -> str:
    """Digest a file.

    Args:
      path: The file.

    Returns:
      Its SHA-256 in hexadecimal.
    """
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tree_digests(directory: pathlib.Path) -> dict[str, str]:
    """Digest every file under a directory but the manifest.

    Args:
      directory: The directory.

    Returns:
      Digest by relative path, in order of the paths.
    """
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(directory).as_posix(): digest(path) for path in files}


def read_manifest(directory: pathlib.Path) -> dict[str, Any] | None:
    """Read the manifest of a generated tree and check every file against it.

    Args:
      directory: Root of the tree.

    Returns:
      The manifest, or None where it is missing or unreadable or a file differs, lacks or is one too many.
    """
    try:
        manifest: dict[str, Any] = json.loads((directory / MANIFEST).read_bytes())
        recorded = {name: entry["sha256"] for name, entry in manifest["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return manifest if tree_digests(directory) == recorded else None


def install(directory: pathlib.Path, fill: Callable[[pathlib.Path], dict[str, Any]]) -> dict[str, Any]:
    """Fill a new directory beside the wanted one and put it in place only when it is complete.

    Args:
      directory: The wanted directory; one that exists is replaced.
      fill: Writes the files under the given root and returns the manifest, which is written last.

    Returns:
      The manifest.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        root = temporary / "new"
        root.mkdir()
        manifest = fill(root)
        (root / MANIFEST).write_bytes((json.dumps(manifest, indent=1) + "\n").encode())
        if directory.exists():
            directory.replace(temporary / "old")
        root.replace(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return manifest
