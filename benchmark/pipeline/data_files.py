"""The files that the data stage will read: those that are there, and those that are missing, before anything starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import sources
from tasks.catalogue import find_tasks
from tasks.sources import corpora
from tasks.sources.texts import HubCorpus, find_corpus
from tasks.system.compression import existing_file
from tasks.system.errors import DataError, InputError

if TYPE_CHECKING:
    from benchmark.config import DataConfig
    from tasks.catalogue import TaskInfo


@dataclass(frozen=True)
class DataFiles:
    """The files of one part of the data.

    Attributes:
        part: a corpus, the vocabulary, or a split of a task, in words.
        paths: the files that are there.
        note: what is done without a file, such as generating it; '' where files are read.
        missing: the error of the data stage where a file is missing; None where there is none.
    """

    part: str
    paths: tuple[Path, ...] = ()
    note: str = ""
    missing: InputError | None = None

    @property
    def line(self) -> str:
        """One line for the report of a dry run."""
        if self.missing is not None:
            return f"{self.part}: MISSING: {self.missing}"
        if self.note:
            return f"{self.part}: {self.note}"
        size = sum(path.stat().st_size for path in self.paths if path.is_file()) / 2**20
        more = f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else ""
        return f"{self.part}: found {self.paths[0]}{more}, {size:.1f} MiB"


def list_data_files(config: DataConfig) -> list[DataFiles]:
    """Looks for every file that the data stage reads; nothing is opened or downloaded.

    Raises:
        ConfigError: an environment variable in a path is not set.
    """
    root = Path(config.expanded_directory())
    own = {task.name for task in config.own_tasks}
    generated = config.source == "microworld"
    found: list[DataFiles] = []
    if generated:
        found.append(DataFiles("microworld", note=f"generated, scale {config.microworld_scale:g}"))
    else:
        texts = [*config.pretrain_corpora, *([config.pretrain_validation] if config.pretrain_corpora else [])]
        found += [_corpus(root, entry) for entry in texts if entry]
    found += _vocabulary(config, root)
    for info in find_tasks(config.tasks, (task.request(root) for task in config.own_tasks)).values():
        if info.name in own or not generated:
            found += _task(config.source, info, root)
    return found


def _corpus(root: Path, entry: str) -> DataFiles:
    part, corpus = f"text {entry}", find_corpus(root, entry)
    try:
        if isinstance(corpus, HubCorpus) and corpus.kind == "tfds" and sources.unprepared("", [], root, [entry]):
            return DataFiles(part, note=f"not prepared in {root}; TensorFlow Datasets downloads it")
        return DataFiles(part, tuple(corpora.corpus_files(corpus)))
    except DataError as error:
        return DataFiles(part, missing=error)


def _vocabulary(config: DataConfig, root: Path) -> Iterator[DataFiles]:
    if config.vocabulary == "train":
        yield DataFiles("vocabulary", note=f"trained, {config.vocabulary_size} tokens")
        return
    path = config.vocabulary_path()
    if config.source == "microworld" and config.vocabulary != "checkpoint" and not path.is_absolute():
        return
    file = path if path.is_dir() else existing_file(path)
    if file is None:
        error = DataError(f"DataConfig.vocabulary = {config.vocabulary!r}: there is no {root / path}")
        yield DataFiles("vocabulary", missing=error)
    else:
        yield DataFiles("vocabulary", (file,))


def _task(source: str, info: TaskInfo, root: Path) -> Iterator[DataFiles]:
    """Lists the splits of a task; one that is optional and not there is left out."""
    if info.own is None and source == "tfds" and sources.unprepared(source, [info], root, []):
        yield DataFiles(info.name, note=f"not prepared in {root}; TensorFlow Datasets downloads it")
        return
    for split in info.split_stems:
        part = f"{info.name} {split}"
        try:
            files = sources.task_files(source, info, root, split)
            if files or split not in info.optional_splits:
                yield DataFiles(part, files or sources.require_task_files(source, info, root, split))
        except DataError as error:
            yield DataFiles(part, missing=error)


def require_data_files(config: DataConfig) -> None:
    """Refuses a run whose data stage would find a file missing.

    Raises:
        InputError: that of the data stage, for the first missing file.
    """
    for files in list_data_files(config):
        if files.missing is not None:
            raise files.missing
