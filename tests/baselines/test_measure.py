"""Published architectures measured here: records, resuming, and mistakes of the command line."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from baselines.__main__ import main
from baselines.catalogue import baselines
from baselines.measure import latency_config
from baselines.measured_latency import GROUP, groups, served
from baselines.reported import record
from benchmark.config import EncoderConfig, to_dict
from benchmark.hardware import compiled
from benchmark.models.formulas import num_parameters
from benchmark.records.record import RecordError, comparable, parse, read, write
from tasks.system.errors import StageError
from tasks.system.repository import REPOSITORY
from tests.helpers.board_records import make_record, make_task
from tests.helpers.latencies import PLAIN

SETTINGS = ["--runtimes=xla", "--sequence_length=8", "--processes=1", "--seconds=0", "--reference=bert_base"]
SHAPE = dataclasses.replace(PLAIN, vocab_size=600)


def write_catalogue(root: Path, systems: dict[str, EncoderConfig | None]) -> Path:
    """A catalogue with the published numbers of BERT_BASE, and other names and architectures."""
    good = json.loads((REPOSITORY / "baselines" / "bert_base" / "baseline.json").read_text())
    for name, encoder in systems.items():
        (root / name).mkdir(parents=True)
        values = {"name": name, "title": name.upper(), "architecture": to_dict(encoder) if encoder else None}
        (root / name / "baseline.json").write_text(json.dumps(good | values))
    return root


def no_measurement(*_: object, **__: object) -> None:
    raise AssertionError("a measurement")


def deeper(layers: int, **changes: Any) -> EncoderConfig:
    return dataclasses.replace(SHAPE, num_hidden_layers=layers, **changes)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """A reference, a deeper system, another of the same program, and one without architecture."""
    folder = tmp_path_factory.mktemp("measured")
    systems = {"bert_base": SHAPE, "deep": deeper(4), "same": deeper(4, pooler="tanh"), "unknown": None}
    catalogue = write_catalogue(folder / "catalogue", systems)
    words = ["measure", f"--to={folder / 'out'}", f"--catalogue={catalogue}", *SETTINGS]
    assert main(words) == 0
    return words, folder / "out"


def test_records_hold_reported_scores_and_latencies_from_here(measured: tuple[list[str], Path]) -> None:
    words, folder = measured
    found = {path.stem: read(path) for path in (folder / "results").iterdir()}
    assert set(found) == {"bert_base", "deep", "same", "unknown"}
    source = json.loads((REPOSITORY / "baselines" / "bert_base" / "baseline.json").read_text())
    for one in found.values():
        assert one.system.kind == "reported" and one.trust == "reported"
        assert not one.tasks and not one.averages and one.training is None and one.provenance is None
        told = [(s.name, s.split, s.metric, s.value, s.source) for s in one.reported if s.family == "task"]
        assert told == [(s["task"], s["split"], s["metric"], s["value"], s["source"]) for s in source["scores"]]
        averages = [(s.name, s.split, s.value) for s in one.reported if s.family == "average"]
        assert averages == [(a["average"], a["split"], a["value"]) for a in source["averages"]]
    deep = found["deep"]
    measured_here, reported = deep.latency
    assert (measured_here.method, measured_here.runtime, measured_here.reference) == ("measured", "xla", "bert_base")
    assert (reported.method, reported.chip, reported.latency_s) == ("reported", "Pixel 4", 0.342)
    assert deep.measurement is not None and deep.measurement.numerics.mode == "native"
    assert deep.measurement.settings["sequence_lengths"] == [8]
    assert all(word in deep.measurement.command for word in words)
    assert deep.system.parameters == num_parameters(deeper(4))
    # The reference against itself is its measurement.
    own = found["bert_base"].latency[0]
    assert own.samples_ns != own.reference_samples_ns and own.reference == "bert_base"
    assert found["same"].latency[0].samples_ns == measured_here.samples_ns
    assert found["same"].latency[0].details["measured_as"] == "deep"
    assert found["unknown"].measurement is None and [b.method for b in found["unknown"].latency] == ["reported"]
    assert found["unknown"].system.parameters == source["published_parameters"]["value"]
    if not compiled.versions()["libtpu"]:
        assert "libtpu is not installed" in deep.measurement.absent["tpu_v4_core"]


def test_a_finished_system_is_not_measured_again(
    measured: tuple[list[str], Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words, folder = measured
    before = {path.name: path.read_bytes() for path in (folder / "results").iterdir()}
    monkeypatch.setattr("baselines.measured_latency.measure", no_measurement)
    assert main(words) == 0
    captured = capsys.readouterr()
    assert "measured before, and not again: bert_base, deep" in captured.err
    assert captured.out == f"4 records -> {folder / 'results'}\n"
    assert {path.name: path.read_bytes() for path in (folder / "results").iterdir()} == before
    with pytest.raises(AssertionError, match="a measurement"):
        main([*words, "--sequence_length=7"])
    # A damaged file is measured again too.
    (folder / "latency" / "deep.json").write_text('{"identity": ')
    with pytest.raises(AssertionError, match="a measurement"):
        main(words)


def test_a_killed_command_continues_with_the_systems_that_are_left(tmp_path: Path) -> None:
    systems = {"bert_base": SHAPE} | {f"wide_{n}": deeper(1, intermediate_size=24 + n) for n in range(GROUP)}
    catalogue = write_catalogue(tmp_path / "catalogue", dict(systems))
    words = [f"--to={tmp_path / 'out'}", f"--catalogue={catalogue}", *SETTINGS]
    command = [sys.executable, "-m", "baselines", "measure", *words]
    first, second = groups(systems)
    with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        for line in child.stderr:
            if line.startswith("group 2 of 2"):
                child.kill()
    kept = {path.stem: path.read_bytes() for path in (tmp_path / "out" / "latency").glob("*.json")}
    assert sorted(kept) == sorted(first)
    again = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=300)
    assert f"measured before, and not again: {', '.join(sorted(first))}\n" in again.stderr
    assert f"group 1 of 1: {', '.join(second)}\n" in again.stderr
    assert {name: (tmp_path / "out" / "latency" / f"{name}.json").read_bytes() for name in kept} == kept
    assert len(list((tmp_path / "out" / "results").iterdir())) == GROUP + 1
    assert sorted(path.name for path in (tmp_path / "out" / "latency").iterdir() if path.is_dir()) == []


def test_groups_hold_every_system_once_and_spread_the_large_ones() -> None:
    encoders = {name: served(b.encoder) for name, b in baselines().items() if b.encoder}
    found = groups(encoders)
    assert sorted(name for group in found for name in group) == sorted(encoders)
    assert all(len(group) <= GROUP for group in found)
    largest = sorted(encoders, key=lambda name: -num_parameters(encoders[name]))[: len(found)]
    assert all(len(set(group) & set(largest)) == 1 for group in found)


def test_the_settings_measure_what_the_page_says() -> None:
    encoder = baselines()["bert_base"].encoder
    assert encoder
    config = latency_config("bert_base", encoder)
    assert (config.batch_sizes, config.sequence_lengths) == ((1,), (128,))
    assert config.runtimes == ("xla", "onnxruntime")


def test_masked_lm_accuracy_is_reported_with_its_source() -> None:
    source = json.loads((REPOSITORY / "baselines" / "mobilebert_edgetpu_m" / "baseline.json").read_text())
    one = record(baselines()["mobilebert_edgetpu_m"], 128, [], None).reported[-1]
    expected = source["masked_lm_accuracy"]
    assert (one.family, one.value, one.source, one.note) == ("masked_lm", *expected.values())


def test_only_reported_systems_have_reported_scores() -> None:
    reported = record(baselines()["nas_bert60"], 128, [], None)
    assert parse(reported.model_dump_json()) == reported
    value = make_record("a", make_task(70.0)).model_dump(mode="json")
    assert parse(json.dumps(value)).reported == []
    value["reported"] = reported.model_dump(mode="json")["reported"]
    with pytest.raises(RecordError, match="expected only where system.kind is 'reported'"):
        parse(json.dumps(value))


def test_older_records_lack_the_new_members_and_comparisons_leave_the_machine_out() -> None:
    one = make_record("a", make_task(70.0))
    old = one.model_dump(mode="json", exclude={"reported", "measurement"})
    assert parse(json.dumps(old)) == one
    assert "measurement" not in comparable(one)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--systems=mobilbert"], ["--systems=mobilbert", "did you mean mobilebert"]),
        (["--reference=nas_bert60"], ["--reference=nas_bert60", "an architecture is expected"]),
        (["--chips=gpu_h100_sxm"], ["--chips=gpu_h100_sxm", "chip with a compiler", "tpu_v4"]),
        (["--runtimes=onyx"], ["LatencyConfig.runtimes", "onyx", "onnxruntime"]),
        (["--seconds=-1"], ["LatencyConfig.min_seconds = -1.0"]),
        (["--seconds=soon"], ["--seconds", "soon"]),
        (["--processes=0"], ["--processes", "at least 1"]),
        (["--sequence_length=600"], ["sequence_lengths", "600", "512"]),
        (["--catalogue={}/none"], ["--catalogue={}/none", "one folder for each baseline"]),
        (["--catalogue={}"], ["--catalogue={}", "found none"]),
        (["--to="], ["--to: expected a path"]),
        (["--to={}/run"], ["--to={}/run", "run/results/a.json is the record of a run"]),
    ],
)
def test_mistakes_get_one_line_before_anything_is_measured(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    parts: list[str],
) -> None:
    monkeypatch.setattr("baselines.measured_latency.measure", no_measurement)
    write(tmp_path / "run" / "results" / "a.json", make_record("a", make_task(70.0)))
    assert main(["measure", f"--to={tmp_path}/new", *(word.format(tmp_path) for word in words)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    for part in parts:
        assert part.format(tmp_path) in captured.err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_libtpu_is_told_of_a_missing_tpu_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processes that measure have the environment of this one."""
    seen: list[str] = []

    def measure(*_: object, **__: object) -> None:
        seen.append("measured")
        raise StageError("enough")

    monkeypatch.setattr("benchmark.process.setup.expect_no_tpu", lambda: seen.append("told"))
    monkeypatch.setattr("baselines.measure.measure_published", measure)
    assert main(["measure", f"--to={tmp_path}", "--systems=mobilebert"]) == 1
    assert seen == ["told", "measured"]
