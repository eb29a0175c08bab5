"""Known latencies: the choice of the method, accepted estimates, chips as data, and the floor of claims."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from benchmark.config import ChipConfig, ConfigError, EncoderConfig, SearchConfig, SearchSpace
from benchmark.hardware import chips, compiled
from benchmark.hardware.estimates import Estimate, LatencyFailure, known_latency
from benchmark.hardware.roofline import estimate, latency_floor
from benchmark.models.formulas import forward_flops
from benchmark.records.record import LatencyBlock
from benchmark.search.executors import LocalExecutor
from benchmark.search.journal import Journal
from benchmark.search.loop import run_search
from benchmark.search.results import history
from benchmark.training.metrics import PEAKS
from tasks.system.errors import StageError

TINY = EncoderConfig(vocab_size=50, embedding_size=16, hidden_size=32, num_hidden_layers=2, max_position_embeddings=32)
CHIP = ChipConfig(
    name="chip", peak_flops=1e14, memory_bandwidth=6e11, clock_hz=1e9, topology="v4:2x2x1", bytes_per_value=2
)
TARGET = SearchConfig(space=SearchSpace(base=TINY), chip=CHIP, sequence_length=16)


class FakeCompiler:
    """Gives the cycles it was told to give."""

    installed = "0.1"
    cycles = 5_000
    broken = ""

    def __init__(self, chip: ChipConfig, batch_size: int, sequence_length: int, cache_directory: Path | None) -> None:
        chip.require("compiled", "topology", "clock_hz")
        self.versions = {"libtpu": self.installed, "jax": "0.2"}

    def device(self) -> str:
        if self.broken:
            raise StageError(self.broken)
        return "a fake"

    def figures(self, encoders: list[EncoderConfig]) -> list[compiled.CompiledFigures | StageError]:
        return [
            StageError("compiling took more than 1 s")
            if encoder.num_attention_heads == 8
            else compiled.CompiledFigures(self.cycles, 500, 1, 0, 2, 0.1, (encoder.num_hidden_layers,))
            for encoder in encoders
        ]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeCompiler]:
    made = type("Fake", (FakeCompiler,), {})
    monkeypatch.setattr(compiled, "Compiler", made)
    return made


def test_compiled_comes_first(fake: type[FakeCompiler]) -> None:
    lines: list[str] = []
    latency = known_latency(TARGET, None, lines.append)
    assert (latency.method, lines) == ("compiled", [])
    (found,) = latency.exact([TINY])
    assert isinstance(found, Estimate)
    assert (found.method, found.latency_s) == ("compiled", pytest.approx(5_500 / 1e9))
    assert found.details["cycles"] == 5_000 and found.details["libtpu"] == "0.1"
    quick = latency.quick(TINY)
    assert quick.method == "roofline"
    assert quick.latency_s == estimate(TINY, CHIP, 1, 16).latency_s
    assert quick.details["limit"] == estimate(TINY, CHIP, 1, 16).limit


@pytest.mark.parametrize(
    ("change", "attributes", "line"),
    [
        ({}, {"installed": ""}, r"latency of chip not compiled: libtpu is not installed; pip install -e '\.\[tpu\]'$"),
        ({}, {"broken": "topology 'v4:9x9x9': libtpu refuses it"}, r"not compiled: topology 'v4:9x9x9'"),
        ({"topology": ""}, {}, r"not compiled: ChipConfig\.topology = '': .*gin/hardware/chip\.gin"),
        ({"clock_hz": 0.0}, {}, r"not compiled: ChipConfig\.clock_hz = 0\.0: .*gin/hardware/chip\.gin"),
    ],
    ids=["absent", "refused", "no topology", "no clock"],
)
def test_the_next_method_is_used_after_one_line(
    fake: type[FakeCompiler], change: dict[str, Any], attributes: dict[str, Any], line: str
) -> None:
    for name, value in attributes.items():
        setattr(fake, name, value)
    lines: list[str] = []
    chip = dataclasses.replace(CHIP, op_overhead_s=1e-6, **change)
    target = dataclasses.replace(TARGET, chip=chip)
    latency = known_latency(target, None, lines.append)
    assert latency.method == "roofline" and not latency.only_a_rank
    assert "only_a_rank" not in latency.quick(TINY).details
    assert latency.exact([TINY]) == [latency.quick(TINY)]
    assert len(lines) == 1 and "\n" not in lines[0]
    with pytest.raises(StageError, match=line):
        known_latency(dataclasses.replace(target, latency_methods=("compiled",)), None, lines.append)


def test_a_roofline_without_fitted_overhead_is_called_a_rank(fake: type[FakeCompiler]) -> None:
    lines: list[str] = []
    latency = known_latency(dataclasses.replace(TARGET, latency_methods=("roofline",)), None, lines.append)
    assert latency.only_a_rank and latency.quick(TINY).details["only_a_rank"] is True
    (line,) = lines
    assert line.startswith("latency of chip by roofline: a rank and not a time, as ChipConfig.op_overhead_s")
    assert not known_latency(TARGET, None, lines.append).only_a_rank, "a compiled latency is a time"


def test_one_architecture_may_fail(fake: type[FakeCompiler]) -> None:
    latency = known_latency(TARGET, None, print)
    eight = dataclasses.replace(TINY, num_attention_heads=8)
    short = dataclasses.replace(TINY, max_position_embeddings=8)
    good, slow, cut = latency.exact([TINY, eight, short])
    assert isinstance(good, Estimate)
    assert slow == LatencyFailure("chip: compiling took more than 1 s")
    assert cut == LatencyFailure("max_position_embeddings = 8: expected at least 16 tokens")


def test_an_estimate_below_the_floor_is_refused(fake: type[FakeCompiler]) -> None:
    fake.cycles = -500
    (found,) = known_latency(TARGET, None, print).exact([TINY])
    assert isinstance(found, LatencyFailure)
    assert "is impossible" in found.reason


def test_a_chip_without_peak_is_refused(fake: type[FakeCompiler]) -> None:
    target = dataclasses.replace(TARGET, chip=dataclasses.replace(CHIP, peak_flops=0.0))
    with pytest.raises(StageError, match=r"ChipConfig\.peak_flops"):
        known_latency(target, None, lambda line: None)


def test_shipped_chips() -> None:
    shipped = chips.shipped()
    assert {
        "cpu_2core",
        "tpu_v2",
        "tpu_v3",
        "tpu_v4",
        "tpu_v4_core",
        "tpu_v4i",
        "tpu_v5e",
        "tpu_v5p",
        "tpu_v6e",
    } <= set(shipped)
    for name, chip in shipped.items():
        chip.require("roofline", "peak_flops", "memory_bandwidth")
        if chip.topology:
            chip.require("compiled", "clock_hz")
            units = {"tpu_v2": 1, "tpu_v3": 2, "tpu_v4": 8, "tpu_v5p": 8}.get(name, 4)
            # A matrix unit makes tile x tile multiply-adds a cycle: clock and peak say the same.
            assert chip.peak_flops == pytest.approx(2 * units * chip.tile**2 * chip.clock_hz, rel=0.01), name
        assert (chips.FOLDER / f"{name}.gin").exists()
    core, whole = shipped["tpu_v4_core"], shipped["tpu_v4"]
    assert (2 * core.peak_flops, 2 * core.memory_bandwidth) == (whole.peak_flops, whole.memory_bandwidth)


def test_peaks_of_training_are_those_of_the_chips() -> None:
    # Training reads no chip, since jax tells it the kind of a device only; tpu_v2 has its peak rounded in its source.
    kinds = {
        "gpu_a100_80gb": "NVIDIA A100",
        "gpu_h100_sxm": "NVIDIA H100",
        "tpu_v2": "TPU v2",
        "tpu_v3": "TPU v3",
        "tpu_v4": "TPU v4",
        "tpu_v4i": "TPU v4 lite",
        "tpu_v5e": "TPU v5 lite",
        "tpu_v5p": "TPU v5p",
        "tpu_v6e": "TPU v6 lite",
    }
    for name, kind in kinds.items():
        assert PEAKS[kind][0] == pytest.approx(chips.shipped()[name].peak_flops, rel=0.025), name


@pytest.mark.parametrize("line", ["include 'a.gin'", "x/EncoderConfig.hidden_size = 3", "nonsense"])
def test_chip_files_are_data(tmp_path: Path, line: str) -> None:
    (tmp_path / "x.gin").write_text(f"# A chip.\nx/ChipConfig.name = 'x'\n{line}\n")
    with pytest.raises(ValueError, match=r"x\.gin:3: .*expected NAME/ChipConfig\.FIELD = VALUE"):
        chips.read_chip(tmp_path / "x.gin")
    (tmp_path / "y.gin").write_text("y/ChipConfig.tile = 0\n")
    with pytest.raises(ConfigError, match=r"ChipConfig\.tile = 0"):
        chips.read_chip(tmp_path / "y.gin")


def block(**changes: Any) -> LatencyBlock:
    chip = chips.shipped()["tpu_v4i"]
    least = latency_floor(TINY, chip, 8, 16)
    assert least == forward_flops(TINY, 8, 16) / 1.38e14
    values: dict[str, Any] = {
        "method": "compiled",
        "chip": "tpu_v4i",
        "batch_size": 8,
        "sequence_length": 16,
        "dtype": "bfloat16",
    }
    return LatencyBlock(**{**values, "latency_s": least * 0.99, **changes})


@pytest.mark.parametrize("method", ["compiled", "measured", "reported"])
def test_an_impossible_claim_is_refused(method: str) -> None:
    with pytest.raises(
        StageError, match=rf"latency_s = \S+ \({method}, tpu_v4i, batch 8, length 16\): expected at least"
    ):
        chips.refuse_impossible(TINY, [block(method=method)])


def test_possible_claims_pass() -> None:
    slower = block().latency_s * 1.02
    other = [block(latency_s=slower), block(chip="some other"), block(dtype="int8"), block(method="roofline")]
    chips.refuse_impossible(TINY, other)
    # Among them an impossible one is still found.
    with pytest.raises(StageError, match="expected at least"):
        chips.refuse_impossible(TINY, [*other, block()])


def test_a_trial_without_latency_fails_with_the_reason(fake: type[FakeCompiler], tmp_path: Path) -> None:
    space = SearchSpace(
        base=TINY,
        num_hidden_layers=(2,),
        hidden_size=(32,),
        intra_bottleneck_size=(16,),
        num_attention_heads=(4, 8),
        intermediate_size=(16,),
        num_feedforward_networks=(1,),
    )
    config = dataclasses.replace(TARGET, space=space, algorithm="random", num_trials=2, latency_threshold_s=1.0)
    trained = []

    def evaluate(job: Any) -> dict[str, float]:
        trained.append(job["encoder"]["num_attention_heads"])
        return {"accuracy": 50.0, "accuracy_stderr": 1.0}

    trials = run_search(config, Journal(tmp_path / "j"), LocalExecutor(evaluate, 1), 0, lambda line: None)
    by_heads = {trial.point["num_attention_heads"]: trial for trial in trials}
    assert trained == [4]
    assert by_heads[4].result["latency_s"] == pytest.approx(5_500 / 1e9)
    assert by_heads[8].status == "failed"
    assert by_heads[8].result["error"] == "chip: compiling took more than 1 s"
    rows = history(config, trials, "micro", "compiled")
    assert {row["latency_s"] for row in rows["trials"]} == {None, 5_500 / 1e9}
    assert rows["objectives"]["latency"]["method"] == "compiled"
