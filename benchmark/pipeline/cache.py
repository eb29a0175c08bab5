"""The cache of results: its opening, and the files of a stage in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmark.records import manifest
from tasks.arrays import token_arrays
from tasks.system.cache_folder import cache_folder, prepare
from tasks.system.content_cache import ContentCache, EntryName, code_digests
from tasks.system.errors import InputError, system_message

# The packages whose code decides the result of a training.
TRAINING_CODE = ("benchmark", "tasks")


@dataclass(frozen=True)
class SharedStage:
    """The place of the result of a stage, or of a part of one, in the cache.

    Attributes:
        cache: the cache.
        name: the entry; it names all that decides the result.
        report: receives a line about an entry that is damaged, or a result that cannot be kept.
        title: a few words for lists.
        items: names of the files and folders next to the stage's marker that belong to the result.
        appended: those of them that a later call may append to.
        rows: folders of the token arrays that the stage reads.
    """

    cache: ContentCache
    name: EntryName
    report: Callable[[str], None]
    title: str
    items: tuple[str, ...] = ()
    appended: tuple[str, ...] = ()
    rows: tuple[Path, ...] = ()

    @property
    def key(self) -> str:
        """Digest of everything that the result depends on."""
        return self.name.key

    def take(self, marker: Path) -> bool:
        """Takes the result over, its marker last; False where the cache has none that can be used."""
        return self.cache.take(self.name, marker.parent, self.report) is not None

    def store(self, marker: Path, seconds: float) -> None:
        """Keeps the result of a stage that has just ended, unless it was made of arrays that are damaged."""
        if damage := next(filter(None, map(token_arrays.damage, self.rows)), None):
            self.report(f"cache: {self.title} is not kept: {damage}")
            return
        about, items = {"title": self.title, "seconds": seconds}, (*self.items, marker.name)
        self.cache.store(self.name, marker.parent, items, about, self.report, appended=self.appended)


def open_cache(flag: str | None, limit: int, note: Callable[[str], None]) -> ContentCache | None:
    """Opens the cache of results.

    Args:
        flag: the value of `--cache_dir`; None where it is not given.
        limit: the value of `--cache_limit`, bytes.
        note: receives a line where the folder cannot be used and nobody asked for it by the flag.

    Returns:
        The cache, or None where it is switched off or cannot be used.

    Raises:
        InputError: the folder of the flag cannot be used.
    """
    folder = cache_folder(flag, os.environ)
    if folder is None:
        return None
    try:
        prepare(folder)
    except OSError as error:
        if flag is not None:
            raise InputError(
                f"--cache_dir={flag}: cannot be used: {system_message(error)}; choose a folder that can be written to,"
                " or 'none'"
            ) from None
        note(f"cache: {folder} cannot be used ({error.strerror or error}); going on without it")
        return None
    return ContentCache(folder, limit, code_digests(TRAINING_CODE), manifest.versions())
