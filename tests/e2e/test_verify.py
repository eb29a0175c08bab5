"""`--verify` through the command line: records are made again in other folders, and what was changed is found."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmark.records.verification import Verification
from tasks.system.repository import REPOSITORY
from tests.conftest import NUMERICS
from tests.e2e.tiny_run import environment

RECORDED = REPOSITORY / "tests" / "data" / "quickstart"

pytestmark = pytest.mark.skipif(NUMERICS != "portable", reason="the tests run with native numerics")


def verify(path: Path, workdir: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Verifies a record file."""
    command = [sys.executable, "run_benchmark.py", f"--verify={path}", f"--workdir={workdir}", *flags]
    return subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, env=environment(), timeout=600, check=False
    )


def copied(record: Path, folder: Path, change: Callable[[dict[str, Any]], None] = lambda value: None) -> Path:
    """A record alone in a folder, with a change. Its latency is of another chip: a busy machine measures badly."""
    value = json.loads(record.read_text(encoding="utf-8"))
    for block in value["latency"]:
        if block["method"] == "measured":
            block["chip"] = "another"
    change(value)
    path = folder / "record.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def lines(output: str, outcome: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith(f"{outcome}  ")]


def found_record(workdir: Path) -> Path:
    return next((workdir / "results").glob("found-*.json"))


def test_the_committed_control_of_the_quickstart_is_equal_here(complete: tuple[Path, str], tmp_path: Path) -> None:
    """The cheapest of the committed records: data, initial values, fine-tuning, predictions and intervals."""
    path = copied(RECORDED / "untrained.json", tmp_path)
    done = verify(path, tmp_path / "run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not lines(done.stdout, "different") and not lines(done.stdout, "within tolerance")
    equal = lines(done.stdout, "equal")
    for name in ("training.parameters_sha256", "tasks.squad_v1_1_v1.predictions_sha256", "provenance.data_digests"):
        assert any(name in line for line in equal), name
    # No teacher was trained, and nobody but the control.
    assert not (tmp_path / "run" / "teacher").exists()
    assert [entry.name for entry in (tmp_path / "run" / "students").iterdir()] == ["untrained"]
    written = Verification.model_validate_json((tmp_path / "record.verification.json").read_text(encoding="utf-8"))
    assert written.outcome == "equal" and written.seconds > 0 and written.versions["jax"]
    # The same command again uses what is there; another record does not get this folder.
    again = verify(path, tmp_path / "run")
    assert again.returncode == 0 and "distill untrained: reused" in again.stdout
    refused = verify(copied(found_record(complete[0]), tmp_path), tmp_path / "run")
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert "holds something else than a verification of" in refused.stderr


def test_one_changed_score_of_a_found_student(complete: tuple[Path, str], tmp_path: Path) -> None:
    def change(value: dict[str, Any]) -> None:
        value["tasks"][0]["metrics"]["accuracy"]["per_seed"][1] += 0.5

    path = copied(found_record(complete[0]), tmp_path, change)
    done = verify(path, tmp_path / "run")
    assert done.returncode == 1, done.stdout + done.stderr
    (line,) = lines(done.stdout, "different")
    assert "tasks.glue_sst2_v1.accuracy.per_seed" in line
    assert not lines(done.stdout, "within tolerance")
    assert any("search.choice" in line for line in lines(done.stdout, "equal"))
    name = found_record(complete[0]).stem
    assert sorted(entry.name for entry in (tmp_path / "run" / "students").iterdir()) == [name, f"{name}@1"]


def test_a_changed_trial_is_found_where_the_search_is_run_again(complete: tuple[Path, str], tmp_path: Path) -> None:
    changed: list[int] = []

    def change(value: dict[str, Any]) -> None:
        encoder, trials = value["system"]["encoder"], value["search"]["trials"]
        others = [i for i, t in enumerate(trials) if any(encoder[name] != v for name, v in t["point"].items())]
        trials[others[0]]["accuracy"] -= 0.5
        changed.append(others[0])

    path = copied(found_record(complete[0]), tmp_path, change)
    done = verify(path, tmp_path / "run", "--verify_search")
    assert done.returncode == 1, done.stdout + done.stderr
    (line,) = lines(done.stdout, "different")
    assert f"search.trials.{changed[0]}" in line
    written = Verification.model_validate_json((tmp_path / "record.verification.json").read_text(encoding="utf-8"))
    assert written.searched and len([f for f in written.fields if f.field.startswith("search.trials.")]) == 3


def other_batch(value: dict[str, Any]) -> None:
    text = value["provenance"]["gin_text"]
    assert "FinetuneConfig.batch_size = 16" in text
    value["provenance"]["gin_text"] = text.replace("FinetuneConfig.batch_size = 16", "FinetuneConfig.batch_size = 8")


def other_choice(value: dict[str, Any]) -> None:
    """Makes another trial the best."""
    encoder, trials = value["system"]["encoder"], value["search"]["trials"]
    other = next(t for t in trials if any(encoder[name] != number for name, number in t["point"].items()))
    other["accuracy"], other["latency_s"] = 99.0, 1e-9


def other_data(value: dict[str, Any]) -> None:
    digests = value["provenance"]["data_digests"]
    digests[min(digests)] = "0" * 64


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (other_batch, "provenance.config_fingerprint"),
        (other_choice, "search.choice"),
        (other_data, "provenance.data_digests."),
    ],
)
def test_contradictions_are_found_before_anything_is_trained(
    complete: tuple[Path, str], tmp_path: Path, change: Callable[[dict[str, Any]], None], field: str
) -> None:
    path = copied(found_record(complete[0]), tmp_path, change)
    done = verify(path, tmp_path / "run")
    assert done.returncode == 1, done.stdout + done.stderr
    assert any(field in line for line in lines(done.stdout, "different"))
    assert not (tmp_path / "run" / "teacher").exists()


def newer(value: dict[str, Any]) -> None:
    value["schema_version"] = 99


def missing_data(value: dict[str, Any]) -> None:
    text = value["provenance"]["gin_text"]
    value["provenance"]["gin_text"] = text.replace("DataConfig.source = 'microworld'", "DataConfig.source = 'files'")


def hostile(value: dict[str, Any]) -> None:
    value["provenance"]["gin_text"] = "import os\nos.system.command = 'touch hostile'\n"


@pytest.mark.parametrize(
    ("change", "words"),
    [(newer, "schema_version = 99"), (missing_data, "DataConfig."), (hostile, "provenance.gin_text:1: import os")],
)
def test_what_cannot_be_run_again_is_refused_in_one_line(
    complete: tuple[Path, str], tmp_path: Path, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    path = copied(found_record(complete[0]), tmp_path, change)
    done = verify(path, tmp_path / "run")
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stdout + done.stderr
    assert words in done.stderr
    assert not (tmp_path / "record.verification.json").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--gin_file=gin/quickstart.gin"], "the settings are those of the record"),
        (["--stages=data"], "--stages"),
        (["--verify_search"], "only a found system has a search"),
    ],
)
def test_flags_that_do_not_go_together(
    complete: tuple[Path, str], tmp_path: Path, flags: list[str], words: str
) -> None:
    path = copied(complete[0] / "results" / "teacher.json", tmp_path)
    done = verify(path, tmp_path / "run", *flags)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and words in done.stderr
