"""The environment is the pinned one: no package is half of another version."""

import importlib.metadata
import re
import subprocess
import sys

import pytest

from tasks.system.repository import REPOSITORY

KEY = [
    "ax-platform", "flax", "gin-config", "jax", "jaxlib", "numpy", "optax", "orbax-checkpoint", "pandas", "pydantic",
    "seqio", "t5", "tensorflow-cpu", "tensorflow-datasets", "tensorflow-text", "tokenizers",
]  # fmt: skip


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(file: str) -> dict[str, str]:
    lines = (line.split("#")[0].strip() for line in (REPOSITORY / file).read_text(encoding="utf-8").splitlines())
    parts = [line.partition("==") for line in lines if line]
    assert all(separator and version for _, separator, version in parts), f"{file}: every line is name==version"
    return {normalised(name): version for name, _, version in parts}


def installed() -> dict[str, str]:
    return {normalised(d.metadata["Name"]): d.version for d in importlib.metadata.distributions()}


def test_lock_holds_the_direct_pins_and_nothing_unwanted() -> None:
    lock = pins("requirements.lock")
    assert pins("requirements.in").items() <= lock.items()
    assert not {"torch", "tensorflow", "pip"} & set(lock)
    assert not [name for name in lock if "nightly" in name]
    assert list(lock) == sorted(lock)


@pytest.mark.parametrize("name", KEY)
def test_installed_version_is_the_pinned_one(name: str) -> None:
    assert installed()[name] == pins("requirements.lock")[name]


def test_no_nightly_and_no_second_tensorflow() -> None:
    assert not [name for name in installed() if "nightly" in name or name == "tensorflow"]


def test_torch_is_the_version_that_make_installs() -> None:
    wanted = re.search(r"^TORCH \?= torch==(\S+)$", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert wanted
    assert installed()["torch"].split("+")[0] == wanted[1]


@pytest.mark.slow
def test_seqio_and_t5_import_and_are_the_pinned_ones() -> None:
    code = (
        "import seqio, t5.data, t5.evaluation.metrics, tensorflow_datasets as tfds, tensorflow_text\n"
        "print('versions', seqio.__version__, tfds.__version__)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    lock = pins("requirements.lock")
    # What is imported, not what the metadata says: a nightly writes into the same folder.
    assert f"versions {lock['seqio']} {lock['tensorflow-datasets']}" in result.stdout
