"""The start of the process that builds token arrays, which keeps TensorFlow out of the calling process.

The child (`tasks.materialize.child`) gets the request as JSON on its standard input and answers with JSON
lines on its standard output: progress, then a result or an error. A fresh interpreter, not `multiprocessing`,
because the latter would import the caller's main module again.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tasks.system.child_process import ChildError, ChildProcess, child_environment, module_command
from tasks.system.errors import DataError, StageError

if TYPE_CHECKING:
    from tasks.materialize.request import MaterializeRequest
    from tasks.system.content_cache import ContentCache

_LOG_TAIL_LINES = 20
# They do not change the result.
_TOKENIZER_THREADS = 2


def environment(threads: int) -> dict[str, str]:
    """Makes the environment of the child.

    Args:
        threads: the number of threads of the tokenizer.

    Returns:
        The caller's environment, with accelerators hidden (SeqIO imports JAX, which would reserve their memory) and
        TensorFlow quiet.
    """
    return child_environment(
        os.environ,
        PYTHONUNBUFFERED="1",
        RAYON_NUM_THREADS=str(threads),
        TOKENIZERS_PARALLELISM="true",
        TF_CPP_MIN_LOG_LEVEL="3",
        CUDA_VISIBLE_DEVICES="-1",
        JAX_PLATFORMS="cpu",
    )


def run(
    request: MaterializeRequest,
    output: Path,
    progress: Callable[[str], None],
    show: Callable[[dict[str, Any]], None] = lambda _: None,
    *,
    cache: ContentCache | None = None,
    cached: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, Any]:
    """Runs the child and waits for it.

    Args:
        request: the data to make.
        output: the folder for the result.
        progress: gets the lines of the child's progress as they come.
        show: gets the fields of `tasks.materialize.progress.State`, a few times a second during long steps.
        cache: results that other folders share.
        cached: parts that came from it already, with the seconds that their building took.

    Returns:
        The content of `data.json`.

    Raises:
        DataError: that of the child, unchanged.
        StageError: the system refused the child something: a full disk, a folder that cannot be written.
        RuntimeError: if the child died otherwise; the message ends with the end of its log.
    """
    message = json.dumps(
        {
            "request": dataclasses.asdict(request),
            "output": str(output),
            "cache": None if cache is None else cache.to_dict(),
            "cached": dict(cached),
        }
    )
    # Paths of a request may be relative to the folder of this process.
    child = ChildProcess(module_command("tasks.materialize.child"), environment(_TOKENIZER_THREADS), "data", None)
    with child:
        child.send(message)
        try:
            answer = _last_answer(child, progress, show)
        except ChildError as error:
            tail = "\n".join(error.log.splitlines()[-_LOG_TAIL_LINES:])
            raise RuntimeError(f"{error}\n{tail}") from None
        except StageError as error:
            raise DataError(str(error)) from None
    if "failure" in answer:
        raise StageError(answer["failure"])
    result: dict[str, Any] = answer["result"]
    return result


def _last_answer(
    child: ChildProcess, progress: Callable[[str], None], show: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Passes the child's progress on until it answers with `result` or `failure`; raises as `ChildProcess.answers`."""
    for answer in child.answers():
        if "progress" in answer:
            progress(answer["progress"])
        elif "state" in answer:
            show(answer["state"])
        else:
            return answer
    raise child.death()
