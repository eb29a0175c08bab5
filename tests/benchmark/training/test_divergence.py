"""The rule for fine-tunings that diverged, and the model that stands for one without finite parameters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats

from benchmark.evaluation.predict import predict
from benchmark.training.batches import TaskData
from benchmark.training.divergence import (
    NOT_FINITE,
    NOT_LEARNED,
    constant_loss,
    constant_model,
    reason,
    tail_steps,
)
from benchmark.training.finetune import diverged_model, finetune, initial_params
from benchmark.training.fit import DivergedError
from benchmark.training.job import TrainingJob
from benchmark.training.pretrain import init_params
from tests.benchmark.training.test_finetune import CONFIG, ENCODER, LENGTH, SQUAD, SST2, STSB, toy_rows


def test_the_last_epoch_is_judged_but_no_more_than_the_second_half() -> None:
    assert tail_steps(234, 32, 2490) == 78
    assert tail_steps(78, 32, 2490) == 39
    assert tail_steps(400, 16, 67_349) == 200
    assert tail_steps(1, 16, 96) == 1


def test_the_loss_of_a_constant_prediction_is_that_of_the_best_one() -> None:
    rows = toy_rows("classification", 256, 0)
    share = float(np.mean(rows.features["label"]))
    assert constant_loss(SST2, rows) == pytest.approx(scipy.stats.entropy([share, 1 - share]))
    numbers = toy_rows("regression", 256, 0)
    assert constant_loss(STSB, numbers) == pytest.approx(np.var(numbers.features["label"]))
    spans = toy_rows("span", 256, 0)
    places = np.bincount(spans.features["start_position"])
    assert constant_loss(SQUAD, spans) == pytest.approx(scipy.stats.entropy(places / places.sum()))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (None, NOT_FINITE),
        (math.nan, NOT_FINITE),
        (math.inf, NOT_FINITE),
        (0.7, NOT_LEARNED),
        (0.69, NOT_LEARNED),
        (0.68, ""),
        (0.0, ""),
    ],
)
def test_a_loss_has_to_be_below_that_of_a_constant_prediction(loss: float | None, expected: str) -> None:
    assert reason(loss, math.log(2)) == expected


def test_where_all_labels_are_equal_nothing_is_said() -> None:
    assert reason(0.001, 0.0) == ""


@pytest.mark.parametrize("task", [SST2, STSB, SQUAD], ids=lambda task: task.kind)
def test_a_constant_model_predicts_the_majority_the_mean_or_no_place(task: Any) -> None:
    rows = toy_rows(task.kind, 64, 0)
    lines: list[str] = []
    job = TrainingJob("toy", seed=0, progress=lines.append)
    start = init_params(ENCODER, 0)
    failed = diverged_model(ENCODER, start, TaskData(task, rows, LENGTH, 0), job, DivergedError("loss is nan"))
    assert failed.report.diverged == NOT_FINITE and failed.report.loss is None and failed.report.tokens == 0
    assert lines == ["loss is nan; it counts as diverged, and a constant prediction stands for it"]
    outputs = predict(ENCODER, failed.params, task, toy_rows(task.kind, 30, 1), LENGTH, 0, batch_size=64)
    assert np.isfinite(outputs).all()
    if task.kind == "classification":
        assert set(outputs.argmax(axis=1)) == {np.bincount(rows.features["label"]).argmax()}
    elif task.kind == "regression":
        np.testing.assert_allclose(outputs, rows.features["label"].mean(), rtol=1e-6)
    else:
        # No place but padding is before another.
        assert (outputs[:, : LENGTH - 1] == 0.0).all()
    assert constant_model(initial_params(ENCODER, start, task, 0), task, rows).keys() == failed.params.keys()


def test_a_fine_tuning_that_learns_reports_a_loss_below_it() -> None:
    rows = toy_rows("classification", 256, 0)
    tuned = finetune(
        ENCODER, init_params(ENCODER, 0), TaskData(SST2, rows, LENGTH, 0), CONFIG, 8.0, TrainingJob("toy", seed=0)
    )
    assert tuned.report.loss is not None and tuned.report.loss < 0.5 * constant_loss(SST2, rows)
    assert (tuned.report.diverged, tuned.report.steps) == ("", 128)
    # Of 16 columns the last is padding.
    assert (tuned.report.tokens, tuned.report.columns) == (128 * 16 * (LENGTH - 1), 128 * 16 * LENGTH)
    assert tuned.report.seconds > 0.0
