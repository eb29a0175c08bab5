"""The stage that fine-tunes: MNLI once for each seed, and MNLI-mm and AX with its model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.cli.gin_loader import load_run_config
from benchmark.config import RunConfig, fingerprint
from benchmark.evaluation.predict import predict
from benchmark.models.formulas import num_parameters
from benchmark.models.heads import SequenceModel
from benchmark.pipeline import finetune as finetuning
from benchmark.pipeline import record_scores
from benchmark.pipeline.run_context import Run, refuse_damage
from benchmark.pipeline.workdir import RunError
from benchmark.training import checkpoints, finetune
from benchmark.training.batches import TaskData
from benchmark.training.initial import init_tree
from benchmark.training.job import TrainingJob
from tasks.catalogue import get_task
from tasks.scoring import metrics
from tests.helpers import event_files
from tests.helpers.mnli_run import AX, MISMATCHED, MNLI, TINY, TRAIN_ROWS, make_run, write_rows


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Lets fine-tuning work as it does, and notes what it is asked for."""
    calls: list[tuple[Any, ...]] = []
    real = finetune.finetune

    def noted(encoder: Any, params: Any, data: TaskData, config: Any, epochs: float, job: TrainingJob) -> Any:
        calls.append((data.task.name, job.seed, epochs, data.length))
        return real(encoder, params, data, config, epochs, job)

    monkeypatch.setattr(finetune, "finetune", noted)
    return calls


def results(run: Run, task: str) -> list[dict[str, Any]]:
    paths = [finetuning.prediction_path(run, "toy", task, seed) for seed in (0, 1)]
    return [json.loads(path.read_text())["result"] for path in paths]


def test_one_model_predicts_all_of_mnli(tmp_path: Path, trained: list[tuple[Any, ...]]) -> None:
    run, system = make_run(tmp_path, "test")
    marker = finetuning.finetuned_system(run, system)
    assert not marker["reused"]
    # The third number of epochs is MNLI's; 20 columns, rounded up, are those of the longest rows, MNLI-mm's.
    assert trained == [(MNLI, 0, 4.0, 24), (MNLI, 1, 4.0, 24)]
    for task in (MNLI, MISMATCHED):
        expected = run.rows("tasks", task, "validation").features["label"]
        for result in results(run, task):
            assert result["split"] == "validation"
            assert result["scores"] == metrics.score(task, result["predictions"], expected)
            # The label stands in the row: a model that was trained on other rows could not do this.
            assert result["scores"]["accuracy"] > 80.0


def test_without_labels_predictions_are_kept_and_not_scored(tmp_path: Path, trained: list[tuple[Any, ...]]) -> None:
    run, system = make_run(tmp_path, "test")
    finetuning.finetuned_system(run, system)
    for result in results(run, AX):
        assert (result["split"], result["scores"]) == ("test", {})
        ids = np.asarray(run.rows("tasks", AX, "test").features["input_ids"])
        assert np.mean(ids[:, 0] - 10 == result["predictions"]) > 0.8
    unscored = record_scores.unscored(run, system, AX)
    assert (unscored.task, unscored.split, unscored.num_examples, unscored.seeds) == (AX, "test", 20, [0, 1])
    assert all((run.workdir / name).is_file() for name in unscored.predictions)


def test_with_labels_the_diagnostic_set_is_scored(tmp_path: Path, trained: list[tuple[Any, ...]]) -> None:
    run, system = make_run(tmp_path, "validation")
    finetuning.finetuned_system(run, system)
    assert all(set(result["scores"]) == {"matthews"} for result in results(run, AX))


def test_what_is_there_is_not_predicted_again(
    tmp_path: Path, trained: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    made, system = make_run(tmp_path, "test")
    run = Run(made.config, made.workdir, lines.append)
    monkeypatch.setattr(finetuning, "REPORTED_FROM_S", 0.001)
    finetuning.finetuned_system(run, system)
    before = results(run, MISMATCHED)
    # Slow seeds have lines of their own; nothing is said of what is there.
    first, second, _ = lines
    assert first.startswith("finetune toy: seed 0 in ") and f", {MNLI} " in first
    assert second.startswith("finetune toy: seed 1 in ") and f"{AX} predicted, no labels" in second
    trained.clear()
    lines.clear()
    assert finetuning.finetuned_system(run, system)["reused"]
    assert trained == []
    assert lines == ["finetune toy: reused"]
    # A run that was killed between two predictions of one model trains that model again, and gets the same.
    finetuning.prediction_path(run, "toy", MISMATCHED, 1).unlink()
    assert not finetuning.finetuned_system(run, system)["reused"]
    assert [(task, seed) for task, seed, *_ in trained] == [(MNLI, 1)]
    assert results(run, MISMATCHED) == before


def test_each_task_and_seed_has_event_files_that_change_nothing(tmp_path: Path, trained: list[tuple[Any, ...]]) -> None:
    found, identity = {}, {}
    for on in (True, False):
        run, system = make_run(tmp_path / str(on), "test")
        trainer = dataclasses.replace(run.config.trainer, tensorboard=on, log_every=10)
        run = Run(dataclasses.replace(run.config, trainer=trainer), run.workdir, run.progress)
        finetuning.finetuned_system(run, system)
        found[on] = results(run, MNLI) + results(run, AX)
        identity[on] = finetuning.prediction_path(run, "toy", MNLI, 0).read_text().partition('"result"')[0]
        assert (run.workdir / "tensorboard").exists() == on
    # A log waits for the device; the bits of a training do not depend on it.
    assert found[True] == found[False] and identity[True] == identity[False]
    folder = tmp_path / "True" / "tensorboard"
    assert event_files.runs(folder) == {f"finetune/toy/{MNLI}/seed_{seed}" for seed in (0, 1)}
    steps = finetune.finetune_steps(run.config.finetune, 4.0, TRAIN_ROWS)
    for seed in (0, 1):
        losses = event_files.scalars(folder / "finetune" / "toy" / MNLI / f"seed_{seed}")["loss"]
        assert [step for step, _ in losses] == [*range(10, steps, 10), steps]
        assert losses[0][1] > losses[-1][1]


def test_the_log_shows_the_primary_metric_of_scores_in_any_order() -> None:
    # A file has its metrics sorted by name.
    shown = finetuning.score_line(get_task("glue_mrpc_v1"), {"accuracy": 71.0, "f1": 82.0})
    assert shown == "glue_mrpc_v1 82.0"
    assert finetuning.score_line(get_task(AX), {}) == f"{AX} predicted, no labels"


def test_parameters_of_found_students_and_of_those_asked_for_are_kept(
    tmp_path: Path, trained: list[tuple[Any, ...]]
) -> None:
    run, system = make_run(tmp_path, "test")

    def settings(**changes: Any) -> RunConfig:
        return dataclasses.replace(run.config, finetune=dataclasses.replace(run.config.finetune, **changes))

    assert system.kind == "found"
    too_large = 4 * num_parameters(system.encoder) - 1
    finetuning.finetuned_system(Run(settings(keep_found_bytes=too_large), run.workdir, run.progress), system)
    baseline = dataclasses.replace(system, kind="baseline")
    assert finetuning.finetuned_system(run, baseline)["reused"]
    place = finetuning.parameters_path(run, "toy", MNLI)
    assert not place.exists()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("evaluation/*/*/seed*.json")}
    trained.clear()
    # A finished run is called again: it is the same run, its predictions stay, and one seed is trained once more.
    keeping = settings(keep_parameters=True, keep_found_bytes=0)
    assert fingerprint(keeping) == fingerprint(run.config)
    assert not finetuning.finetuned_system(Run(keeping, run.workdir, run.progress), baseline)["reused"]
    assert [(task, seed) for task, seed, *_ in trained] == [(MNLI, 0)]
    assert before == {path: path.stat().st_mtime_ns for path in before}
    # Without a request they are kept because the system was found.
    assert finetuning.finetuned_system(run, system)["reused"]
    model = SequenceModel(system.encoder, 3)
    params = checkpoints.restore(place, init_tree(model, system.encoder, 0, num_inputs=3))
    outputs = predict(system.encoder, params, get_task(MNLI), run.rows("tasks", MNLI, "validation"), 24, 0)
    assert outputs.argmax(axis=1).tolist() == results(run, MNLI)[0]["predictions"]
    assert len(list(tmp_path.glob("evaluation/*/*/parameters"))) == 1


def test_test_splits_are_predicted_on_request_and_change_nothing_else(
    tmp_path: Path, trained: list[tuple[Any, ...]]
) -> None:
    made, system = make_run(tmp_path, "validation")
    # The rows of the test split are longer than all others.
    index = tmp_path / "data" / "data.json"
    data = json.loads(index.read_text())
    data["tasks"][MISMATCHED]["test"] = write_rows(tmp_path / "data" / "long", 10, False, 3, used=24)
    data["tasks"][MISMATCHED]["validation"] = write_rows(tmp_path / "data" / "short", 30, True, 2, used=8)
    index.write_text(json.dumps(data))
    settings = dataclasses.replace(made.config.finetune, length_multiple=8)
    run = Run(dataclasses.replace(made.config, finetune=settings), tmp_path, made.progress)
    finetuning.finetuned_system(run, system)
    assert finetuning.unscored_splits(run, MISMATCHED) == ()
    before = {task: results(run, task) for task in (MNLI, MISMATCHED, AX)}
    # A finished run is called again: its predictions stay, and the model is trained once more, as it was.
    config = dataclasses.replace(run.config, finetune=dataclasses.replace(settings, predict_test=True))
    assert fingerprint(config) == fingerprint(run.config)
    asking = Run(config, run.workdir, run.progress)
    assert not finetuning.finetuned_system(asking, system)["reused"]
    assert len(trained) == 4 and {length for *_, length in trained} == {16}
    assert {task: results(asking, task) for task in before} == before
    entry = record_scores.unscored(asking, system, MISMATCHED)
    assert entry.predictions == [f"evaluation/toy/{MISMATCHED}/test_seed{seed}.json" for seed in (0, 1)]
    assert (entry.split, entry.num_examples) == ("test", 10)
    # Each row's first token is its label: the predictions are those of the rows of this very split.
    ids = np.asarray(asking.rows("tasks", MISMATCHED, "test").features["input_ids"])
    for name in entry.predictions:
        result = json.loads((run.workdir / name).read_text())["result"]
        assert (result["split"], result["scores"]) == ("test", {})
        assert np.mean(ids[:, 0] - 10 == result["predictions"]) > 0.8
    assert [finetuning.unscored_splits(asking, task) for task in (MNLI, AX)] == [(), ()]
    assert finetuning.finetuned_system(asking, system)["reused"]


def test_a_task_without_its_model_is_refused_before_anything_starts() -> None:
    with pytest.raises(ValueError, match="DataConfig.tasks = .*'glue_mnli_matched_v1' too, as its model predicts"):
        load_run_config([str(TINY)], [f"DataConfig.tasks = ('{AX}',)"])


def test_damaged_parameters_name_place_and_cure(tmp_path: Path) -> None:
    params, marker = tmp_path / "params", tmp_path / "stage.json"
    with pytest.raises(RunError, match=r"params: damaged \(missing\); remove .*stage.json and run its stage again"):
        refuse_damage(params, marker)
    checkpoints.save(params, {"a": np.zeros(3)})
    refuse_damage(params, marker)
    (params / "manifest.ocdbt").write_text("junk")
    with pytest.raises(RunError, match="manifest.ocdbt is not what was written"):
        refuse_damage(params, marker)
