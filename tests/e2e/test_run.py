"""A whole run through the command line: what it leaves, that it is reused, and that it survives being killed."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from benchmark.process import numerics
from benchmark.records.record import Record, read
from leaderboard import watch
from leaderboard.load import load
from tasks.system.repository import REPOSITORY
from tests.conftest import NUMERICS
from tests.e2e import light_host
from tests.e2e.tiny_run import COMMAND, finish, results, start
from tests.helpers import event_files


def test_a_run_leaves_records_and_page(complete: tuple[Path, str]) -> None:
    workdir, output = complete
    records = [read(path) for path in (workdir / "results").glob("*.json")]
    assert sorted(r.system.kind for r in records) == ["baseline", "found", "teacher"]
    for record in records:
        assert {t.task for t in record.tasks} == {"glue_sst2_v1", "squad_v1_1_v1", "squad_v2_0_v1"}
        distilled = record.system.kind != "teacher"
        for t in record.tasks:
            assert t.seeds == ([0, 1, 0, 1] if distilled else [0, 1])
            assert t.distill_seeds == ([0, 0, 1, 1] if distilled else [])
            assert len(t.metrics[t.primary_metric].per_seed) == len(t.predictions) == len(t.seeds)
        check_replicates(workdir, record)
        assert {block.method for block in record.latency} == {"measured", "roofline"}
        # Scores have the numerics of the run, latency those of the machine.
        assert record.provenance and record.provenance.numerics.mode == NUMERICS
        flags = numerics.native_environment(os.environ).get("XLA_FLAGS", "none")
        assert {b.details["xla_flags"] for b in record.latency if b.method == "measured"} == {flags}
        assert record.training and record.training.tokens > 0
        for task in record.tasks:
            assert all((workdir / name).is_file() for name in task.predictions)
    # Scores and intervals follow from what the runs made of every example.
    pairs = load(workdir, intervals=True).pairs
    assert {name: set(tasks) for name, tasks in pairs.items()} == {r.id: {t.task for t in r.tasks} for r in records}
    for name in ("config.gin", "config.json", "manifest.json", "search/journal.jsonl", "site/index.html"):
        assert (workdir / name).stat().st_size > 0, name
    history = json.loads((workdir / "search" / "history.json").read_text())
    assert [t["generator"] for t in history["trials"]] == ["design", "design", "ax"]
    assert "time by stage" in output
    assert "plain" in output


def check_replicates(workdir: Path, record: Record) -> None:
    """Each distillation is another student, and the record has the scores of all."""
    assert record.training is not None
    if record.system.kind == "teacher":
        assert record.training.replicates == []
        return
    one, two = record.training.replicates
    assert (one.seed, two.seed) == (0, 1) and one.parameters_sha256 != two.parameters_sha256
    for replicate, folder in ((one, record.system.name), (two, f"{record.system.name}@1")):
        result = json.loads((workdir / "students" / folder / "stage.json").read_text())["result"]
        assert replicate.parameters_sha256 == result["parameters_sha256"]
        assert replicate.masked_lm_accuracy == result["masked_lm"]["accuracy"]
    accuracies = [replicate.masked_lm_accuracy or 0.0 for replicate in (one, two)]
    assert record.training.masked_lm_accuracy == pytest.approx(sum(accuracies) / 2)


def test_every_training_run_is_in_tensorboard(complete: tuple[Path, str]) -> None:
    workdir, output = complete
    history = json.loads((workdir / "search" / "history.json").read_text())
    (found,) = (path.stem for path in (workdir / "results").glob("found-*.json"))
    phases = [phase for phase in ("transfer", "distillation") if (workdir / "students" / found / phase).is_dir()]
    trials = [f"search/trial_{trial['trial']}" for trial in history["trials"]]
    tasks = ("glue_sst2_v1", "squad_v1_1_v1", "squad_v2_0_v1")
    students = [name + seed for name in (found, "plain") for seed in ("", "@1")]
    expected = {"teacher", *trials} | {f"{name}/{phase}" for name in (*students, *trials) for phase in phases}
    for name in ("teacher", *students):
        expected |= {f"finetune/{name}/{task}/seed_{seed}" for task in tasks for seed in (0, 1)}
    assert len(phases) == 2 and event_files.runs(workdir / "tensorboard") == expected
    for name, trial in zip(trials, history["trials"], strict=True):
        shown = event_files.scalars(workdir / "tensorboard" / name)
        assert [value for _, value in shown["accuracy"]] == pytest.approx([trial["accuracy"]], rel=1e-6)
    # Each trial is one line of the log, with the state of the search.
    lines = [line for line in output.splitlines() if "] trial " in line]
    assert [line.partition(" s; ")[2].partition(" trials, ")[0] for line in lines] == ["1/3", "2/3", "3/3"]
    assert "\r" not in output
    assert "figures while it runs: tensorboard --logdir " in output and "/run/tensorboard (pip install" in output


def test_the_page_of_the_ended_run_says_so(complete: tuple[Path, str], tmp_path: Path) -> None:
    workdir, _ = complete
    page, watched = watch.build_page(workdir, tmp_path, 5)
    assert watched.headline.startswith("finished: 3 trials, 2 students, 30 fine-tunings, 3 records")
    text = page.read_text(encoding="utf-8")
    assert "This run has finished." in text and 'id="history-importance"' in text


def test_questions_without_answer_are_scored_with_thresholds(complete: tuple[Path, str]) -> None:
    workdir, _ = complete
    for path in (workdir / "results").glob("*.json"):
        tasks = {task.task: task for task in read(path).tasks}
        assert tasks["squad_v1_1_v1"].details == tasks["glue_sst2_v1"].details == {}
        task = tasks["squad_v2_0_v1"]
        details = task.details
        assert details["HasAns_total"] + details["NoAns_total"] == details["total"] == task.num_examples
        assert details["HasAns_total"] > 0 and details["NoAns_total"] > 0
        assert details["best_f1"] >= details["f1"] and details["best_exact"] >= details["exact"]
        files = [json.loads((workdir / name).read_text())["result"] for name in task.predictions]
        assert details in [file["details"] for file in files]
        assert details["f1"] in task.metrics["f1"].per_seed
        for file in files:
            for name, text in file["predictions"].items():
                best = max((e for e in file["nbest"][name] if not e["null"]), key=lambda e: e["score"], default=None)
                null = next(e for e in file["nbest"][name] if e["null"])
                assert text == ("" if best is None or null["score"] - best["score"] > 0 else best["text"])


def test_a_second_call_reuses_everything(complete: tuple[Path, str]) -> None:
    workdir, _ = complete
    before = results(workdir)
    output = finish(workdir)
    assert "reused: data, teacher, search, distill, finetune, latency" in output
    assert results(workdir) == before


def test_killed_runs_end_with_the_same_records(complete: tuple[Path, str], tmp_path: Path) -> None:
    """SIGKILL after a random while, again and again, then to the end: records and journal are the undisturbed run's.

    The first two calls are of a smaller run, to which the others add a trial, seeds, two tasks and a baseline.
    """
    undisturbed, _ = complete
    workdir, rng = tmp_path / "run", random.Random(7)
    smaller = (
        "--gin.SearchConfig.num_trials=2",
        "--gin.DistillConfig.seeds=(0,)",
        "--gin.FinetuneConfig.seeds=(0,)",
        "--gin.DataConfig.tasks=('glue_sst2_v1',)",
        "--gin.RunConfig.baselines=()",
    )
    moments = {"teacher/metrics.jsonl": smaller, "search/journal.jsonl": smaller, "students": (), "evaluation": ()}
    # Each call lives until a given stage has begun, and then a random moment longer.
    for moment, flags in moments.items():
        process = start(workdir, *flags)
        deadline = time.monotonic() + 300
        while not (workdir / moment).exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(rng.uniform(0.0, 4.0))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    finish(workdir)
    assert results(workdir) == results(undisturbed)
    assert trials(workdir) == trials(undisturbed)


def trials(directory: Path) -> list[dict[str, Any]]:
    """The search's journal without what depends on the clock."""
    lines = (directory / "search" / "journal.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    for entry in entries:
        for name in ("seconds", "suggest_seconds", "compile_seconds"):
            entry.get("result", {}).pop(name, None)
    return entries


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (the extra 'cluster')")
def test_a_search_on_ray_is_the_same_search(complete: tuple[Path, str], tmp_path: Path) -> None:
    undisturbed, _ = complete
    workdir = tmp_path / "run"
    for part in ("data", "teacher"):
        shutil.copytree(undisturbed / part, workdir / part)
    process = start(workdir, "--stages=search", "--gin.ExecutorConfig.name='ray'", "--gin.ExecutorConfig.cpus=0.5")
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert trials(workdir) == trials(undisturbed)
    assert (workdir / "search" / "experiment.db").exists() == (undisturbed / "search" / "experiment.db").exists()


def test_a_light_host_trains_and_measures(
    complete: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All stages between data and records, with the packages of the extra `light`, on arrays made elsewhere."""
    # JAX's cache is locked by a package that is not among them.
    monkeypatch.delenv("JAX_COMPILATION_CACHE_MAX_SIZE", raising=False)
    elsewhere, _ = complete
    workdir, python = tmp_path / "run", light_host.make(tmp_path / "light")
    shutil.copytree(elsewhere / "data", workdir / "data")
    imports = "import tensorflow, seqio, t5, torch, ax, transformers, sklearn, pandas"
    assert "No module named 'tensorflow'" in subprocess.run([python, "-c", imports], stderr=-1, text=True).stderr
    flags = [
        "--stages=teacher,search,distill,finetune,latency",
        "--gin.SearchConfig.algorithm='random'",
        "--gin.SearchConfig.num_initial_trials=1",
        "--gin.SearchConfig.num_trials=2",
        "--gin.DistillConfig.seeds=(0,)",
        "--gin.FinetuneConfig.seeds=(0,)",
        "--gin.FinetuneConfig.epochs=(0.5,)",
    ]
    process = start(workdir, *flags, python=str(python))
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert "tensorboardX is not installed" in output
    for name in ("teacher", "search", "latency"):
        assert (workdir / name / "stage.json").is_file()
    assert len(list((workdir / "students").glob("*/stage.json"))) == 2
    assert len(list((workdir / "evaluation").glob("*/*/seed0.json"))) == 3 * 3
    # The same teacher as where everything is installed, to the last digit.
    ours, theirs = (json.loads((w / "teacher" / "stage.json").read_text())["result"] for w in (workdir, elsewhere))
    assert ours == theirs


def test_other_settings_are_refused_in_the_same_folder(complete: tuple[Path, str]) -> None:
    workdir, _ = complete
    command = [*COMMAND, f"--workdir={workdir}", "--gin.RunConfig.seed=1"]
    process = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert process.stderr.count("\n") == 1
    assert "other settings" in process.stderr
