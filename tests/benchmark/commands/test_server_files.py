"""The command that writes the files of the servers, on a made-up run."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from benchmark.commands.server_files import main
from benchmark.config import fingerprint
from benchmark.evaluation.server_files import GLUE_FILES
from benchmark.records.record import write
from benchmark.records.task_score import MetricScore, TaskScore, Unscored
from benchmark.records.training_file import TrainingFile
from tasks.catalogue import get_task
from tests.helpers.board_records import make_record

SQUAD = "squad_v1_1_v1"


def write_predictions(run: Path, name: str, split: str, predictions: Any) -> str:
    path = run / "evaluation" / "toy" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"result": {"split": split, "predictions": predictions}}), encoding="utf-8")
    return str(path.relative_to(run))


def make_run(run: Path, tasks: tuple[str, ...], **changes: Any) -> Path:
    """Writes a record with two seeds and their predictions on official test sets, and on SQuAD's development set."""
    unscored = []
    for task in tasks:
        info = get_task(task)
        count = info.split_sizes["test"]
        files = [
            write_predictions(run, f"{task}/test_seed{s}.json", "test", [s if info.label_names else s + 0.5] * count)
            for s in (0, 1)
        ]
        unscored.append(Unscored(task=task, split="test", num_examples=count, seeds=[0, 1], predictions=files))
    answers = [{f"q{number}": f"answer {seed}" for number in range(10_570)} for seed in (0, 1)]
    score = TaskScore(
        task=SQUAD,
        split="validation",
        primary_metric="f1",
        metrics={"f1": MetricScore(value=1.0, per_seed=[1.0, 1.0])},
        num_examples=10_570,
        seeds=[0, 1],
        predictions=[write_predictions(run, f"{SQUAD}/seed{s}.json", "validation", answers[s]) for s in (0, 1)],
        predictions_sha256=[fingerprint(one) for one in answers],
        **changes,
    )
    record = make_record("toy", score).model_copy(update={"unscored": unscored})
    (run / "results").mkdir(parents=True, exist_ok=True)
    write(run / "results" / "toy.json", record)
    return run


def flags(run: Path, *more: str) -> list[str]:
    return [f"--workdir={run}", "--system=toy", f"--to={run / 'server'}", *more]


def test_all_test_sets_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = TrainingFile(name="squad/train-v1.1.part.json", sha256="0" * 64, examples=10, official_examples=87_599)
    run = make_run(tmp_path, tuple(GLUE_FILES), training_file=part)
    assert main(flags(run)) == 0
    first = (run / "server" / "glue.zip").read_bytes()
    with zipfile.ZipFile(run / "server" / "glue.zip") as archive:
        assert {*archive.namelist()} == {*GLUE_FILES.values()}
        assert archive.read("RTE.tsv").startswith(b"index\tprediction\n0\tentailment\n1\tentailment\n")
    answers = json.loads((run / "server" / "squad-v1.1" / "predictions.json").read_text())
    assert answers["q10569"] == "answer 0" and len(answers) == 10_570
    said = capsys.readouterr().out
    assert "glue.zip: toy, seed 0, " in said and "lacks" not in said
    assert f"note: {SQUAD} was trained on train-v1.1.part.json (10 of 87,599 examples)" in said
    assert main(flags(run)) == 0
    assert (run / "server" / "glue.zip").read_bytes() == first
    assert main(flags(run, "--seed=1")) == 0
    with zipfile.ZipFile(run / "server" / "glue.zip") as archive:
        assert archive.read("RTE.tsv").startswith(b"index\tprediction\n0\tnot_entailment\n")
        assert archive.read("STS-B.tsv").startswith(b"index\tprediction\n0\t1.500\n")


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


def test_missing_test_sets_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path, ("glue_wnli_v1", "glue_ax_v1"))
    line = refused(flags(run), capsys)
    assert "glue_qqp_v1 (QQP.tsv, 390,965 rows)" in line and "takes all 11 files" in line and "--incomplete" in line
    assert "FinetuneConfig.predict_test = True" in line
    assert not (run / "server").exists()
    assert main(flags(run, "--incomplete")) == 0
    assert "note: glue.zip lacks glue_cola_v1 (CoLA.tsv, 1,063 rows), " in capsys.readouterr().out
    with zipfile.ZipFile(run / "server" / "glue.zip") as archive:
        assert archive.namelist() == ["WNLI.tsv", "AX.tsv"]


def test_what_cannot_be_used_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path, ("glue_wnli_v1",))
    more = flags(run, "--incomplete")
    assert "expected a system of the run; did you mean toy?" in refused([*more, "--system=tot"], capsys)
    assert "--seed=5: expected a seed of glue_wnli_v1 in the record: 0, 1" in refused([*more, "--seed=5"], capsys)
    assert "has no record" in refused([*more, f"--workdir={tmp_path / 'none'}"], capsys)
    write_predictions(run, "glue_wnli_v1/test_seed0.json", "test", [0] * 71)
    assert "WNLI.tsv: 71 predictions" in refused(more, capsys)
    write_predictions(run, "glue_wnli_v1/test_seed0.json", "validation", [0] * 146)
    assert "predictions on the split 'validation'; expected 'test'" in refused(more, capsys)
    write_predictions(run, "glue_wnli_v1/test_seed0.json", "test", [0] * 146)
    write_predictions(run, f"{SQUAD}/seed0.json", "validation", {f"q{number}": "" for number in range(10_570)})
    assert f"{SQUAD}: the predictions of seed 0 are not those of the record" in refused(more, capsys)


def test_predictions_outside_the_run_are_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run", ("glue_wnli_v1",))
    outside = tmp_path / "outside.json"
    outside.write_text("{}")
    path = run / "results" / "toy.json"
    path.write_text(path.read_text().replace("evaluation/toy/glue_wnli_v1/test_seed0.json", "../outside.json"))
    assert "expected predictions in the folder of the run" in refused(flags(run, "--incomplete"), capsys)
