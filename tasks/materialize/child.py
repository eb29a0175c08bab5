"""The process that builds token arrays; `tasks.materialize.start_child` starts it."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from tasks.materialize.request import MaterializeRequest
from tasks.system.content_cache import ContentCache
from tasks.system.errors import DataError


class _EarlyImport(threading.Thread):
    """The import of a module beside other work; `error` is what it raised."""

    def __init__(self, module: str) -> None:
        super().__init__(daemon=True)
        self._module = module
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            importlib.import_module(self._module)
        except Exception as error:  # noqa: BLE001  (kept, and raised where the module is needed)
            self.error = error


def main() -> None:
    """Reads a request from standard input, serves it, and answers on standard output."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # Whatever a library prints goes to the log, not between the answers.
    os.dup2(2, 1)

    def write_answer(**answer: Any) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    from tasks.materialize.steps import materialize

    # A child is started only to build. The slow import of TensorFlow runs while text is generated and the vocabulary is
    # trained; an import that fails here fails again where it is needed.
    early = _EarlyImport("tasks.seqio_tasks.registry")
    early.start()
    message = json.load(sys.stdin)
    try:
        request = MaterializeRequest.from_dict(message["request"])
        output, shared = Path(message["output"]), message.get("cache")
        result = materialize(
            request,
            output,
            lambda line: write_answer(progress=line),
            lambda state: write_answer(state=dataclasses.asdict(state)),
            None if shared is None else ContentCache.from_dict(shared),
            message.get("cached", {}),
        )
        write_answer(result=result)
    except DataError as error:
        write_answer(error=str(error))
    except OSError as error:
        # A full disk, a folder without write permission: the system's message is enough, a traceback adds nothing.
        write_answer(failure=f"{error.filename or message['output']}: {error.strerror or error}")
    except Exception as error:
        # The second import of a package that is there in part fails for another reason than the first.
        if early.error is not None:
            raise early.error from error
        raise


if __name__ == "__main__":
    main()
