"""Runs `tasks.materialize` in a process of its own, so that TensorFlow never enters the caller's.

The child gets the request as JSON on its standard input and answers with JSON lines on its standard output: progress,
then a result or an error. A fresh interpreter, not `multiprocessing`, because the latter would import the caller's main
module again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.errors import DataError
from tasks.request import MaterializeRequest

_LOG_TAIL_LINES = 20


def environment(threads: int) -> dict[str, str]:
    """Gives the environment of the child.

    Args:
      threads: how many threads the tokenizer may use.

    Returns:
      the caller's environment, with accelerators hidden (SeqIO imports JAX, which would reserve their memory) and
      TensorFlow quiet.
    """
    package_root = str(Path(__file__).resolve().parent.parent)
    paths = [package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        "RAYON_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "true",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        "JAX_PLATFORMS": "cpu",
    }


def run(
    request: MaterializeRequest,
    output: Path,
    progress: Callable[[str], None],
    show: Callable[[dict[str, Any]], None] = lambda state: None,
) -> dict[str, Any]:
    """Runs the child and waits for it.

    Args:
      request: what to make.
      output: the folder for the result.
      progress: gets the lines of the child's progress as they come.
      show: gets the fields of `tasks.progress.State`, a few times a second during long steps.

    Returns:
      the content of `data.json`.

    Raises:
      DataError: the child's, unchanged.
      RuntimeError: if the child died otherwise; the message ends with the end of its log.
    """
    message = json.dumps({"request": dataclasses.asdict(request), "output": str(output)})
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tasks.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment(request.processes),
            encoding="utf-8",
        )
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(message)
            process.stdin.close()
            for line in process.stdout:
                answer = json.loads(line)
                if "progress" in answer:
                    progress(answer["progress"])
                elif "state" in answer:
                    show(answer["state"])
                elif "error" in answer:
                    raise DataError(answer["error"])
                else:
                    return answer["result"]
            process.wait()
            log.seek(0)
            tail = "".join(log.readlines()[-_LOG_TAIL_LINES:])
            raise RuntimeError(f"the data process ended with exit code {process.returncode}:\n{tail}")
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def _import_quietly(module: str) -> None:
    with contextlib.suppress(Exception):
        importlib.import_module(module)


def main() -> None:
    """Reads a request from standard input, serves it, and answers on standard output."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # Whatever a library prints goes to the log, not between the answers.
    os.dup2(2, 1)

    def say(**answer: Any) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    from tasks.materialize import materialize

    # A child is started only to build. The slow import of TensorFlow goes on while text is generated and vocabulary is
    # trained; an import that fails there fails again, audibly, where it is needed.
    threading.Thread(target=_import_quietly, args=("tasks.seqio_tasks",), daemon=True).start()
    message = json.load(sys.stdin)
    try:
        request = MaterializeRequest.from_dict(message["request"])
        output = Path(message["output"])
        result = materialize(
            request, output, lambda line: say(progress=line), lambda state: say(state=dataclasses.asdict(state))
        )
        say(result=result)
    except DataError as error:
        say(error=str(error))
    except OSError as error:
        # A full disk, a folder that may not be written: the system's words say it, a trace of our code adds nothing.
        say(error=f"{error.filename or message['output']}: {error.strerror or error}")


if __name__ == "__main__":
    main()
