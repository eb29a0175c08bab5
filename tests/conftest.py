"""What all tests share.

The tests run under portable numerics, as runs do, so that they compute the same everywhere. With
`AUTODISTILL_NUMERICS=native` in the environment, and on processors that cannot have portable ones, they have those of
the machine.
"""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

import hypothesis
import pytest

from benchmark.process import numerics
from tasks.system.cache_folder import VARIABLE

# No test reads or fills the cache of the user; a test of the cache names a folder of its own.
os.environ[VARIABLE] = "none"

# Compiling is most of the time of many tests: the workers, and the runs that tests start, share one cache of compiled
# programs. A limit, far above what is kept, lets JAX lock it. What is compared with peers compiles for itself.
PROGRAMS = "JAX_COMPILATION_CACHE_DIR"
if PROGRAMS not in os.environ and "--benchmark-only" not in sys.argv:
    os.environ[PROGRAMS] = tempfile.mkdtemp(prefix="programs-")
    os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(10 * 2**30)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    atexit.register(shutil.rmtree, os.environ[PROGRAMS], ignore_errors=True)

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
