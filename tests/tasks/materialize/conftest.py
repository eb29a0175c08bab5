"""Official files and the arrays made of them, once for all tests of the folder."""

import shutil
from pathlib import Path

import pytest

from tasks.materialize.steps import materialize
from tests.tasks.materialize.official import make_request, write_root


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """The official files."""
    root = tmp_path_factory.mktemp("data")
    write_root(root)
    return root


@pytest.fixture(scope="session")
def made(root, tmp_path_factory):
    output = tmp_path_factory.mktemp("output")
    lines = []
    return output, materialize(make_request(root), output, lines.append), lines


@pytest.fixture
def copy(made, tmp_path):
    """A copy of the arrays of `made` that a test may change."""
    return Path(shutil.copytree(made[0], tmp_path / "copy"))
