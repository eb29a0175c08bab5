"""The files that the data stage will read: those that are there, missing, or of no use, before anything starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import sources
from tasks.catalogue import find_tasks
from tasks.sources import corpora, own
from tasks.sources.texts import HubCorpus, find_corpus
from tasks.system.cache_folder import shown_size
from tasks.system.compression import existing_file
from tasks.system.errors import DataError, InputError

if TYPE_CHECKING:
    from benchmark.config import DataConfig
    from tasks.catalogue import TaskInfo
    from tasks.files.bad_rows import OnBadRow


@dataclass(frozen=True)
class DataFiles:
    """The files of one part of the data.

    Attributes:
        part: a corpus, the vocabulary, or a split of a task, in words.
        paths: the files that are there.
        note: what is done without a file, such as generating it; '' where files are read.
        refused: the error of the data stage where a file is missing, or is of no use; None where there is none.
    """

    part: str
    paths: tuple[Path, ...] = ()
    note: str = ""
    refused: InputError | None = None

    @property
    def line(self) -> str:
        """One line for the report of a dry run."""
        if self.refused is not None:
            return f"{self.part}: {'REFUSED' if self.paths else 'MISSING'}: {self.refused}"
        if self.note:
            return f"{self.part}: {self.note}"
        size = shown_size(sum(path.stat().st_size for path in self.paths if path.is_file()))
        more = f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else ""
        return f"{self.part}: found {self.paths[0]}{more}, {size}"


def list_data_files(config: DataConfig) -> list[DataFiles]:
    """Looks for every file that the data stage reads; nothing is downloaded.

    Of own tasks, whose columns and labels are settings of the run, the labels and the first rows are read too.

    Raises:
        ConfigError: an environment variable in a path is not set.
    """
    root = Path(config.expanded_directory())
    own_tasks = {task.name for task in config.own_tasks}
    generated = config.source == "microworld"
    found: list[DataFiles] = []
    if generated:
        found.append(DataFiles("microworld", note=f"generated, scale {config.microworld_scale:g}"))
    else:
        texts = [*config.pretrain_corpora, *([config.pretrain_validation] if config.pretrain_corpora else [])]
        found += [_corpus(root, entry) for entry in texts if entry]
    found += _vocabulary(config, root)
    own_requests = (task.request(root) for task in config.own_tasks)
    for info in find_tasks(config.tasks, own_requests, config.train_files).values():
        if info.name in own_tasks:
            found += _own_task(info, root, "skip" if config.on_bad_row == "skip" else "error")
        elif not generated:
            found += _task(config.source, info, root)
    return found


def _corpus(root: Path, entry: str) -> DataFiles:
    part, corpus = f"text {entry}", find_corpus(root, entry)
    try:
        if isinstance(corpus, HubCorpus) and corpus.kind == "tfds" and sources.unprepared("", [], root, [entry]):
            return DataFiles(part, note=f"not prepared in {root}; TensorFlow Datasets downloads it")
        return DataFiles(part, tuple(corpora.corpus_files(corpus)))
    except DataError as error:
        return DataFiles(part, refused=error)


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
        yield DataFiles("vocabulary", refused=error)
    else:
        yield DataFiles("vocabulary", (file,))


def _task(source: str, info: TaskInfo, root: Path) -> Iterator[DataFiles]:
    """Lists the splits of a task; one that is optional and not there is left out."""
    if source == "tfds" and sources.unprepared(source, [info], root, []):
        yield DataFiles(info.name, note=f"not prepared in {root}; TensorFlow Datasets downloads it")
        return
    for split in info.split_stems:
        part = f"{info.name} {split}"
        try:
            files = sources.task_files(source, info, root, split)
            if files or split not in info.optional_splits:
                yield DataFiles(part, files or sources.require_task_files(source, info, root, split))
        except DataError as error:
            yield DataFiles(part, refused=error)


def _own_task(info: TaskInfo, root: Path, on_bad_row: OnBadRow) -> Iterator[DataFiles]:
    """Lists the files of an own task; where all are there, looks for its columns, its labels and an example in them."""
    definition = own.definition(info)
    files = {split: own.task_files(info, root, split) for split in definition.splits}
    refused: dict[str, DataError] = {}
    if all(files.values()):
        try:
            info = own.resolve(definition)
        except DataError as error:
            refused["train"] = error
    for split, there in files.items():
        part = f"{info.name} {split}"
        if not there:
            yield DataFiles(part, refused=own.missing_split(info, root, split))
            continue
        if all(files.values()) and not refused:
            try:
                next(own.read_examples(info, root, split, on_bad_row))
            except DataError as error:
                yield DataFiles(part, there, refused=error)
                continue
        yield DataFiles(part, there, refused=refused.get(split))


def require_data_files(config: DataConfig) -> None:
    """Refuses a run whose data stage would find a file missing, or an own task's of no use.

    Raises:
        InputError: that of the data stage, for the first such file.
    """
    for files in list_data_files(config):
        if files.refused is not None:
            raise files.refused
