"""What all tests share.

The tests run under portable numerics, as runs do, so that they compute the same everywhere. With
`AUTODISTILL_NUMERICS=native` in the environment, and on processors that cannot have portable ones, they have those of
the machine.
"""

import os
from pathlib import Path

import hypothesis
import pytest

from benchmark.process import numerics
from tasks.system.cache_folder import VARIABLE

# No test reads or fills the cache of the user; a test of the cache names a folder of its own.
os.environ[VARIABLE] = "none"

# Before anything numerical is imported.
NUMERICS = os.environ.get("AUTODISTILL_NUMERICS", "native" if numerics.missing_features() else "portable")
numerics.enforce(NUMERICS, 2)
# For runs that tests start with the settings of a gin file.
NUMERICS_FLAG = f"--gin.RunConfig.numerics='{NUMERICS}'"

# Deadlines fail on a busy machine for reasons that have nothing to do with the code.
hypothesis.settings.register_profile("project", deadline=None, print_blob=True)
hypothesis.settings.load_profile("project")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Starts whole runs first: they take minutes, and at the end one worker would be left alone with them."""
    items.sort(key=lambda item: "e2e" not in item.path.parts)


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
