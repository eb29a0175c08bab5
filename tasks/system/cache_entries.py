"""The entries of a cache of results as files: reading, listing, removing, and the limit of their size."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.system.atomic_directory import BUILDING
from tasks.system.file_lock import remove_unused
from tasks.system.folders import remove_folder

MANIFEST, FILES = "entry.json", "files"

_ENTRY = re.compile(r"[a-z_]+-[0-9a-f]{64}")
_MEMBERS = {"kind": str, "inputs": dict, "about": dict, "items": list, "files": dict, "stored": float}
# A folder that is being built is locked a moment after it was made.
_LEFT_BEHIND_S = 600.0


class DamageError(Exception):
    """An entry that is not what was written; the message has a few words on it."""


@dataclass(frozen=True)
class Entry:
    """An entry as it is listed.

    Attributes:
        path: its folder.
        kind: what it is a result of.
        title: a few words on it.
        size: bytes of its files.
        used: when it was stored or used last, seconds since the epoch.
        seconds: time that it took to compute.
    """

    path: Path
    kind: str
    title: str
    size: int
    used: float
    seconds: float


def manifest_digest(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of a manifest without its own digest."""
    content = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def read_manifest(entry: Path) -> dict[str, Any]:
    """Reads the manifest of an entry.

    Raises:
        DamageError: it is not what was written.
        OSError: it cannot be read.
    """
    try:
        manifest = json.loads((entry / MANIFEST).read_text(encoding="utf-8"))
        whole = all(isinstance(manifest[name], kind) for name, kind in _MEMBERS.items())
        if not whole or manifest["sha256"] != manifest_digest(manifest):
            raise DamageError(f"{MANIFEST} is not what was written")
    except FileNotFoundError:
        # Gone with its entry, or alone.
        if entry.is_dir():
            raise DamageError(f"{MANIFEST} is missing") from None
        raise
    except (ValueError, KeyError, TypeError):
        raise DamageError(f"{MANIFEST} is not what was written") from None
    return dict(manifest)


def entries(folder: Path) -> list[Entry]:
    """Lists the entries of a cache, the least recently used first; other files in its folder are left out.

    Raises:
        OSError: the folder cannot be read.
    """
    found = []
    for path in folder.iterdir():
        if _ENTRY.fullmatch(path.name):
            try:
                found.append(_entry(path))
            except FileNotFoundError:
                # Another process has removed it meanwhile.
                continue
    return sorted(found, key=lambda entry: (entry.used, entry.path.name))


def _entry(path: Path) -> Entry:
    """Describes an entry; a damaged one by what is there."""
    kind = path.name.rpartition("-")[0]
    try:
        manifest = read_manifest(path)
    except DamageError as damage:
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        return Entry(path, kind, f"damaged: {damage}", size, path.stat().st_mtime, 0.0)
    about, size = manifest["about"], sum(file["bytes"] for file in manifest["files"].values())
    used = (path / MANIFEST).stat().st_mtime
    return Entry(path, kind, str(about.get("title", "")), size, used, float(about.get("seconds", 0.0)))


def collect(folder: Path, limit: int) -> list[Entry]:
    """Removes the least recently used entries until the rest has at most `limit` bytes, and what killed writers left.

    Returns:
        The removed entries.

    Raises:
        OSError: the folder cannot be read.
    """
    for path in folder.glob(f"{BUILDING}*"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _LEFT_BEHIND_S:
                remove_unused(path)
    found, removed = entries(folder), []
    total = sum(entry.size for entry in found)
    for entry in found:
        if total <= limit:
            break
        discard(entry.path)
        removed.append(entry)
        total -= entry.size
    return removed


def discard(entry: Path) -> None:
    """Removes an entry; nobody sees a part of it. What cannot be removed is left."""
    going = entry.with_name(f"{BUILDING}{secrets.token_hex(8)}")
    try:
        entry.rename(going)
    except OSError:
        return
    remove_folder(going, ignore_errors=True)
