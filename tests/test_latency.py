"""Whole measurements: what children leave, what is refused, and how an ended measurement continues."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.config import EncoderConfig, LatencyConfig, fingerprint, to_dict
from benchmark.hardware import latency, latency_child, machine_state, onnx_graphs
from benchmark.hardware.latency import LatencyError, measure
from benchmark.hardware.latency_inputs import Rows, choose_rows, write_rows
from benchmark.hardware.latency_results import PROTOCOL_VERSION, Cell, blocks, file_name, read_results
from benchmark.hardware.latency_timing import time_pairs
from benchmark.hardware.runtimes import random_params
from benchmark.models.encoder import Encoder
from benchmark.records import LatencyBlock
from tests.encoders import small_encoder

ROOT = Path(__file__).resolve().parents[1]
TINY = small_encoder(
    vocab_size=20, hidden_size=8, num_attention_heads=1, intermediate_size=8, max_position_embeddings=8
)
# What ONNX can express: BERT's layer.
PLAIN = small_encoder(
    vocab_size=20,
    embedding_size=8,
    hidden_size=8,
    intra_bottleneck_size=None,
    trigram_input=False,
    key_query_shared_bottleneck=False,
    normalization_type="layer_norm",
    max_position_embeddings=8,
)
CONFIG = LatencyConfig(
    reference=TINY,
    batch_sizes=(1,),
    sequence_lengths=(8,),
    processes=2,
    max_processes=2,
    headline_factor=1,
    pairs=10,
    min_seconds=0.0,
    warm_up_seconds=0.2,
    max_noise_floor=100.0,
    max_other_cores=1000.0,
    timeout_s=120.0,
)


def make_rows(vocab_size: int = 20, length: int = 8) -> dict[int, Rows]:
    ids = np.random.default_rng(0).integers(1, vocab_size, (30, length))
    ids[:, length // 2 :] *= np.random.default_rng(1).integers(0, 2, (30, 1))
    return {n: choose_rows({"made up": {"input_ids": ids}}, n, 0, 0) for n in (length // 2, length)}


ROWS = make_rows()


def quiet(line: str) -> None:
    """Takes progress lines."""


def test_a_real_measurement_and_its_record(tmp_path: Path) -> None:
    lines: list[str] = []
    results = measure({"tiny": TINY}, CONFIG, lines.append, rows=ROWS, folder=tmp_path)
    cell = Cell("xla", 1, 8)
    assert results.cells == [cell] and not results.absent
    for name in ("", "tiny"):
        found = results.measurement(cell, name)
        assert found is not None
        assert len(found.samples_ns) == len(found.reference_samples_ns) == 2
        for ours, theirs in zip(found.samples_ns, found.reference_samples_ns, strict=True):
            assert len(ours) == len(theirs) >= 10
            assert min(ours) > 0 and all(isinstance(sample, int) for sample in ours + theirs)
        assert min(found.warm_up_calls) >= 2
        assert found.joules is None or found.joules > 0
    (block,) = blocks(results, "tiny", CONFIG)
    assert isinstance(block, LatencyBlock)
    assert (block.runtime, block.protocol_version) == ("xla", PROTOCOL_VERSION)
    assert block.threads == len(machine_state.usable_cpus())
    # 20 samples bound the median and nothing above it.
    assert block.percentiles_s["p50"] is not None and block.percentiles_s["p99"] is None
    assert block.speedup_interval is not None and block.speedup is not None and block.noise_floor is not None
    low, high = block.speedup_interval
    assert low * np.exp(block.noise_floor) <= block.speedup * 1.0001 <= high * 1.0001
    details = block.details
    assert details["processes"] == 2
    assert details["interval"] == "another measurement, by Student's t over processes (the protocol asks for 5)"
    assert details["real_tokens"] == round(ROWS[8].real_share, 4)
    assert str(details["inputs"]).endswith("of made up") and details["jax"]
    assert [line.split(" in ")[0] for line in lines] == [f"latency: xla, process {i}/2" for i in (1, 2)]


def test_an_ended_measurement_continues_with_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    measure({"tiny": TINY}, CONFIG, quiet, rows=ROWS, folder=tmp_path)
    kept, damaged = (tmp_path / file_name("xla", i) for i in (0, 1))
    before = kept.read_bytes()
    damaged.write_text("{")
    lines: list[str] = []
    measure({"tiny": TINY}, CONFIG, lines.append, rows=ROWS, folder=tmp_path)
    assert lines[0] == "latency: xla, process 1/2: reused" and " in " in lines[1]
    assert kept.read_bytes() == before
    assert json.loads(damaged.read_text())["process"] == 1
    # Whole files are all that is needed; those of other settings or inputs are not.
    monkeypatch.setattr(latency, "CHILD", "benchmark.no_such_module")
    for config in (CONFIG, dataclasses.replace(CONFIG, max_noise_floor=50.0, max_other_cores=99.0, timeout_s=9.0)):
        measure({"tiny": TINY}, config, quiet, rows=ROWS, folder=tmp_path)
    for config, rows in ((dataclasses.replace(CONFIG, pairs=11), ROWS), (CONFIG, make_rows(19))):
        with pytest.raises(LatencyError, match="no_such_module"):
            measure({"tiny": TINY}, config, quiet, rows=rows, folder=tmp_path)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "import sys; sys.stdin.read(); print('first', file=sys.stderr); sys.exit('out of memory')",
            "ended with code 1: out of memory",
        ),
        ("import os; os.kill(os.getpid(), 9)", "ended with code -9: no message"),
        ("import time; time.sleep(60)", "took more than LatencyConfig.timeout_s = 1 s"),
        ("import sys; sys.stdin.read()", "gave no samples"),
        ("import sys; sys.stdin.read(); print('what?')", "said 'what?'"),
    ],
    ids=["fails", "killed", "hangs", "silent", "talks"],
)
def test_a_child_that_goes_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str, said: str) -> None:
    original = subprocess.run

    def run(command: list[str], **options: Any) -> Any:
        return original([sys.executable, "-c", code], **options)

    monkeypatch.setattr(subprocess, "run", run)
    config = dataclasses.replace(CONFIG, timeout_s=1.0 if "sleep" in code else 60.0)
    with pytest.raises(LatencyError) as caught:
        measure({}, config, quiet, rows=ROWS, folder=tmp_path)
    assert str(caught.value) == f"latency: the measuring process {said}"
    assert [path.name for path in tmp_path.iterdir()] == ["inputs.npz"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs prctl")
def test_a_measuring_process_ends_with_the_one_that_waits_for_it(tmp_path: Path) -> None:
    code = "from benchmark.hardware.children import run_child; run_child('tests.patient_child', '', 60.0, 'waiting')"
    parent = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PATIENT": str(tmp_path / "pid")}
    )
    try:
        child = int(wait_for(lambda: (tmp_path / "pid").read_text() if (tmp_path / "pid").exists() else ""))
    finally:
        parent.kill()
        parent.wait()
    assert wait_for(lambda: "gone" if not alive(child) else "") == "gone"


def wait_for(look: Callable[[], str]) -> str:
    """What is seen, as soon as something is."""
    for _ in range(400):
        if seen := look():
            return seen
        time.sleep(0.05)
    raise AssertionError("nothing was seen within 20 seconds")


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be asked for its exit code does not."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in "ZX"


def request(tmp_path: Path, **changes: Any) -> str:
    """What the parent would ask a child for."""
    write_rows(tmp_path / "inputs.npz", ROWS)
    config = dataclasses.replace(CONFIG, **changes)
    return json.dumps(
        {
            "runtime": "xla",
            "config": to_dict(config),
            "rows": str(tmp_path / "inputs.npz"),
            "graphs": {},
            "encoders": {"": to_dict(TINY)},
            "systems": [""],
            "fingerprint": "f",
            "skip": {},
            "process": 0,
            "output": str(tmp_path / "out.json"),
        }
    )


def test_a_program_that_compiles_while_it_is_timed_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import jax

    def compiles(candidate: Callable[[int], int], *arguments: Any) -> Any:
        jax.jit(lambda x: x * 7 + 1)(np.ones(11, np.float32)).block_until_ready()
        return time_pairs(candidate, *arguments)

    monkeypatch.setattr(latency_child, "time_pairs", compiles)
    with pytest.raises(
        LatencyError, match=r"^latency: reference, batch 1, length 8: jax traced or compiled inside the timed window"
    ):
        latency_child.main(request(tmp_path))
    assert not (tmp_path / "out.json").exists()


def test_a_process_that_hogs_the_machine_is_named(tmp_path: Path) -> None:
    hog = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        with pytest.raises(LatencyError) as caught:
            latency_child.main(request(tmp_path, max_other_cores=0.01, min_seconds=1.0, max_seconds=1.0))
    finally:
        hog.kill()
        hog.wait()
    message = str(caught.value)
    assert message.startswith("latency: refused: other processes took ")
    assert "LatencyConfig.max_other_cores = 0.01" in message and "(pid " in message
    assert not (tmp_path / "out.json").exists()


def test_a_cell_whose_calls_are_too_long_is_left_out(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, sequence_lengths=(4, 8), max_call_seconds=0.0)
    lines: list[str] = []
    with pytest.raises(
        LatencyError, match=r"^latency: refused: xla, batch 1, length 4: one call of the reference takes"
    ):
        measure({}, config, lines.append, rows=ROWS, folder=tmp_path)
    # The second process did not try again.
    assert len(lines) == 2
    assert not list(tmp_path.glob("xla-*.json"))


def fake_files(
    folder: Path, ratio: Callable[[int, int, str], float], systems: tuple[str, ...] = ("", "a")
) -> list[Path]:
    """Files of five processes with two cells, whose ratios of reference to candidate are given."""
    paths = [folder / file_name("xla", process) for process in range(5)]
    for process, path in enumerate(paths):
        fake_file(path, process, ratio, systems, {})
    return paths


def fake_file(
    path: Path,
    process: int,
    ratio: Callable[[int, int, str], float],
    systems: Sequence[str],
    skip: dict[str, str],
) -> None:
    """What one measuring process would write."""
    cells = []
    for batch_size in (1, 8):
        cell: dict[str, Any] = {"batch_size": batch_size, "sequence_length": 8}
        if f"{batch_size}x8" in skip:
            cells.append(cell | {"skipped": skip[f"{batch_size}x8"]})
            continue
        found = {}
        for system in systems:
            theirs = round(1e6 * ratio(process, batch_size, system))
            found[system] = {
                "samples_ns": [10**6] * 20,
                "reference_samples_ns": [theirs] * 20,
                "warm_up": {"calls": 30 + process, "seconds": 0.1, "settled": process < 4},
                "joules": 0.5 + process if system else 2.0,
            }
        cell |= {"inputs": 30, "source": "x", "real_tokens": 0.5, "host_to_device_ns": 1000, "systems": found}
        cells.append(cell)
    state = {"load_average_1min": 0.1 * process, "cpu_governor": None, "cpu_mhz": None}
    values = {
        "fingerprint": "f",
        "runtime": "xla",
        "process": process,
        "threads": 2,
        "device": {"chip": "chip", "platform": "cpu", "jax": "1", "xla_flags": None},
        "energy_counter": "RAPL",
        "before": state,
        "after": state,
        "others": {"cores": 0.2 * process, "busiest": f"hog (pid {process})"},
        "seconds": 1.0,
        "cells": cells,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def test_what_is_too_wide_is_measured_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """System `b` varies between processes by less and less, the second cell much: only `b`'s headline goes on."""

    def ratio(process: int, batch_size: int, system: str) -> float:
        wave = (0.0, 0.3, -0.3, 0.1, -0.1, 0.0, 0.0, 0.0, 0.0, 0.0)[process]
        return 2.0 + wave if system == "b" or batch_size == 8 else 1.0

    asked: list[dict[str, Any]] = []

    def one_process(request: dict[str, Any], process: int, path: Path, *_: Any) -> None:
        asked.append(request)
        fake_file(path, process, ratio, request["systems"], request["skip"])

    monkeypatch.setattr(latency, "_one_process", one_process)
    config = dataclasses.replace(
        CONFIG, batch_sizes=(1, 8), processes=5, max_processes=10, max_half_width=0.1, max_noise_floor=1.0
    )
    candidates = {"a": TINY, "b": TINY}
    results = measure(candidates, config, lambda line: None, rows=ROWS, folder=tmp_path)
    more = asked[5:]
    assert [request["systems"] for request in asked[:5]] == [["", "a", "b"]] * 5
    assert 0 < len(more) < 5 and all(request["systems"] == ["b"] for request in more)
    assert all(request["skip"] == {"8x8": "not the headline"} for request in more)
    headline, other = results.cells
    counts = {name: len(results.measurement(headline, name).samples_ns) for name in ("", "a", "b")}  # type: ignore[union-attr]
    assert counts == {"": 5, "a": 5, "b": len(asked)}
    assert len(results.measurement(other, "b").samples_ns) == 5  # type: ignore[union-attr]
    assert results.too_wide(config) == []
    # One process less was not enough, and a limit of them is kept.
    before = read_results({"xla": [tmp_path / file_name("xla", n) for n in range(len(asked) - 1)]}, {})
    assert before.too_wide(config) == ["b"]
    asked.clear()
    measure(
        candidates, dataclasses.replace(config, max_processes=6), lambda line: None, rows=ROWS, folder=tmp_path / "6"
    )
    assert len(asked) == 6


def test_a_cell_that_is_too_noisy_has_no_number(tmp_path: Path) -> None:
    def ratio(process: int, batch_size: int, system: str) -> float:
        wave = 0.2 * (process - 2) if batch_size == 8 and not system else 0.0
        return 1.0 + wave if not system else 2.0

    results = read_results({"xla": fake_files(tmp_path, ratio)}, {})
    config = dataclasses.replace(CONFIG, batch_sizes=(1, 8), max_noise_floor=0.1)
    calm, noisy = results.cells
    assert results.refused(calm, config) is None
    reason = results.refused(noisy, config)
    assert reason is not None and reason.startswith("the reference differs from itself by 0.")
    assert "LatencyConfig.max_noise_floor = 0.1" in reason and "hog (pid 4)" in reason
    (block,) = blocks(results, "a", config)
    assert block.batch_size == 1 and block.speedup == pytest.approx(2.0)
    assert block.percentiles_s == {"p50": 1e-3, "p90": 1e-3, "p99": None}
    assert (block.joules, block.reference_joules) == (2.5, 2.0)
    assert block.details["warmup_calls"] == 34 and block.details["warmup_settled"] is False
    assert block.details["load_before"] == pytest.approx(0.4)
    assert block.details["busiest_other"] == "hog (pid 4)" and "xla_flags" not in block.details
    assert len(blocks(results, "a", dataclasses.replace(config, max_noise_floor=100.0))) == 2


def test_a_noisy_headline_refuses_the_whole_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    paths = fake_files(tmp_path, lambda process, batch_size, system: 1.0 + 0.2 * (process - 2))
    config = dataclasses.replace(CONFIG, max_noise_floor=0.1)
    with pytest.raises(LatencyError, match=r"^latency: refused: xla, batch 1, length 8: the reference differs"):
        latency._refuse(read_results({"xla": paths}, {}), config, {"xla": paths}, quiet)
    assert not list(tmp_path.glob("xla-*.json"))


def test_files_that_are_gone_are_named(tmp_path: Path) -> None:
    with pytest.raises(LatencyError, match=r"samples cannot be read.*xla-0\.json"):
        read_results({"xla": [tmp_path / "xla-0.json"]}, {})


@pytest.mark.parametrize(
    ("encoder", "vocab_size", "message"),
    [
        (
            dataclasses.replace(TINY, max_position_embeddings=6),
            20,
            "latency: small: LatencyConfig.sequence_lengths: 8 is more than its max_position_embeddings = 6",
        ),
        (
            dataclasses.replace(TINY, vocab_size=10),
            20,
            "latency: small: token id 19 of made up: expected ids below its vocab_size = 10",
        ),
    ],
)
def test_inputs_that_an_architecture_cannot_take(
    tmp_path: Path, encoder: EncoderConfig, vocab_size: int, message: str
) -> None:
    with pytest.raises(LatencyError) as caught:
        measure({"small": encoder}, CONFIG, quiet, rows=make_rows(vocab_size), folder=tmp_path)
    assert str(caught.value) == message
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_onnx_runtime_is_measured_beside_xla(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    config = dataclasses.replace(CONFIG, reference=PLAIN, runtimes=("xla", "onnxruntime"), processes=1, max_processes=1)
    odd = dataclasses.replace(PLAIN, trigram_input=True, hidden_act="gelu")
    lines: list[str] = []
    results = measure({"plain": PLAIN, "odd": odd}, config, lines.append, rows=ROWS, folder=tmp_path)
    assert [cell.runtime for cell in results.cells] == ["xla", "onnxruntime"]
    assert [block.runtime for block in blocks(results, "plain", config)] == ["xla", "onnxruntime"]
    # What transformers has no class for is measured by XLA alone, and that is said.
    assert [block.runtime for block in blocks(results, "odd", config)] == ["xla"]
    assert list(results.absent) == ["onnxruntime/odd"]
    assert lines[0].startswith("latency: without onnxruntime/odd: ")
    # Both time the same function: the graph gives the encoder's hidden states.
    import onnxruntime

    graph = tmp_path / "graphs" / f"{fingerprint(PLAIN)[:16]}.onnx"
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    inputs = {name: values[:4] for name, values in ROWS[8].features.items()}
    (found,) = session.run(None, {name: values.astype(np.int64) for name, values in inputs.items()})
    expected = Encoder(PLAIN).apply({"params": random_params(PLAIN)}, *inputs.values()).last_hidden_state
    real = inputs["attention_mask"] > 0
    np.testing.assert_allclose(found[real], np.asarray(expected)[real], atol=1e-5)


def test_a_runtime_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    original = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "onnx" else original(name, *rest)
    )
    assert onnx_graphs.missing_package() == "onnx"
    config = dataclasses.replace(CONFIG, runtimes=("onnxruntime",))
    lines: list[str] = []
    with pytest.raises(LatencyError, match="no runtime to measure with: onnx is not installed"):
        measure({}, config, lines.append, rows=ROWS, folder=tmp_path)
    assert lines == ["latency: without onnxruntime: onnx is not installed"]
