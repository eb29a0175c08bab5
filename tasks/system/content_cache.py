"""A cache of results that run folders share: an entry is named by a digest of everything that decides its content.

An entry is a folder with a manifest (what decided the content, and the digest of every file) and the files. It is
written next to its place and moved there when complete, so a killed process leaves no entry, and of two that write the
same one the second discards its own. Files are compared with their digests before an entry is used; one that differs is
not used, and goes.

Large files are hard links where the file system has them, so that an entry and the folders that use it share the space.
The shared files are read-only, and none of them is one that a stage appends to. Removing or replacing such a file in a
run's folder leaves the entry as it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.system.atomic_directory import BUILDING, atomic_directory, temporary_directory
from tasks.system.cache_entries import (
    FILES,
    MANIFEST,
    DamageError,
    collect,
    discard,
    manifest_digest,
    read_manifest,
)
from tasks.system.errors import system_message
from tasks.system.file_lock import remove_unused
from tasks.system.folders import remove_folder
from tasks.system.repository import REPOSITORY

# Raised whenever entries of earlier versions of this module cannot be used.
FORMAT_VERSION = 1
# Smaller files are copied, as a link would save nothing.
LINKED_FROM = 2**16
_TAKEN = "taken"

Report = Callable[[str], None]


@dataclass(frozen=True)
class EntryName:
    """The name of an entry: its kind, and everything that its content depends on, as JSON has it."""

    kind: str
    inputs: Mapping[str, Any]

    @property
    def key(self) -> str:
        """SHA-256, in hexadecimal, of the canonical JSON of kind and inputs."""
        text = json.dumps([self.kind, self.inputs], sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.kind}-{self.key}"


@dataclass(frozen=True)
class ContentCache:
    """A folder of entries, and what all results of this process depend on.

    Attributes:
        folder: the folder, which can be written to.
        limit: bytes of all entries together, above which the least recently used ones go.
        code: package of this checkout -> digest of its source files, when the process began.
        versions: package -> version, of Python and of everything installed that can change a number.
    """

    folder: Path
    limit: int
    code: Mapping[str, str]
    versions: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Turns it into what JSON has, for another process of the same command."""
        return {**vars(self), "folder": str(self.folder), "code": dict(self.code), "versions": dict(self.versions)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ContentCache:
        """Reverses `to_dict`."""
        return cls(**{**values, "folder": Path(values["folder"])})

    def name(self, kind: str, packages: Collection[str], **values: Any) -> EntryName:
        """Names an entry.

        Args:
            kind: a word in small letters.
            packages: the packages of this checkout whose code makes it.
            values: what else decides the content; JSON must have it.
        """
        code = {package: self.code[package] for package in sorted(packages)}
        inputs = {"format": FORMAT_VERSION, "code": code, "versions": dict(self.versions), **values}
        return EntryName(kind, json.loads(json.dumps(inputs)))

    def take(self, name: EntryName, root: Path, report: Report) -> dict[str, Any] | None:
        """Places the content of an entry in a folder; what has the names of its items there is replaced.

        Args:
            name: the entry.
            root: the folder; it is made if there is none.
            report: receives a line about an entry that is damaged or cannot be used.

        Returns:
            What was said about the entry when it was stored; None where there is no such entry, and then nothing in the
            folder was changed.
        """
        entry = self.folder / str(name)
        try:
            if not entry.is_dir():
                return None
            manifest = read_manifest(entry)
            _refuse_damage(entry, manifest, name)
        except DamageError as damage:
            report(f"cache: {entry} is damaged ({damage}); it is not used, and was removed")
            discard(entry)
            return None
        except OSError as error:
            # It may have left the cache this moment.
            if entry.is_dir():
                report(f"cache: not used: {system_message(error)}")
            return None
        try:
            _place(entry / FILES, manifest, root)
        except OSError as error:
            report(f"cache: not used: {system_message(error)}")
            return None
        with suppress(OSError):
            os.utime(entry / MANIFEST)
        about: dict[str, Any] = manifest["about"]
        return about

    def store(
        self,
        name: EntryName,
        root: Path,
        items: Sequence[str],
        about: Mapping[str, Any],
        report: Report,
        *,
        appended: Collection[str] = (),
    ) -> None:
        """Keeps a result, and lets the least recently used entries go where there are too many; never fails.

        Args:
            name: the entry.
            root: the folder that holds the result.
            items: names of files and folders in it, in the order in which they are to be placed; absent ones are left
                out.
            about: values that are handed out with the entry; `title` and `seconds` are shown in lists.
            report: receives a line where the result is not kept.
            appended: the items to which somebody may append.
        """
        entry = self.folder / str(name)
        if entry.is_dir():
            return
        title = about.get("title", name.kind)
        if code_digests(self.code) != self.code:
            report(f"cache: {title} is not kept: files of the program have changed since it began")
            return
        try:
            items = [item for item in items if (root / item).exists()]
            files = [file for item in items for file in _files(root, root / item)]
            size = sum((root / file).stat().st_size for file in files)
            if size > self.limit:
                report(f"cache: {title} is not kept: {size:,} bytes are above the limit of {self.limit:,}")
                return
            with atomic_directory(entry) as temporary:
                described = {
                    file: _kept(root / file, temporary / FILES / file, file.split("/")[0] not in appended)
                    for file in files
                }
                _write_manifest(temporary, name, about, items, described)
            collect(self.folder, self.limit)
        except OSError as error:
            report(f"cache: {title} is not kept: {system_message(error)}")


def _write_manifest(
    entry: Path, name: EntryName, about: Mapping[str, Any], items: Sequence[str], files: Mapping[str, Any]
) -> None:
    manifest = {
        "kind": name.kind,
        "inputs": dict(name.inputs),
        "about": dict(about),
        "items": list(items),
        "files": dict(files),
        "stored": round(time.time(), 3),
    }
    text = json.dumps({**manifest, "sha256": manifest_digest(manifest)}, indent=1, sort_keys=True)
    (entry / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _files(root: Path, item: Path) -> list[str]:
    """Lists an item's files by their paths below `root`."""
    files = sorted(item.rglob("*")) if item.is_dir() else [item]
    return [file.relative_to(root).as_posix() for file in files if file.is_file()]


def _kept(source: Path, target: Path, may_be_linked: bool) -> dict[str, Any]:
    """Puts a file into an entry; gives its size, its digest, and whether others may link it."""
    size = source.stat().st_size
    linked = may_be_linked and size >= LINKED_FROM
    _link_or_copy(source, target, linked)
    target.chmod(0o444)
    return {"bytes": size, "sha256": _sha256(target), "linked": linked}


def _link_or_copy(source: Path, target: Path, linked: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if linked:
        # Another file system, one without links, too many of them, another user's file.
        with suppress(OSError):
            target.hardlink_to(source.resolve())
            return
    shutil.copyfile(source, target)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse_damage(entry: Path, manifest: Mapping[str, Any], name: EntryName) -> None:
    """Reads all files of an entry.

    Raises:
        DamageError: one is missing or not what was written, or the entry is of something else.
        OSError: one cannot be read, or the entry was removed meanwhile.
    """
    if (manifest["kind"], manifest["inputs"]) != (name.kind, name.inputs):
        raise DamageError("it is of something else")
    for file, expected in manifest["files"].items():
        try:
            digest = _sha256(entry / FILES / file)
        except FileNotFoundError:
            if (entry / MANIFEST).exists():
                raise DamageError(f"{file} is missing") from None
            raise
        if digest != expected["sha256"]:
            raise DamageError(f"{file} is not what was written")


def _place(files: Path, manifest: Mapping[str, Any], root: Path) -> None:
    """Makes the items of an entry next to their places, and moves them there one after the other."""
    root.mkdir(parents=True, exist_ok=True)
    for left in root.glob(f"{BUILDING}{_TAKEN}*"):
        remove_unused(left)
    with temporary_directory(root, _TAKEN) as temporary:
        for file, expected in manifest["files"].items():
            _link_or_copy(files / file, temporary / file, expected["linked"])
        for item in manifest["items"]:
            target = root / item
            if target.is_dir() or target.is_symlink():
                remove_folder(target)
            (temporary / item).replace(target)


def code_digests(packages: Collection[str]) -> dict[str, str]:
    """Digests the source files of packages of this checkout, with their names: package -> SHA-256 in hexadecimal."""
    found = {}
    for package in packages:
        whole = hashlib.sha256()
        folder = REPOSITORY / package
        for file in sorted(folder.rglob("*.py")):
            whole.update(f"{file.relative_to(folder).as_posix()}\n".encode())
            whole.update(hashlib.sha256(file.read_bytes()).digest())
        found[package] = whole.hexdigest()
    return found
