"""Verification: equal fields, tolerances, contradictions, and the table of a comparison."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from scipy.stats import t

from benchmark.records.compare import compare, expectation, score_tolerance
from benchmark.records.record import Record, RecordError, System, parse
from benchmark.records.task_score import MetricScore
from benchmark.records.training import Training
from benchmark.records.verification import Compared, overall, table, verdict, verification_path
from tests.benchmark.records.test_record import example
from tests.helpers.own_tasks import own_definition


def base() -> dict[str, Any]:
    """A record of portable numerics with a measured latency."""
    value = example()
    value["provenance"]["versions"] = dict.fromkeys(("flax", "jax", "jaxlib", "numpy", "optax", "scipy"), "1.0")
    value["provenance"]["data_digests"] = {"dev.tsv": "1" * 64}
    value["training"] |= {"masked_lm_accuracy": 40.0, "masked_lm_predictions": 2000, "masked_lm_loss": 3.0}
    value["training"]["masked_lm"] = {"documents": 40, "teacher_agreement": 61.0, "pseudo_perplexity": 12.5}
    value["training"] |= {"parameters_sha256": "a" * 64, "replicates": [{"seed": 0, "parameters_sha256": "a" * 64}]}
    value["tasks"][0]["predictions_sha256"] = ["b" * 64] * 3
    value["averages"] = {"task8_m": 80.0}
    value["latency"][0] |= {
        "runtime": "xla",
        "threads": 2,
        "protocol_version": 4,
        "speedup": 2.0,
        "speedup_interval": [1.95, 2.05],
        "noise_floor": 0.01,
    }
    return value


def record(*changes: tuple[str, Any]) -> Record:
    value = copy.deepcopy(base())
    for path, new in changes:
        target: Any = value
        *parents, last = path.split(".")
        for name in parents:
            target = target[int(name) if isinstance(target, list) else name]
        target[last] = new
    return parse(json.dumps(value))


def outcomes(*changes: tuple[str, Any]) -> dict[str, Compared]:
    return {field.field: field for field in compare(record(), record(*changes))}


def test_a_record_equals_itself() -> None:
    found = outcomes()
    assert {field.outcome for name, field in found.items() if name != "provenance.timing"} == {"equal"}
    assert overall(found.values()) == "equal"


@pytest.mark.parametrize(("prefix", "model"), [("system", System), ("training", Training)])
def test_every_field_of_system_and_training_is_compared(prefix: str, model: type[BaseModel]) -> None:
    compared = outcomes()
    for name in set(model.model_fields):
        assert any(field.startswith(f"{prefix}.{name}") for field in compared), name


SCORE = "tasks.0.metrics.accuracy"


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (f"{SCORE}.value", 90.51, "tasks.glue_sst2_v1.accuracy"),
        (f"{SCORE}.per_seed", [90.0, 90.5, 91.1], "tasks.glue_sst2_v1.accuracy.per_seed"),
        (f"{SCORE}.interval", [88.0, 92.1], "tasks.glue_sst2_v1.accuracy.interval"),
        ("tasks.0.predictions_sha256", ["b" * 64, "b" * 64, "c" * 64], "tasks.glue_sst2_v1.predictions_sha256"),
        ("tasks.0.num_examples", 871, "tasks.glue_sst2_v1.num_examples"),
        ("training.masked_lm_accuracy", 40.001, "training.masked_lm_accuracy"),
        ("training.masked_lm.teacher_agreement", 61.1, "training.masked_lm.teacher_agreement"),
        ("training.parameters_sha256", "c" * 64, "training.parameters_sha256"),
        ("training.steps", 11, "training.steps"),
        ("averages.task8_m", 80.1, "averages.task8_m"),
        ("system.encoder.hidden_size", 64, "system.encoder.hidden_size"),
        ("system.parameters", 1001, "system.parameters"),
        ("latency.1.latency_s", 0.0101, "latency.roofline (cpu, batch 1, length 128)"),
        ("latency.0.speedup", 2.2, "latency.measured (xla, batch 1, length 128)"),
        ("provenance.config_fingerprint", "1" * 64, "provenance.config_fingerprint"),
        ("provenance.data_digests", {"dev.tsv": "2" * 64}, "provenance.data_digests.dev.tsv"),
        ("provenance.vocabulary_digest", "x", "provenance.vocabulary_digest"),
    ],
)
def test_one_changed_field_is_found_out(path: str, value: Any, field: str) -> None:
    found = outcomes((path, value))
    assert [name for name, one in found.items() if one.outcome == "different"] == [field]
    assert overall(found.values()) == "different"
    lines = [line for line in table(found.values()) if line.startswith("different")]
    assert len(lines) == 1 and field in lines[0] and "recorded" in lines[0] and "found" in lines[0]


def test_another_definition_of_an_own_task_is_found_out() -> None:
    one = own_definition().model_dump(mode="json")
    file = {"name": "moved.tsv", "format": "tsv", "sha256": "0" * 64}
    ours, moved, other = (
        record(("tasks.0.definition", {**one, **changes}))
        for changes in ({}, {"title": "T", "files": {"train": file}}, {"label_names": ["1", "2"]})
    )
    assert overall(compare(ours, moved)) == "equal"
    different = [field.field for field in compare(ours, other) if field.outcome == "different"]
    assert different == [f"tasks.{ours.tasks[0].task}.definition.label_names"]


RECIPE: dict[str, Any] = {
    **{"epochs": 3.0, "batch_size": 32, "learning_rate": 3e-5, "start": "glue_mnli_matched_v1"},
    "choice": {
        **{"learning_rates": [3e-5, 5e-5], "scores": [70.0, 61.0], "metric": "accuracy", "fraction": 0.1},
        **{"num_examples": 249, "seed": 0},
    },
}


def test_another_recipe_choice_or_diverged_seed_is_found_out() -> None:
    diverged = [{"seed": 1, "reason": "not_learned"}]
    tuned = record(("tasks.0.recipe", RECIPE), ("tasks.0.diverged", diverged))
    for changes, expected in (
        ([("tasks.0.recipe", RECIPE), ("tasks.0.diverged", diverged)], set()),
        ([("tasks.0.recipe", RECIPE | {"epochs": 4.0}), ("tasks.0.diverged", diverged)], {"recipe.epochs"}),
        ([("tasks.0.recipe", RECIPE | {"start": None}), ("tasks.0.diverged", diverged)], {"recipe.start"}),
        ([("tasks.0.recipe", RECIPE | {"learning_rate": 5e-5}), ("tasks.0.diverged", diverged)],)
        + ({"recipe.learning_rate"},),
        ([("tasks.0.recipe", RECIPE)], {"diverged"}),
    ):
        found = [field for field in compare(tuned, record(*changes)) if field.outcome == "different"]
        assert {field.field for field in found} == {f"tasks.{tuned.tasks[0].task}.{name}" for name in expected}
    # Records of before have no recipe, and lack nothing.
    assert overall(compare(record(), tuned)) == "equal"
    # Where bits differ another rate may be the best.
    native = [("provenance.numerics", {"mode": "native"})]
    other = record(*native, ("tasks.0.recipe", RECIPE | {"learning_rate": 5e-5}))
    named = {field.field: field.outcome for field in compare(record(*native, ("tasks.0.recipe", RECIPE)), other)}
    assert named[f"tasks.{tuned.tasks[0].task}.recipe.learning_rate"] == "not compared"


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (RECIPE | {"learning_rate": 1e-5}, "learning_rate 1e-05 is not among"),
        (RECIPE | {"choice": RECIPE["choice"] | {"scores": [1.0]}}, "1 scores for 2 learning_rates"),
        (RECIPE | {"start": "<b>"}, "tasks.0.recipe.start"),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(recipe: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError, match=message):
        record(("tasks.0.recipe", recipe))


def test_a_missing_task_is_found_out() -> None:
    assert outcomes(("tasks", []))["tasks.glue_sst2_v1"].outcome == "different"
    assert {f.field: f.outcome for f in compare(record(("tasks", [])), record())}["tasks.glue_sst2_v1"] == "different"


OTHER_JAX = ("provenance.versions.jax", "2.0")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (OTHER_JAX, "jax 1.0 there, 2.0 here"),
        (
            ("provenance.numerics", {"mode": "native", "reduction_threads": None}),
            "portable numerics are not available here",
        ),
    ],
)
def test_bits_are_expected_only_where_they_can_be(change: tuple[str, Any], reason: str) -> None:
    assert expectation(record(), record()).exact
    assert expectation(record(), record(change)).reason == reason
    found = outcomes(change, (f"{SCORE}.value", 90.6), ("training.parameters_sha256", "c" * 64))
    score = found["tasks.glue_sst2_v1.accuracy"]
    assert score.outcome == "within tolerance" and reason in score.note and "3 seeds" in score.note
    assert found["training.parameters_sha256"].outcome == "not compared"
    assert overall(found.values()) == "within tolerance"
    # A score that no other seed would give differs all the same, and so does what rounding cannot change.
    assert outcomes(change, (f"{SCORE}.value", 95.0))["tasks.glue_sst2_v1.accuracy"].outcome == "different"
    assert outcomes(change, ("training.steps", 11))["training.steps"].outcome == "different"


def test_a_native_record_is_never_compared_by_bits() -> None:
    native = record(("provenance.numerics", {"mode": "native", "reduction_threads": None}))
    assert not expectation(native, native).exact


def test_score_tolerance() -> None:
    one = MetricScore(value=90.0, per_seed=[89.0, 90.0, 91.0], interval=(88.0, 92.0))
    two = MetricScore(value=90.0, per_seed=[89.5, 90.0, 90.5], interval=(88.0, 92.0))
    pooled = math.sqrt((1.0 + 0.25) / 2)
    expected = t.ppf(0.975, 4) * math.sqrt(2 / 3) * math.sqrt(math.pi / 2) * pooled
    assert score_tolerance(one, two, 1000)[0] == pytest.approx(expected)
    # Equal seeds do not mean that nothing can differ: one example may.
    same = MetricScore(value=90.0, per_seed=[90.0, 90.0])
    assert score_tolerance(same, same, 50)[0] == 2.0
    single = MetricScore(value=90.0, per_seed=[90.0], interval=(87.0, 93.0))
    tolerance, why = score_tolerance(single, single, 1000)
    assert tolerance == pytest.approx(3.0 * math.sqrt(2.0)) and "one seed" in why


def test_latency_is_compared_within_the_noise_of_both() -> None:
    name = "latency.measured (xla, batch 1, length 128)"
    within = outcomes(("latency.0.speedup", 2.05))[name]
    assert within.outcome == "within tolerance" and "joint noise" in within.note
    # Half-widths of 2.5 % each: together 3.6 %.
    assert outcomes(("latency.0.speedup", 2.08))[name].outcome == "different"
    for change in (("latency.0.chip", "another"), ("latency.0.protocol_version", 5), ("latency.0.threads", 4)):
        assert outcomes(change)[name].outcome == "not compared"


def test_noise_without_measure_proves_nothing() -> None:
    name = "latency.measured (xla, batch 1, length 128)"
    found = outcomes(("latency.0.speedup_interval", [0.5, 8.0]), ("latency.0.speedup", 3.0))[name]
    assert found.outcome == "not compared" and "too noisy" in found.note


def test_the_verdict_tells_scores_from_latency() -> None:
    assert verdict(compare(record(), record())) == "equal; measured latency: equal"
    slower = compare(record(), record(("latency.0.speedup", 2.05)))
    assert overall(slower) == "within tolerance" and verdict(slower) == "equal; measured latency: within tolerance"
    elsewhere = compare(record(), record(("latency.0.chip", "another")))
    assert verdict(elsewhere) == "equal; measured latency: not compared"


def test_circumstances_are_no_faults() -> None:
    found = outcomes(("provenance.git_commit", "abc"), ("provenance.device", {"cpu_model": "Another"}))
    assert found["provenance.git_commit"].outcome == "not compared"
    assert found["provenance.device.cpu_model"].outcome == "not compared"
    assert overall(found.values()) == "equal"


def test_the_table_is_short_and_safe() -> None:
    fields = compare(record(), record(("provenance.git_commit", "\x1b[2J\n" + "x" * 500)))
    lines = table(fields)
    # The architecture's many fields share a line, and control characters of a record reach no terminal.
    assert sum("system.encoder" in line for line in lines) == 1
    assert not any("\x1b" in line or len(line) > 400 for line in lines)
    assert lines[-1].endswith("not compared")


def test_where_a_verification_lies() -> None:
    assert verification_path(Path("a/found-1.json")) == Path("a/found-1.verification.json")
