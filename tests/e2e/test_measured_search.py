"""A run whose search measures its latencies on this machine: record, page, growth, and the search from the record."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from benchmark.records.record import read
from benchmark.records.verification import Verification
from tasks.system.cores import usable_cores
from tasks.system.repository import REPOSITORY
from tests.conftest import NUMERICS
from tests.e2e.test_verify import copied, verify
from tests.e2e.tiny_run import COMMAND, environment

# One trial at a time, so that more trials continue the search; of the rest only what a record needs.
FLAGS = (
    "--gin.SearchConfig.latency_methods=('measured',)",
    "--gin.SearchConfig.parallel_trials=1",
    "--gin.RunConfig.baselines=()",
    "--gin.DataConfig.tasks=('glue_sst2_v1',)",
    "--gin.FinetuneConfig.seeds=(0,)",
    "--gin.LatencyConfig.batch_sizes=(1,)",
    "--gin.LatencyConfig.processes=1",
    "--gin.LatencyConfig.max_processes=1",
)


def run(workdir: Path, *flags: str) -> str:
    done = subprocess.run(
        [*COMMAND, f"--workdir={workdir}", *FLAGS, *flags],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env=environment(),
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_search_for_this_machine(complete: tuple[Path, str], filled_cache: str, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    output = run(workdir, filled_cache)
    # Data, the teacher and its fine-tuning are those of another run, and so are the scores.
    assert "teacher: taken from the cache" in output and "(1 results taken from the cache" in output
    teachers = [read(folder / "results" / "teacher.json") for folder in (workdir, complete[0])]
    ours, theirs = ({task.task: task for task in teacher.tasks}["glue_sst2_v1"] for teacher in teachers)
    assert ours.metrics["accuracy"].per_seed == theirs.metrics["accuracy"].per_seed[:1]
    assert ours.predictions_sha256 == theirs.predictions_sha256[:1]
    assert teachers[0].training == teachers[1].training
    assert f", {usable_cores()} threads, xla; batch 1, length 32" in output
    (path,) = (workdir / "results").glob("found-*.json")
    record = read(path)
    assert record.search is not None and record.search.measured is not None
    seconds = record.search.measured.seconds
    assert {trial.latency_s for trial in record.search.trials} <= set(seconds.values())
    assert len(record.search.trials) <= len(seconds) <= len(record.search.trials) + 2
    # No chip of the settings is named: the target was this machine.
    assert {block.method for block in record.latency} == {"measured"}
    assert {block.chip for block in record.latency} == {record.search.measured.chip}
    history = json.loads((workdir / "search" / "history.json").read_text(encoding="utf-8"))
    assert history["objectives"]["latency"]["chip"].startswith(f"{record.search.measured.chip}, ")
    page = (workdir / "site" / "index.html").read_text(encoding="utf-8")
    assert history["objectives"]["latency"]["chip"] in page
    # More trials measure what they add.
    kept = {p.name: p.read_bytes() for p in (workdir / "search" / "measured").glob("????????????????.json")}
    marker = workdir / "students" / path.stem / "stage.json"
    first = marker.read_bytes()
    more = ("--gin.SearchConfig.num_trials=4", "--gin.SearchConfig.num_found=2")
    output = run(workdir, *more, "--stages=data,teacher,search,distill")
    # A student that is found again is not distilled again.
    assert marker.read_bytes() == first
    assert f"distill {path.stem}: reused" in output or path.stem not in output.partition("search: found ")[2]
    assert output.count("latency: measured ") <= 2
    assert all((workdir / "search" / "measured" / name).read_bytes() == text for name, text in kept.items())
    if NUMERICS != "portable":
        return
    # With the recorded latencies the search is the same, on whatever machine.
    again = verify(copied(path, tmp_path), tmp_path / "again", "--verify_search")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "latency: measured " not in again.stdout
    found = Verification.model_validate_json((tmp_path / "record.verification.json").read_text(encoding="utf-8"))
    trials = [field.outcome for field in found.fields if field.field.startswith("search.trials.")]
    assert trials == ["equal"] * len(record.search.trials)
    (note,) = [field for field in found.fields if field.field == "search.measured"]
    assert note.outcome == "not compared" and "with those of the record" in note.note
