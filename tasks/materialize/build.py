"""The state that the steps of one call of the data stage share: request, clock, digests of sources."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tasks.files.text_files import sha256_file
from tasks.sources import corpora
from tasks.sources.texts import HubCorpus, find_corpus
from tasks.system.errors import StageError

if TYPE_CHECKING:
    from tasks.materialize.progress import Progress, ShowState
    from tasks.materialize.request import MaterializeRequest
    from tasks.system.content_cache import ContentCache, EntryName

# Raised whenever the same sources give other arrays; directories of older versions are then left alone.
FORMAT_VERSION = 2
ROWS_PER_BATCH = 2048
# The packages of this checkout that make token arrays.
CODE = ("tasks",)


class BuildNeededError(StageError):
    """A part of the request is missing, and this call must not build."""


@dataclass
class Build:
    """The state that the steps of one call share."""

    request: MaterializeRequest
    output: Path
    root: Path
    progress: Progress
    show: ShowState = lambda _: None
    may_build: bool = True
    # Results that run folders share; None where everything is built here.
    cache: ContentCache | None = None
    source_files: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    # Name of each part that came from the cache -> seconds that its building took.
    cached: dict[str, float] = dataclasses.field(default_factory=dict)

    def require_build(self) -> None:
        """Stops a call that may only reuse."""
        if not self.may_build:
            raise BuildNeededError

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Adds the time of a block to `seconds`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[step] = round(self.seconds.get(step, 0.0) + time.perf_counter() - start, 3)

    def take(self, kind: str, target: Path) -> bool:
        """Takes a part from the cache; False where it has none.

        Args:
            kind: a word for what it is.
            target: its place, whose name is a digest of what shapes the content.
        """
        if self.cache is None:
            return False
        about = self.cache.take(self._entry(self.cache, kind, target), target.parent, self.progress)
        if about is not None:
            self.cached[target.name] = float(about["seconds"])
        return about is not None

    def keep(self, kind: str, target: Path, seconds: float) -> None:
        """Keeps a part that was built just now in the cache, with the seconds that it took."""
        if self.cache is not None:
            about = {"title": target.name, "seconds": round(seconds, 3)}
            self.cache.store(self._entry(self.cache, kind, target), target.parent, [target.name], about, self.progress)

    def _entry(self, cache: ContentCache, kind: str, target: Path) -> EntryName:
        """Names a part; the fields of the request are those that a name in a run's folder leaves out or abridges."""
        request = self.request
        shaped = {
            "microworld": [request.microworld_seed, request.microworld_scale],
            "vocabulary": [request.pretrain_corpora],
            "pretrain": [request.pretrain_corpora, request.pretrain_validation, request.pretrain_seed],
            "task": [request.source],
            "contamination": [request.source],
        }
        return cache.name(kind, CODE, name=target.name, request=shaped[kind])

    def source(self, path: Path | HubCorpus) -> str:
        """Digests a source file, folder or corpus, and notes it for `data.json`."""
        return self.digest_files(corpora.corpus_files(path))

    def digest_files(self, files: Iterable[Path], name: str = "") -> str:
        """Digests source files, and notes them for `data.json`: one as `name`, or each as its path below the root."""
        digests = []
        for file in files:
            known = name or os.path.relpath(file, self.root)
            if known not in self.source_files:
                self.source_files[known] = {"sha256": sha256_file(file), "bytes": file.stat().st_size}
            digests.append([known, self.source_files[known]["sha256"]])
        return digest(digests)

    def corpus(self, entry: str) -> Path | HubCorpus:
        """Finds an entry of `pretrain_corpora`."""
        return find_corpus(self.root, entry)

    def seqio_tasks(self) -> ModuleType:
        """Imports `tasks.seqio_tasks.registry`, the slow import, when the first array has to be built."""
        self.require_build()
        with self.timed("import_tensorflow"):
            from tasks.seqio_tasks import registry

            return registry


def digest(*parts: object) -> str:
    """Digests values that JSON can hold; 12 hexadecimal digits, short enough for the name of a folder."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
