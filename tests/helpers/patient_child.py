"""A process that writes its id and then waits, for the test of its end."""

import os
import time
from pathlib import Path

from benchmark.process.setup import end_with_parent
from tasks.system.atomic_write import write_text

if __name__ == "__main__":
    end_with_parent()
    write_text(Path(os.environ["PATIENT"]), str(os.getpid()))
    time.sleep(60)
