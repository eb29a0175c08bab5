"""An environment of Python that holds the packages of the extra `light` and what they need, and nothing else."""

from __future__ import annotations

import importlib.metadata as metadata
import sysconfig
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tasks.system.repository import REPOSITORY


def light_requirements() -> list[Requirement]:
    """What `pyproject.toml` lists for light hosts."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [Requirement(text) for text in project["optional-dependencies"]["light"]]


def closure(requirements: list[Requirement]) -> dict[str, metadata.Distribution]:
    """The installed distributions that satisfy the requirements, and all that these require in turn, by name.

    Raises:
        AssertionError: an installed version does not satisfy a requirement of ours.
    """
    found: dict[str, metadata.Distribution] = {}
    waiting = [(requirement, True) for requirement in requirements]
    seen: set[str] = set()
    while waiting:
        requirement, ours = waiting.pop()
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        name = canonicalize_name(requirement.name)
        distribution = found[name] = metadata.distribution(name)
        assert not ours or distribution.version in requirement.specifier, (requirement, distribution.version)
        for text in distribution.requires or []:
            needed = Requirement(text)
            extras = requirement.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append((needed, False))
    return found


def entries(distribution: metadata.Distribution) -> Iterator[Path]:
    """Files and packages of a distribution below the folder of packages; of a namespace what is in it."""
    for path in distribution.files or []:
        if path.parts[0] == "..":
            continue
        top = Path(str(distribution.locate_file(path.parts[0])))
        namespace = top.is_dir() and top.suffix not in (".dist-info", ".libs") and not (top / "__init__.py").exists()
        yield Path(*path.parts[: 2 if namespace else 1])


def make(directory: Path) -> Path:
    """Makes the environment out of links to the installed packages; returns its Python."""
    venv.create(directory, with_pip=False, symlinks=True)
    scheme = {"base": str(directory), "platbase": str(directory)}
    packages = Path(sysconfig.get_path("purelib", "posix_prefix", vars=scheme))
    for distribution in closure(light_requirements()).values():
        for entry in set(entries(distribution)):
            if entry.name == "__pycache__":
                continue
            (packages / entry).parent.mkdir(parents=True, exist_ok=True)
            if not (packages / entry).exists():
                (packages / entry).symlink_to(Path(str(distribution.locate_file(entry))).resolve())
    return directory / "bin" / "python"
