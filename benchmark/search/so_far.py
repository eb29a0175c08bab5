"""A search as it stands, read from its folder while another process may run it; nothing is written or locked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.records.history import read_history
from benchmark.records.record import RecordError
from benchmark.search.journal import read_trials
from benchmark.search.pace import ended, seconds_left
from benchmark.search.results import history
from tasks.system.errors import StageError

if TYPE_CHECKING:
    from benchmark.config import SearchConfig
    from benchmark.search.journal import Trial


@dataclass(frozen=True)
class SoFar:
    """The state of a search.

    Attributes:
        total: trials of the whole search, unless it ends early.
        ended: trials that have ended, failed and stopped ones included.
        failed: those that have failed.
        running: trials that were begun and have not ended; after a kill they are done again.
        seconds_left: estimate of the time until the search ends; None where no trial has ended.
        history: the trials that have ended, as the page shows them; with the analysis where the search has ended.
    """

    total: int
    ended: int
    failed: int
    running: int
    seconds_left: float | None
    history: dict[str, Any]


def read_so_far(config: SearchConfig, directory: Path, track: str) -> SoFar:
    """Reads the state of a search.

    Args:
        config: the settings of the run.
        directory: the folder `search` of the run; it may be missing.
        track: the run's track.

    Raises:
        RecordError: the journal or the history is damaged, or belongs to other settings.
    """
    journal = directory / "journal.jsonl"
    try:
        trials = read_trials(journal)
        done = ended(trials)
        # Which of several methods the machine has is only known to the run.
        machine = "the machine of the run" if config.measures_latency else ""
        found = history(config, done, track, " or ".join(config.latency_methods), machine)
    except StageError as error:
        raise RecordError(str(error)) from None
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(f"{journal}: not the journal of the settings in config.json: {error!r}") from None
    return SoFar(
        total=max(config.num_trials, len(trials)),
        ended=len(done),
        failed=sum(trial.status == "failed" for trial in done),
        running=len(trials) - len(done),
        seconds_left=seconds_left(trials, config.num_trials, config.parallel_trials),
        history=_finished(directory / "history.json", trials) or found,
    )


def _finished(path: Path, trials: list[Trial]) -> dict[str, Any] | None:
    """Reads the history that a search writes at its end; None where there is none of all these trials."""
    if not path.exists():
        return None
    found = read_history(path)
    return found if [row["trial"] for row in found["trials"]] == [trial.number for trial in trials] else None
