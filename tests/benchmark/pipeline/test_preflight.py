"""What is refused before the first stage, and what a dry run says of the search space."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from benchmark.cli.gin_loader import load_run_config
from benchmark.config import STAGES, ConfigError
from benchmark.models.formulas import num_parameters
from benchmark.pipeline.preflight import preflight
from benchmark.search.space import decode, enumerate_points
from run_benchmark import main
from tasks.system.repository import REPOSITORY

QUICKSTART = str(REPOSITORY / "gin" / "quickstart.gin")


def _lines(*overrides: str, stages: tuple[str, ...] = STAGES) -> list[str]:
    return preflight(load_run_config([QUICKSTART], list(overrides)), stages)


def test_architectures_are_counted_under_the_limits() -> None:
    search = load_run_config([QUICKSTART]).search
    assert search is not None
    sizes = sorted(num_parameters(decode(search.space, point)) for point in enumerate_points(search.space))
    middle = sizes[len(sizes) // 3]
    (line,) = _lines(f"SearchConfig.max_parameters={middle}", "SearchConfig.latency_threshold_s=1.0")
    assert (
        f"{len(sizes)} architectures, {sum(size <= middle for size in sizes)} within max_parameters = {middle}" in line
    )
    assert "by the roofline of cpu_2core" in line and "rank" not in line
    (line,) = _lines("cpu_2core/ChipConfig.op_overhead_s=0.0")
    assert line.endswith("by the roofline of cpu_2core (a rank, not a time)")
    smallest = f"{sizes[0]:,} parameters"
    with pytest.raises(ConfigError, match=rf"max_parameters = {sizes[0] - 1}: .*nearest: .*{smallest}"):
        _lines(f"SearchConfig.max_parameters={sizes[0] - 1}")
    with pytest.raises(ConfigError, match=r"latency_threshold_s = 1e-09: .*nearest: num_hidden_layers=2"):
        _lines("SearchConfig.latency_threshold_s=1e-9")
    # The compiler may find what the roofline does not.
    compiled = "SearchConfig.latency_methods=('compiled', 'roofline')"
    (line,) = _lines("SearchConfig.latency_threshold_s=1e-9", compiled)
    assert ", 0 within " in line and "; nearest: num_hidden_layers=2" in line


def test_students_deeper_than_the_teacher_are_refused_by_name() -> None:
    with pytest.raises(
        ConfigError, match=r"num_hidden_layers = 4: expected at most the teacher's 3 layers, in baseline"
    ):
        _lines("teacher/EncoderConfig.num_hidden_layers=3")
    with pytest.raises(ConfigError, match=r"SearchSpace\.num_hidden_layers = \(2, 40\): expected numbers of at most"):
        _lines("SearchSpace.num_hidden_layers=(2, 40)")
    assert _lines("SearchSpace.num_hidden_layers=(2, 40)", "SearchSpace.conditions=('num_hidden_layers < 9',)")
    assert _lines("teacher/EncoderConfig.num_hidden_layers=3", stages=("data", "teacher")) == []


@pytest.mark.parametrize(
    ("scope", "whose"), [("teacher", "the teacher"), ("space", "the search space"), ("tinybert", "baseline 'tinybert'")]
)
def test_another_vocabulary_than_that_of_the_run_is_known_before_it_is_trained(scope: str, whose: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"vocab_size = 30522: expected DataConfig.vocabulary_size = 1024 for {whose}"
    ):
        _lines(f"{scope}/EncoderConfig.vocab_size=30522")


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_a_missing_ray_is_known_before_the_teacher() -> None:
    ray = ("ExecutorConfig.name='ray'", "SearchConfig.executor=@ExecutorConfig()")
    with pytest.raises(ConfigError, match=r"ExecutorConfig\.name = 'ray': expected 'local', as Ray is not installed"):
        _lines(*ray)
    assert _lines(*ray, stages=("data",)) == []


def test_a_latency_that_nothing_here_gives_is_known_before_the_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        ConfigError, match=r"SearchConfig\.latency_methods = \('compiled',\): .*libtpu, which is not inst"
    ):
        _lines("SearchConfig.latency_methods=('compiled',)")
    assert _lines("SearchConfig.latency_methods=('compiled', 'roofline')")
    with pytest.raises(ConfigError, match=r"latency_methods = \('roofline',\): .*ChipConfig\.peak_flops"):
        _lines("cpu_2core/ChipConfig.peak_flops=0.0")
    with pytest.raises(ConfigError, match=r"SearchConfig\.algorithm = 'nsga2': .*pymoo is not installed"):
        _lines("SearchConfig.algorithm='nsga2'")
    with pytest.raises(ConfigError, match=r"LatencyConfig\.runtimes = \('onnxruntime',\): .*'xla' too, as onnxruntime"):
        _lines("LatencyConfig.runtimes=('onnxruntime',)")
    assert _lines("LatencyConfig.runtimes=('onnxruntime', 'xla')")
    assert _lines("LatencyConfig.runtimes=('onnxruntime',)", stages=("search",))


def test_the_command_writes_nothing_where_no_architecture_is_feasible(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [f"--gin_file={QUICKSTART}", f"--workdir={tmp_path / 'run'}", "--gin.SearchConfig.max_parameters=9"]
    # The numerics of this process are those of the test run.
    assert main([*arguments, "--dry_run"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and re.match(r"error: SearchConfig\.max_parameters = 9: expected limits", error)
    assert not (tmp_path / "run").exists()


def test_a_search_that_measures_is_refused_before_the_first_stage_where_it_cannot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured = "SearchConfig.latency_methods=('measured',)"
    # Whether a threshold can be met is known when something was measured.
    (line,) = _lines(measured, "SearchConfig.latency_threshold_s=1e-9")
    assert "243 architectures within max_parameters; latency is measured on this machine" in line
    assert "cpu_2core" not in line
    with pytest.raises(ConfigError, match=r"SearchConfig\.sequence_length = 97: expected at most max_pos.* = 96 of "):
        _lines(measured, "SearchConfig.sequence_length=97")
    with pytest.raises(ConfigError, match=r"sequence_length = 90: .* = 80 of the reference"):
        _lines(
            *(measured, "SearchConfig.sequence_length=90", "LatencyConfig.sequence_lengths=(64,)"),
            "reference/EncoderConfig.max_position_embeddings=80",
        )
    with pytest.raises(ConfigError, match=r"ChipConfig\.peak_flops = 0\.0: .* which method 'measured' needs"):
        _lines(measured, "cpu_2core/ChipConfig.peak_flops=0.0")
    with pytest.raises(ConfigError, match=r"max_parameters = 9: .*nearest: num_hidden_layers=2"):
        _lines(measured, "SearchConfig.max_parameters=9")
    with pytest.raises(ConfigError, match="expected estimates with --distributed"):
        preflight(load_run_config([QUICKSTART], [measured]), STAGES, distributed=True)
    monkeypatch.setattr("benchmark.pipeline.preflight.missing_package", lambda: "onnx")
    with pytest.raises(
        ConfigError, match=r"LatencyConfig\.runtimes = .*expected 'xla' first, as onnx is not installed"
    ):
        _lines(measured, "LatencyConfig.runtimes=('onnxruntime', 'xla')")
    assert _lines(measured, "LatencyConfig.runtimes=('xla', 'onnxruntime')")
