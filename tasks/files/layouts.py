"""Places of the official files of a task below a data root, under all customary names.

The folders of the tasks lie in `glue/` (or `glue_data/`, as the usual download script calls it, or `GLUE/`) and in
`squad/` (or `SQuAD/`), or in the root itself. Every file may be plain or compressed. MRPC may also come as it was
published first: `msr_paraphrase_train.txt`, which GLUE's `dev_ids.tsv` divides into training and validation rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.catalogue import GROUP_FOLDERS, TaskInfo
from tasks.system.compression import COMPRESSIONS, existing_file
from tasks.system.errors import DataError


@dataclass(frozen=True)
class SplitFiles:
    """The files that one split is read from."""

    # The file with the rows.
    table: Path
    # The file with the ids of the validation rows, where `table` holds training and validation rows.
    validation_ids: Path | None
    # For each file the name by which `tasks.files.known_files` knows it.
    official_names: tuple[str, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files, the one with the rows first."""
        return (self.table,) if self.validation_ids is None else (self.table, self.validation_ids)


def _places(info: TaskInfo, directory: Path, split: str) -> Iterator[tuple[tuple[Path, ...], tuple[str, ...]]]:
    """Lists where a split may lie, best first: the (uncompressed) paths that are needed together, and their names."""
    group, _, folder = info.directory.partition("/")
    official = info.official_file(split)
    bases = [directory / name for name in GROUP_FOLDERS[group]]
    for base in bases:
        yield (base / folder / official.rsplit("/", 1)[1],), (official,)
        for other in info.other_files.get(split, ()):
            yield (base / other,), (official,)
    parts = info.parts.get(split)
    if parts:
        for base in bases:
            yield tuple(base / folder / part for part in parts), tuple(f"{info.directory}/{part}" for part in parts)


def find_all(info: TaskInfo, directory: Path | str, split: str) -> list[SplitFiles]:
    """Finds every file that a split can be read from.

    Returns:
        The files that exist, in order of preference: readers use the first.
    """
    if split not in info.split_stems:
        return []
    found: list[SplitFiles] = []
    for wanted, names in _places(info, Path(directory), split):
        paths = [existing_file(path) for path in wanted]
        table = paths[0]
        # Where file names ignore case, `glue` and `GLUE` are one folder.
        if table is not None and all(paths) and not any(table.samefile(files.table) for files in found):
            found.append(SplitFiles(table, paths[1] if len(paths) > 1 else None, names))
    return found


def find(info: TaskInfo, directory: Path | str, split: str) -> SplitFiles | None:
    """Finds the files that a split is read from.

    Returns:
        The files, or None where there are none.
    """
    return next(iter(find_all(info, directory, split)), None)


def missing(info: TaskInfo, directory: Path | str, split: str) -> DataError:
    """Makes the error for a missing split: the paths that were tried, their expected content, its source."""
    if split not in info.split_stems:
        where = f"; it is predicted with the model of {info.trained_on}" if info.trained_on and split == "train" else ""
        return DataError(f"task {info.name} has no split '{split}'; it has {', '.join(info.split_stems)}{where}")
    first, *others = (" with ".join(map(str, paths)) for paths, _ in _places(info, Path(directory), split))
    return DataError(
        f"{first} (or {', '.join(COMPRESSIONS)}) is missing: it should hold the {split} split of {info.title}"
        f" ({info.split_sizes[split]:,} examples); also looked at {', '.join(others)};"
        f" get it from {info.download}"
    )


def require(info: TaskInfo, directory: Path | str, split: str) -> SplitFiles:
    """Finds the files of a split that must be there.

    Raises:
        DataError: they are not; see `missing`.
    """
    files = find(info, directory, split)
    if files is None:
        raise missing(info, directory, split)
    return files
