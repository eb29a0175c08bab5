"""Kendall's tau of recorded students against counted pairs, and the gin file of such students."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.cli.gin_loader import load
from benchmark.commands import compare_rankings, sample_students
from benchmark.commands.compare_rankings import Student, compare, read_students, table
from tasks.system.repository import REPOSITORY


def students(count: int = 12) -> list[Student]:
    rng = np.random.default_rng(3)
    made = []
    for number in range(count):
        quality = rng.normal()
        flash = {
            "accuracy": 30 + 3 * quality + 6 * rng.normal(),
            "teacher_agreement": 50 + 5 * quality + rng.normal(),
            "teacher_kl": 1.5 - 0.3 * quality + 0.1 * rng.normal(),
        }
        # Scores of few examples have ties.
        made.append(Student(f"run/s{number}", flash, {"mean": round(70 + 4 * quality), "sst2": 80 + quality}))
    return made


def tau_b(one: list[float], other: list[float]) -> float:
    """Kendall's tau-b by its definition: concordant less discordant pairs, over those that are not tied."""
    pairs = [(a - b, c - d) for (a, c), (b, d) in itertools.combinations(zip(one, other, strict=True), 2)]
    signs = [np.sign(x * y) for x, y in pairs]
    untied = [sum(pair[side] != 0 for pair in pairs) for side in (0, 1)]
    return float(sum(signs) / np.sqrt(untied[0] * untied[1]))


def test_tau_is_counted_over_pairs() -> None:
    made = students()
    mean, sst2 = compare(made)
    assert (mean.score, sst2.score, mean.students) == ("mean", "sst2", 12)
    for found, score in ((mean, "mean"), (sst2, "sst2")):
        full = [student.full[score] for student in made]
        for name, sign in (("accuracy", 1), ("teacher_agreement", 1), ("teacher_kl", -1)):
            flash = [sign * student.flash[name] for student in made]
            assert found.tau[name][0] == pytest.approx(tau_b(flash, full))
            left_out = [tau_b(np.delete(flash, n).tolist(), np.delete(full, n).tolist()) for n in range(12)]
            assert found.tau[name][1] == pytest.approx(np.sqrt(11) * np.std(left_out))
        assert found.gain[0] == pytest.approx(found.tau["teacher_agreement"][0] - found.tau["accuracy"][0])
        # The agreement was made with a fifth of the noise.
        assert found.gain[0] > 0 and found.gain[1] > 0


def test_a_table_is_read_as_it_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, again = tmp_path / "students.csv", tmp_path / "again.csv"
    path.write_text(table(students()))
    assert read_students(path) == students()
    assert compare_rankings.main([str(path), f"--out={again}"]) == 0
    assert read_students(again) == students()
    shown = capsys.readouterr().out.splitlines()
    assert shown[1].split()[:2] == ["mean", "12"] and len(shown) == 3


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "few.csv").write_text(table(students(3)))
    (tmp_path / "other.csv").write_text("student,accuracy\ns,1\n")
    cases = {
        "few.csv": "3 students with scores of flash and full distillation; expected at least 4",
        "other.csv": "expected a run's folder, or a CSV table of student, accuracy, teacher_agreement, teacher_kl",
        ".": "which has search/history.json",
    }
    for name, message in cases.items():
        assert compare_rankings.main([str(tmp_path / name)]) == 2
        assert message in capsys.readouterr().err


def test_a_run_is_read_from_its_history_and_records(tmp_path: Path) -> None:
    recorded = REPOSITORY / "tests/data/quickstart"
    (tmp_path / "results").mkdir()
    trials: list[Any] = []
    for number, path in enumerate(sorted(recorded.glob("*.json"))):
        text = path.read_text(encoding="utf-8")
        (tmp_path / "results" / path.name).write_text(text, encoding="utf-8")
        trial = {
            "trial": number,
            "status": "completed",
            "generator": "attach",
            "encoder": json.loads(text)["system"]["encoder"],
        }
        trial |= {"parameters": 1, "accuracy": 30.0 + number, "accuracy_stderr": 0.5, "latency_s": 1e-3}
        trial |= {"teacher_agreement": 50.0, "teacher_kl": 1.0, "on_front": True, "hypervolume": 0.1, "seconds": 1.0}
        trials.append(trial)
    latency = {"unit": "s", "direction": "minimize", "threshold": 0.01, "method": "roofline", "chip": "cpu"}
    accuracy = {"unit": "percent", "direction": "maximize", "threshold": 5.0}
    history = {
        "schema_version": 1,
        "track": "micro",
        "algorithm": "random",
        "objectives": {"accuracy": accuracy, "latency": latency},
        "search_fields": ["num_hidden_layers"],
        "trials": trials,
    }
    (tmp_path / "search").mkdir()
    (tmp_path / "search/history.json").write_text(json.dumps(history))
    found = read_students(tmp_path)
    # Teacher and untrained control were not distilled.
    assert [s.name.rpartition("/")[2] for s in found] == ["found-069247bc", "mobilebert-2l", "mobilebert", "tinybert"]
    one = json.loads((recorded / "tinybert.json").read_text(encoding="utf-8"))
    scores = {t["task"]: t["metrics"][t["primary_metric"]]["value"] for t in one["tasks"]}
    assert found[-1].full == pytest.approx(
        {"mean": np.mean(list(scores.values())), **scores, "masked_lm_accuracy": one["training"]["masked_lm_accuracy"]}
    )


def test_sampled_students_are_trials_and_baselines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    track, out = REPOSITORY / "gin/quickstart.gin", tmp_path / "students.gin"
    assert sample_students.main([f"--gin_file={track}", "--count=20", f"--out={out}"]) == 0
    config = load([str(track), str(out)]).config
    search = config.required_search()
    assert search.num_trials == len(search.attach) == len(set(search.attach)) == 20
    assert tuple(baseline.encoder for baseline in config.baselines) == search.attach
    assert sample_students.sample(search.space, 20, 0) == list(search.attach)
    assert sample_students.main([f"--gin_file={track}", "--count=300", f"--out={out}"]) == 2
    assert "--count = 300: the search space has 243 architectures" in capsys.readouterr().err
