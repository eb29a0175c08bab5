"""A small English world, generated from a seed: a pretraining corpus and learnable GLUE and SQuAD files.

The files have the official layouts, so whatever reads the real data reads these. See docs/microworld.md.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

from tasks.microworld import corpus, glue, squad, write
from tasks.microworld.digests import DIGESTS
from tasks.microworld.world import World, make_world

__all__ = ["DIGESTS", "VERSION", "generate", "read_levels"]

VERSION = "microworld_v1"

_CORPUS_WORDS = {"corpus": 400_000, "validation": 20_000}
_GLUE_ROWS = {"train": 2_000, "dev": 1_000, "test": 400}
_TRAIN_ROWS = {"MNLI": 3_000}
_SQUAD_QUESTIONS = {"train": 2_000, "dev": 800}
_MNLI_SPLITS = ("train", "dev_matched", "dev_mismatched", "test_matched", "test_mismatched")


def generate(directory: pathlib.Path, *, seed: int = 0, scale: float = 1.0) -> dict[str, Any]:
    """Write the data under a directory, or reuse what an equal call wrote there.

    The tree is written beside the directory and renamed into place, so a killed call leaves no half-written directory.
    A tree whose manifest or files differ from what this version, seed and scale would write is made anew.

    Args:
      directory: Root of the tree to write.
      seed: The seed; equal seeds give equal bytes.
      scale: Factor on all sizes, above 0 and at most 1.

    Returns:
      The content of microworld.json: version, seed, scale, and per file its digest, bytes and rows.

    Raises:
      ValueError: The scale is out of range.
      FileExistsError: The directory exists, is not empty and was not written by this function.
    """
    if not 0 < scale <= 1:
        raise ValueError(f"scale must be above 0 and at most 1, not {scale}")
    directory = pathlib.Path(directory)
    if directory.exists() and any(directory.iterdir()):
        if not (directory / write.MANIFEST).is_file():
            raise FileExistsError(f"{directory} holds other files; name a new or an empty directory")
        manifest = write.read_manifest(directory)
        if manifest is not None and all(manifest.get(key) == value for key, value in _identity(seed, scale).items()):
            return manifest
    return write.install(directory, lambda root: _fill(root, seed, scale))


def _identity(seed: int, scale: float) -> dict[str, Any]:
    """Name what decides the content."""
    return {"version": VERSION, "seed": seed, "scale": scale}


def _fill(root: pathlib.Path, seed: int, scale: float) -> dict[str, Any]:
    """Write every file and describe it."""
    world = make_world(seed)
    counts: dict[str, int] = {}

    def size(full: int) -> int:
        """Scale a size, but keep enough rows for every label."""
        return max(8, round(full * scale))

    for task in glue.LABELS:
        taken: set[tuple[str, str]] = set()
        for split in _MNLI_SPLITS if task == "MNLI" else tuple(_GLUE_ROWS):
            kind = split.split("_")[0]
            full = _TRAIN_ROWS.get(task, _GLUE_ROWS[kind]) if kind == "train" else _GLUE_ROWS[kind]
            rows = glue.rows(seed, task, split, world, size(full), taken=taken)
            taken |= {(row.first, row.second) for row in rows}
            name = f"glue/{task}/{split}.tsv"
            write.write_lines(root / name, write.glue_lines(task, split, rows))
            counts[name] = len(rows)
            counts[_write_levels(root, name, [row.level for row in rows])] = len(rows)
    for version in ("v1.1", "v2.0"):
        contexts: set[str] = set()
        for split, full in _SQUAD_QUESTIONS.items():
            name = f"squad/{split}-{version}.json"
            paragraphs = squad.paragraphs(seed, version, split, world, size(full), taken=contexts)
            contexts |= {paragraph.text for paragraph in paragraphs}
            write.write_json(root / name, squad.document(paragraphs, version, split))
            counts[name] = size(full)
            levels = [question.level for paragraph in paragraphs for question in paragraph.questions]
            counts[_write_levels(root, name, levels)] = size(full)
    for name, words in _CORPUS_WORDS.items():
        counts[_write_corpus(root, name, seed, world, size(words))] = 0
    return _identity(seed, scale) | {"files": _describe(root, counts)}


def read_levels(directory: pathlib.Path, name: str) -> list[int]:
    """Read the level of every example of a generated file.

    Args:
      directory: Root of the tree.
      name: Path of the data file under it, such as "glue/RTE/dev.tsv".

    Returns:
      The levels (1, 2 or 3) in the order of the examples of the file.
    """
    levels: list[int] = json.loads((directory / _levels_path(name)).read_bytes())
    return levels


def _levels_path(name: str) -> str:
    """Say where the levels of a data file lie."""
    return pathlib.PurePosixPath("levels", name).with_suffix(".json").as_posix()


def _write_levels(root: pathlib.Path, name: str, levels: list[int]) -> str:
    """Write the levels of a data file beside the official files and give the path."""
    path = _levels_path(name)
    write.write_json(root / path, levels)
    return path


def _write_corpus(root: pathlib.Path, name: str, seed: int, world: World, words: int) -> str:
    """Write one file of the corpus and give its name."""
    path = f"pretrain/microworld/{name}.wikiextractor.txt"
    write.write_lines(root / path, write.wiki_lines(corpus.documents(seed, name, world, words)))
    return path


def _describe(root: pathlib.Path, counts: dict[str, int]) -> dict[str, dict[str, Any]]:
    """Describe the files of a tree; the rows of a corpus are its documents."""
    described = {}
    for name, sha256 in write.tree_digests(root).items():
        content = (root / name).read_bytes()
        rows = counts[name] or content.count(b"</doc>")
        described[name] = {"sha256": sha256, "bytes": len(content), "rows": rows}
    return described
