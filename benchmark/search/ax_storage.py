"""The search as an Ax experiment in a database, in addition to the journal.

A search resumes from the journal. The database is for Ax's own tools and for those who look at several searches
together: an SQLite file in the run's folder, or any database that SQLAlchemy has a driver for. After a kill it may lack
entries that the journal has, never the other way round; the next update adds them.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benchmark.search import ax_search
from tasks.system.errors import StageError

if TYPE_CHECKING:
    from pathlib import Path

    from benchmark.search.journal import Trial
    from benchmark.search.problem import Problem

# PostgreSQL's largest limit of a text.
_LONGEST = 10_485_760


class AxStorage:
    """One experiment in a database; its trials have the journal's numbers."""

    def __init__(self, url: str, name: str, problem: Problem, seed: int) -> None:
        """Opens the experiment, or creates it.

        Args:
            url: address of the database, as SQLAlchemy reads it.
            name: name of the experiment; a search finds its own by it.
            problem: the problem.
            seed: seed of the search; stored as the experiment's description, since Ax stores none.

        Raises:
            StageError: the database cannot be used; one line.
        """
        ax_search.preload()
        self._problem = problem
        try:
            with warnings.catch_warnings():
                # Ax's own column types; nothing but the speed of a statement depends on it.
                warnings.filterwarnings("ignore", r"TypeDecorator .* will not produce a cache key", _cache_warning())
                self._client: Any = _open_client(url, name, problem, seed)
        except _database_errors() as error:
            raise StageError(f"SearchConfig.storage_url = {_without_password(url)!r}: {_first_line(error)}") from None

    def update(self, trials: Sequence[Trial]) -> None:
        """Writes the changes that the journal has and the database lacks.

        Raises:
            StageError: the database cannot be written.
        """
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", r"TypeDecorator .* will not produce a cache key", _cache_warning())
                for trial in trials:
                    self._update(trial)
        except _database_errors() as error:
            raise StageError(
                f"SearchConfig.storage_url: trial {trial.number} cannot be stored: {_first_line(error)}"
            ) from None

    def _update(self, trial: Trial) -> None:
        held = self._client._experiment.trials
        if trial.number not in held:
            self._client.attach_trial(dict(trial.point), arm_name=f"{trial.number}_0")
        if not held[trial.number].status.is_terminal and trial.status != "running":
            self._end(trial)

    def _end(self, trial: Trial) -> None:
        if trial.status == "failed":
            self._client.mark_trial_failed(trial.number, failed_reason=trial.result["error"])
        elif trial.status == "completed":
            data = ax_search.trial_data(self._problem, trial.result)
            self._client.complete_trial(trial.number, raw_data=data)
        else:
            # Data of a stopped trial come from fewer steps and must not mix with those of the others.
            self._client.mark_trial_abandoned(trial.number)


def sqlite_address(path: Path) -> str:
    """Writes the address of an SQLite file; a name may have characters that mean something in an address."""
    from sqlalchemy.engine import URL

    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def _open_client(url: str, name: str, problem: Problem, seed: int) -> Any:
    from ax.api.client import Client
    from ax.api.configs import StorageConfig
    from ax.exceptions.core import ExperimentNotFoundError
    from ax.storage.sqa_store.db import create_all_tables, get_engine, init_engine_and_session_factory

    logging.getLogger("ax").setLevel(logging.ERROR)
    _register_postgresql_texts()
    init_engine_and_session_factory(url=url, force_init=True)
    create_all_tables(get_engine())
    storage = StorageConfig(url=url)
    try:
        return Client.load_from_database(name, storage_config=storage)
    except ExperimentNotFoundError:
        client: Any = Client(storage_config=storage, random_seed=seed)
        ax_search.configure(client, problem, name, f"seed {seed}")
        return client


def _register_postgresql_texts() -> None:
    """Ax limits its texts to 4 GiB, and SQLAlchemy passes that on to PostgreSQL, which accepts no such limit."""
    from sqlalchemy.ext.compiler import compiles
    from sqlalchemy.types import String, Text

    @compiles(Text, "postgresql")
    @compiles(String, "postgresql")
    def column(type_: Any, *_: Any, **__: Any) -> str:
        limited = type_.length and type_.length <= _LONGEST and not isinstance(type_, Text)
        return f"VARCHAR({type_.length})" if limited else "TEXT"


def _database_errors() -> tuple[type[Exception], ...]:
    """Returns the errors that a broken database or a missing driver raises."""
    from sqlalchemy.exc import SQLAlchemyError

    return SQLAlchemyError, ImportError


def _cache_warning() -> type[Warning]:
    from sqlalchemy.exc import SAWarning

    return SAWarning


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [repr(error)])[0][:300]


def _without_password(url: str) -> str:
    """Returns the address without its password."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return url
