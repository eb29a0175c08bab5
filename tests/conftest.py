"""What all tests share."""

import os
from pathlib import Path

import hypothesis
import pytest

# Deadlines fail on a busy machine for reasons that have nothing to do with the code.
hypothesis.settings.register_profile("project", deadline=None, print_blob=True)
hypothesis.settings.load_profile("project")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of the official files; tests that need it are skipped where there is none."""
    value = os.environ.get("AUTODISTILL_DATA")
    if not value:
        pytest.skip("AUTODISTILL_DATA is not set; it names the folder with glue/, squad/, pretrain/ and vocab/")
    root = Path(value)
    if not root.is_dir():
        pytest.skip(f"AUTODISTILL_DATA={value} is not a folder")
    return root
