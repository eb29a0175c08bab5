"""Records: written ones can be read, and invalid ones are refused in one line."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.config import EncoderConfig, to_dict
from benchmark.records.record import (
    LatencyBlock,
    Numerics,
    Provenance,
    Record,
    RecordError,
    System,
    comparable,
    parse,
    read,
    write,
)
from benchmark.records.search_excerpt import SearchExcerpt, SearchTrial
from benchmark.records.strict_schema import strict_json
from benchmark.records.task_score import MetricScore, TaskScore
from benchmark.records.training import Replicate, Training
from tasks.system.atomic_write import write_text
from tests.helpers.board_records import make_task

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
POSITIVE = st.floats(min_value=1e-9, max_value=1e9)
NAMES = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,20}", fullmatch=True)
TEXTS = st.text(max_size=30)

SCORES = st.floats(-100, 100)
METRICS = st.builds(
    MetricScore,
    value=SCORES,
    per_seed=st.lists(SCORES, min_size=2, max_size=2),
    interval=st.none() | st.tuples(SCORES, SCORES).map(lambda pair: (min(pair), max(pair))),
)
TASKS = st.builds(
    lambda metrics, task, count, seeds, details: TaskScore(
        task=task,
        split="validation",
        primary_metric=min(metrics),
        metrics=metrics,
        num_examples=count,
        seeds=seeds,
        details=details,
    ),
    metrics=st.dictionaries(NAMES, METRICS, min_size=1, max_size=2),
    task=NAMES,
    count=st.integers(1, 10**6),
    seeds=st.lists(st.integers(0, 99), min_size=2, max_size=2, unique=True),
    details=st.dictionaries(NAMES, NUMBERS, max_size=2),
)
LATENCIES = st.builds(
    LatencyBlock,
    method=st.sampled_from(["measured", "compiled", "roofline", "reported"]),
    chip=TEXTS,
    batch_size=st.integers(1, 512),
    sequence_length=st.integers(1, 512),
    dtype=st.sampled_from(["float32", "bfloat16"]),
    runtime=st.none() | TEXTS,
    threads=st.none() | st.integers(1, 99),
    protocol_version=st.none() | st.integers(1, 9),
    latency_s=POSITIVE,
    percentiles_s=st.dictionaries(NAMES, st.none() | POSITIVE, max_size=2),
    reference_percentiles_s=st.dictionaries(NAMES, st.none() | POSITIVE, max_size=2),
    joules=st.none() | POSITIVE,
    reference_joules=st.none() | POSITIVE,
    speedup=st.none() | POSITIVE,
    speedup_interval=st.none() | st.tuples(NUMBERS, NUMBERS),
    samples_ns=st.lists(st.lists(st.integers(0, 10**12), max_size=3), max_size=2),
    details=st.dictionaries(TEXTS, st.none() | st.booleans() | st.integers() | NUMBERS | TEXTS, max_size=2),
)
DIGESTS = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
TRIALS = st.builds(
    SearchTrial,
    generator=TEXTS,
    point=st.dictionaries(NAMES, st.integers(1, 999), max_size=3),
    status=st.sampled_from(["stopped", "failed"]),
    accuracy=st.none() | st.floats(0, 100),
    latency_s=st.none() | POSITIVE,
) | st.builds(
    SearchTrial,
    generator=TEXTS,
    point=st.dictionaries(NAMES, st.integers(1, 999), max_size=3),
    status=st.just("completed"),
    accuracy=st.floats(0, 100),
    latency_s=POSITIVE,
)
RECORDS = st.builds(
    Record,
    id=NAMES,
    track=TEXTS,
    track_version=st.just("0.1"),
    trust=st.sampled_from(["self-reported", "reproduced"]),
    system=st.builds(
        System,
        name=NAMES,
        title=st.text(min_size=1, max_size=80),
        kind=st.sampled_from(["found", "baseline", "teacher", "control"]),
        encoder=st.just(to_dict(EncoderConfig())),
        parameters=st.integers(0, 10**10),
        flops=st.none() | st.integers(0, 10**15),
        flops_sequence_length=st.none() | st.integers(1, 512),
    ),
    tasks=st.lists(TASKS, max_size=2),
    averages=st.dictionaries(NAMES, SCORES, max_size=2),
    latency=st.lists(LATENCIES, max_size=2),
    training=st.builds(
        Training,
        recipe=TEXTS,
        teacher=st.none() | TEXTS,
        steps=st.integers(0, 10**7),
        tokens=st.integers(0, 10**12),
        masked_lm_accuracy=st.none() | st.floats(0, 100),
        parameters_sha256=st.none() | DIGESTS,
    ),
    search=st.none() | st.builds(SearchExcerpt, trials=st.lists(TRIALS, min_size=1, max_size=3)),
    provenance=st.builds(
        Provenance,
        command=TEXTS,
        config_fingerprint=TEXTS,
        gin_text=TEXTS,
        git_commit=TEXTS,
        git_dirty=st.booleans(),
        versions=st.dictionaries(TEXTS, TEXTS, max_size=2),
        device=st.dictionaries(TEXTS, st.none() | st.booleans() | st.integers() | NUMBERS | TEXTS, max_size=2),
        numerics=st.just(Numerics(mode="native"))
        | st.integers(1, 64).map(lambda threads: Numerics(mode="portable", reduction_threads=threads)),
        data_digests=st.dictionaries(TEXTS, TEXTS, max_size=2),
        vocabulary_digest=TEXTS,
        timing=st.dictionaries(TEXTS, TEXTS | st.integers() | NUMBERS, max_size=2),
    ),
)


def example() -> dict[str, Any]:
    return {
        "schema_version": 3,
        "id": "test-teacher",
        "track": "test",
        "track_version": "0.1",
        "trust": "self-reported",
        "system": {
            "name": "teacher",
            "title": "Teacher",
            "kind": "teacher",
            "encoder": to_dict(EncoderConfig()),
            "parameters": 1000,
            "flops": 2000,
            "flops_sequence_length": 128,
        },
        "tasks": [
            {
                "task": "glue_sst2_v1",
                "split": "validation",
                "primary_metric": "accuracy",
                "metrics": {"accuracy": {"value": 90.5, "per_seed": [90.0, 90.5, 91.0], "interval": [88.0, 92.0]}},
                "num_examples": 872,
                "seeds": [0, 1, 2],
                "predictions": ["evaluation/teacher/glue_sst2_v1.0.json"],
            }
        ],
        "averages": {},
        "latency": [
            {
                "method": method,
                "chip": "cpu",
                "batch_size": 1,
                "sequence_length": 128,
                "dtype": "float32",
                "latency_s": 0.01,
            }
            for method in ("measured", "roofline")
        ],
        "training": {"recipe": "pretrain", "teacher": None, "steps": 10, "tokens": 100},
        "provenance": {
            "command": "python run_benchmark.py",
            "config_fingerprint": "0" * 64,
            "gin_text": "",
            "git_commit": "unknown",
            "git_dirty": True,
            "versions": {"jax": "0.10.2"},
            "device": {"platform": "cpu"},
            "numerics": {"mode": "portable", "reduction_threads": 2},
            "data_digests": {},
            "vocabulary_digest": "",
            "timing": {"teacher_s": 1.5},
        },
    }


@given(record=RECORDS)
def test_round_trip(record: Record, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "round_trip.json"
    write(path, record)
    assert read(path) == record
    assert comparable(read(path)) == comparable(record)


def test_samples_of_a_process_stand_on_one_line(tmp_path: Path) -> None:
    value = example()
    value["latency"][0]["samples_ns"] = [[1, 22, 333], [], [4]]
    value["provenance"]["gin_text"] = "a = [\n 1,\n 2\n]"
    record = parse(json.dumps(value))
    write(tmp_path / "record.json", record)
    lines = (tmp_path / "record.json").read_text().splitlines()
    assert {"[1, 22, 333],", "[],", "[4]"} <= {line.strip() for line in lines}
    assert read(tmp_path / "record.json") == record


def changed(path: str, value: Any) -> dict[str, Any]:
    record = example()
    target: Any = record
    *parents, last = path.split(".")
    for name in parents:
        target = target[int(name) if isinstance(target, list) else name]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return record


@pytest.mark.parametrize("field", ["accuracy", "latency_s"])
def test_a_completed_trial_has_its_outcome(field: str) -> None:
    trial = {"generator": "ax", "point": {"hidden_size": 8}, "status": "completed", "accuracy": 1.0, "latency_s": 1.0}
    with pytest.raises(
        RecordError, match=r"record: search\.trials\.0 = .*: .*completed trial needs accuracy and latency"
    ):
        parse(json.dumps(changed("search", {"trials": [trial | {field: None}]})))
    for known in (trial, trial | {"status": "failed", field: None}):
        search = parse(json.dumps(changed("search", {"trials": [known]}))).search
        assert search is not None and search.trials[0].status == known["status"]


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("schema_version", 0, "schema_version = 0"),
        ("schema_version", 5, "schema_version = 5: this program reads versions 1 to 4"),
        ("schema_version", True, "schema_version = True"),
        ("schema_version", "1", "schema_version = '1'"),
        ("schema_version", ..., "schema_version = None"),
        ("id", "../up", "id"),
        ("id", "A b", "id"),
        ("extra", 1, "extra"),
        ("system.extra", 1, "system.extra"),
        ("system.kind", "best", "system.kind"),
        ("system.name", "", "system.name"),
        ("system.parameters", -1, "system.parameters"),
        ("system.parameters", "1000", "system.parameters"),
        ("system.parameters", 1.0, "system.parameters"),
        ("tasks.0.num_examples", 0, "tasks.0.num_examples"),
        ("tasks.0.primary_metric", "f1", "tasks.0"),
        ("tasks.0.metrics.accuracy.per_seed", [], "per_seed"),
        ("tasks.0.metrics.accuracy.per_seed", [90.0], "per_seed has 1 values for 3 seeds"),
        ("tasks.0.metrics.accuracy.value", 250.0, "less than or equal to 100"),
        ("tasks.0.metrics.accuracy.interval", [-1e9, 1e9], "greater than or equal to -100"),
        ("tasks.0.metrics.accuracy.interval", [92.0, 88.0], "interval must rise"),
        ("tasks.0.metrics.accuracy.interval", [88.0], "interval"),
        ("latency.0.latency_s", 0, "latency.0.latency_s"),
        ("latency.0.method", "guessed", "latency.0.method"),
        ("latency.0.percentiles_s", {"p50": 0.0}, "latency.0.percentiles_s.p50"),
        ("latency.0.threads", 0, "latency.0.threads"),
        ("latency.0.joules", -1.0, "latency.0.joules"),
        ("training", None, "training and provenance are required"),
        ("provenance", ..., "provenance"),
    ],
)
def test_bad_value_is_refused_in_one_line(path: str, value: Any, named: str) -> None:
    with pytest.raises(RecordError) as caught:
        parse(json.dumps(changed(path, value)), "file.json")
    message = str(caught.value)
    assert message.startswith("file.json: ")
    assert named in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        '{"schema_version": 1, "schema_version": 1}',
        json.dumps(example()).replace("90.5", "NaN"),
        json.dumps(example()).replace("90.5", "Infinity"),
        json.dumps(example()).replace("90.5", "-Infinity"),
        json.dumps(example()).replace("90.5", "1e999"),
        json.dumps(example()).replace('"split": "validation"', '"split": "validation", "split": "test"'),
        "[" * 100_000,
    ],
    ids=range(12),
)
def test_text_that_is_not_strict_json_is_refused(text: str) -> None:
    with pytest.raises(RecordError) as caught:
        parse(text, "file.json")
    assert len(str(caught.value).splitlines()) == 1


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | TEXTS,
    lambda values: st.lists(values, max_size=4) | st.dictionaries(TEXTS, values, max_size=4),
    max_leaves=20,
)


@given(value=JSON_VALUES, indent=st.none() | st.integers(0, 3))
def test_strict_json_reads_what_python_writes(value: Any, indent: int | None) -> None:
    read_back = strict_json(json.dumps(value, indent=indent))
    assert read_back == value
    assert json.dumps(read_back) == json.dumps(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1, "b": {"c": 1, "c": 1}}]', "the field 'c' is given twice"),
        ('{"a\\n": 1, "a\\u000a": 2}', r"the field 'a\n' is given twice"),
        ('{"a": NaN}', "NaN is not a finite number"),
        ("[-Infinity]", "-Infinity is not a finite number"),
        ("-1e999", "-1e999 is not a finite number"),
        ("[" * 100_000, "nested too deeply"),
    ],
    ids=range(6),
)
def test_strict_json_names_what_it_refuses(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        strict_json(text)
    assert str(caught.value) == message


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    for name in ("bytes.json", "missing.json", "."):
        with pytest.raises(RecordError, match="cannot be read"):
            read(tmp_path / name)


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "record.json"
    write_text(path, "old")

    def fail(descriptor: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    monkeypatch.undo()
    write_text(path, "new")
    assert path.read_text() == "new"


def test_comparable_leaves_out_clock_code_and_machine_and_nothing_else() -> None:
    one = example()
    two = copy.deepcopy(one)
    two["latency"][0]["latency_s"] = 0.5
    two["provenance"]["timing"] = {"teacher_s": 9.0}
    two["provenance"]["command"] = "python run_benchmark.py --workdir=elsewhere"
    two["provenance"]["git_commit"], two["provenance"]["git_dirty"] = "other", False
    two["provenance"]["device"] = {"platform": "cpu", "cpu_usable": 1}
    assert comparable(parse(json.dumps(one))) == comparable(parse(json.dumps(two)))
    for path, value in [
        ("tasks.0.metrics.accuracy.value", 90.6),
        ("latency.1.latency_s", 0.5),
        ("system.parameters", 1001),
        ("provenance.numerics", {"mode": "native", "reduction_threads": None}),
        ("training.parameters_sha256", "0" * 64),
    ]:
        assert comparable(parse(json.dumps(changed(path, value)))) != comparable(parse(json.dumps(one)))


def older(version: int) -> dict[str, Any]:
    value = example() | {"schema_version": version}
    if version < 3:
        del value["provenance"]["numerics"]
    return value


def test_version_3_had_one_distillation() -> None:
    old = older(3)
    old["tasks"][0]["seeds"], old["tasks"][0]["metrics"]["accuracy"]["per_seed"] = [4, 5], [90.0, 91.0]
    old["training"] |= {"teacher": "teacher", "masked_lm_accuracy": 40.0, "parameters_sha256": "a" * 64}
    record = parse(json.dumps(old))
    assert record.schema_version == 4 and record.tasks[0].distill_seeds == [0, 0]
    assert record.training is not None
    assert record.training.replicates == [Replicate(seed=0, masked_lm_accuracy=40.0, parameters_sha256="a" * 64)]
    # A teacher, a control and a published checkpoint are not distilled.
    old["training"]["teacher"] = None
    record = parse(json.dumps(old))
    assert record.tasks[0].distill_seeds == [] and record.training is not None and record.training.replicates == []


def test_each_run_of_a_task_has_both_of_its_seeds() -> None:
    task = make_task(90.0, seeds=[0, 0], distill_seeds=[0, 1], metrics={"accuracy": two_runs()})
    assert task.distill_seeds == [0, 1]
    with pytest.raises(ValueError, match="distill_seeds has 1 values for 2 seeds"):
        make_task(90.0, seeds=[0, 1], distill_seeds=[0], metrics={"accuracy": two_runs()})
    for distill_seeds in ([], [1, 1]):
        with pytest.raises(ValueError, match="seeds has a run twice"):
            make_task(90.0, seeds=[3, 3], distill_seeds=distill_seeds, metrics={"accuracy": two_runs()})


def two_runs() -> MetricScore:
    return MetricScore(value=90.0, per_seed=[89.0, 91.0])


def test_version_2_had_native_numerics() -> None:
    record = parse(json.dumps(older(2)))
    assert record.schema_version == 4 and record.provenance is not None
    assert record.provenance.numerics == Numerics(mode="native", reduction_threads=None)
    assert record.search is None and record.tasks[0].predictions_sha256 == []


@pytest.mark.parametrize(("mode", "threads"), [("native", 2), ("portable", None), ("portable", 0), ("quick", None)])
def test_numerics_that_contradict_themselves(mode: str, threads: int | None) -> None:
    numerics = {"mode": mode, "reduction_threads": threads}
    with pytest.raises(RecordError, match=r"provenance\.numerics"):
        parse(json.dumps(changed("provenance.numerics", numerics)))


def test_version_1_is_read_as_version_4() -> None:
    old = older(1)
    old["latency"][0]["details"] = {"runtime": "xla", "processes": 3}
    record = parse(json.dumps(old))
    measured, estimated = record.latency
    assert record.schema_version == 4
    assert (measured.runtime, measured.protocol_version, measured.threads) == ("xla", 2, None)
    assert measured.details == {"processes": 3}
    assert (estimated.runtime, estimated.protocol_version) == (None, None)
    assert parse(json.dumps(record.model_dump(mode="json"))) == record


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("latency", 3, "latency = 3"),
        ("latency", ["x"], "latency.0"),
        ("latency.0.details", [1], "latency.0.details"),
        ("latency.0.extra", 1, "latency.0.extra"),
        ("track", ..., "track"),
    ],
)
def test_what_is_wrong_in_version_1_is_refused_too(path: str, value: Any, named: str) -> None:
    with pytest.raises(RecordError) as caught:
        parse(json.dumps(changed(path, value) | {"schema_version": 1}), "file.json")
    assert named in str(caught.value) and len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["\x1b[2J", "two\nlines", "\u202e"])
def test_names_of_unknown_fields_are_shown_without_control_characters(name: str) -> None:
    with pytest.raises(RecordError) as caught:
        parse(json.dumps({**example(), name: 1}))
    assert str(caught.value).isprintable()
