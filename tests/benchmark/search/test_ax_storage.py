"""The search in a database: SQLite in a file, and a PostgreSQL server that the test starts."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import SAWarning

from benchmark.search.architectures import Architectures
from benchmark.search.ax_storage import AxStorage, sqlite_address
from benchmark.search.journal import Trial
from benchmark.search.space import decode, enumerate_points
from tasks.system.errors import StageError
from tests.helpers.searches import CONFIG, LATENCY, SPACE, whole

PROBLEM = Architectures(CONFIG, LATENCY).problem({})
POINTS = [whole(point) for point in enumerate_points(SPACE)[:5]]


def result(number: int) -> dict[str, Any]:
    latency = LATENCY.quick(decode(SPACE, POINTS[number])).latency_s
    return {"accuracy": 40.0 + number, "accuracy_stderr": 0.5, "latency_s": latency}


TRIALS = [
    Trial(0, POINTS[0], "design", "completed", result(0)),
    Trial(1, POINTS[1], "design", "failed", {"error": "loss is nan", "latency_s": 1.0}),
    Trial(2, POINTS[2], "ax", "stopped", result(2)),
    Trial(3, POINTS[3], "ax", "completed", result(3)),
    Trial(4, POINTS[4], "ax", "running", {}),
]


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """Address of a separate server, on this machine alone."""
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("psycopg is not installed (the extra 'postgresql')")
    if not shutil.which("initdb") or not shutil.which("postgres"):
        pytest.skip("the programs of PostgreSQL (initdb, postgres) are not on the path")
    # The server refuses to work as root.
    user = {"user": "nobody"} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="autodistill-"))
    if user:
        shutil.chown(folder, "nobody")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options: dict[str, Any] = {**user, "cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(
        ["initdb", "-D", folder / "data", "-U", "search", "--auth=trust", "--no-sync"], check=True, **options
    )
    command = ["postgres", "-D", str(folder / "data"), "-p", str(port), "-k", str(folder), "-h", "127.0.0.1", "-F"]
    server = subprocess.Popen(command, **options)
    try:
        ready = ["pg_isready", "-h", "127.0.0.1", "-p", str(port), "-t", "20"]
        for _ in range(100):
            if subprocess.run(ready, **options, check=False).returncode == 0:
                break
            subprocess.run(["sleep", "0.1"], check=True)
        yield f"postgresql+psycopg://search@127.0.0.1:{port}/postgres"
    finally:
        # Ends the connections that are still open, instead of waiting for them.
        server.send_signal(signal.SIGINT)
        server.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        address: str = request.getfixturevalue("postgresql")
        return address
    return f"sqlite:///{tmp_path / 'experiment.db'}"


def stored(url: str, name: str) -> dict[int, tuple[str, dict[str, Any], dict[str, Any]]]:
    """Status, parameters and data of each trial, as Ax reads them."""
    from ax.api.client import Client
    from ax.api.configs import StorageConfig

    client: Any = Client.load_from_database(name, storage_config=StorageConfig(url=url))
    table = client._experiment.lookup_data().df
    return {
        number: (
            trial.status.name,
            dict(trial.arm.parameters),
            {row.metric_name: (row.mean, row.sem) for row in table[table.trial_index == number].itertuples()},
        )
        for number, trial in sorted(client._experiment.trials.items())
    }


def test_ax_reads_what_was_stored(url: str) -> None:
    # The first process dies after two trials began; a second one finds them ended and more begun.
    early = [dataclasses.replace(t, status="running", result={}) for t in TRIALS[:2]]
    AxStorage(url, "search of a test", PROBLEM, 7).update(early)
    assert {n: s for n, (s, *_) in stored(url, "search of a test").items()} == {0: "RUNNING", 1: "RUNNING"}
    storage = AxStorage(url, "search of a test", PROBLEM, 7)
    storage.update(TRIALS)
    storage.update(TRIALS)
    found = stored(url, "search of a test")
    assert {number: parameters for number, (_, parameters, _) in found.items()} == dict(enumerate(POINTS))
    names = [status for status, *_ in found.values()]
    assert names == ["COMPLETED", "FAILED", "ABANDONED", "COMPLETED", "RUNNING"]
    data = found[3][2]
    assert data["accuracy"] == pytest.approx((43.0, 0.5))
    assert data["log_latency_s"] == pytest.approx((math.log(result(3)["latency_s"]), 0.0))
    assert found[1][2] == found[2][2] == found[4][2] == {}
    # Another search in the same database is another experiment.
    AxStorage(url, "another", PROBLEM, 7).update(TRIALS[:1])
    assert len(stored(url, "another")) == 1 and len(stored(url, "search of a test")) == 5


@pytest.mark.parametrize("name", ["a%20b", "a#b", "a?b=c", "ä&;b", "a b"])
def test_any_name_of_a_folder_is_the_place_of_the_database(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / "experiment.db"
    path.parent.mkdir()
    with warnings.catch_warnings():
        # Nothing is printed into the log of a search.
        warnings.simplefilter("error", SAWarning)
        AxStorage(sqlite_address(path), "a search", PROBLEM, 7).update(TRIALS[:1])
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert sqlite3.connect(path).execute("select name from experiment_v2").fetchall() == [("a search",)]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("sqlite:////no/such/folder/x.db", "unable to open database file"),
        ("nothing://x", "Can't load plugin"),
        ("no address", "Could not parse SQLAlchemy URL"),
        ("mysql+pymysql://me:secret@127.0.0.1/x", "No module named 'pymysql'"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_line(address: str, said: str) -> None:
    with pytest.raises(StageError, match=said) as caught:
        AxStorage(address, "x", PROBLEM, 0)
    text = str(caught.value)
    assert text.startswith("SearchConfig.storage_url = ") and "\n" not in text and "secret" not in text
