"""Whole measurements: files of the processes, refusals, and resumed measurements."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.config import EncoderConfig, fingerprint, to_dict
from benchmark.latency import child as latency_child
from benchmark.latency import measure as latency
from benchmark.latency import onnx_graphs
from benchmark.latency.inputs import write_rows
from benchmark.latency.measure import LatencyError, measure
from benchmark.latency.results import PROTOCOL_VERSION, Cell, blocks, file_name
from benchmark.latency.runtimes import random_params
from benchmark.latency.timing import time_pairs
from benchmark.models.encoder import Encoder
from benchmark.records.record import LatencyBlock
from tasks.system.cores import usable_cores
from tasks.system.repository import REPOSITORY
from tests.helpers.latencies import CONFIG, PLAIN, ROWS, TINY, make_rows, quiet


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
    assert block.threads == usable_cores()
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
    original = subprocess.Popen

    def start(command: list[str], **options: Any) -> Any:
        return original([sys.executable, "-c", code], **options)

    monkeypatch.setattr(subprocess, "Popen", start)
    config = dataclasses.replace(CONFIG, timeout_s=1.0 if "sleep" in code else 60.0)
    with pytest.raises(LatencyError) as caught:
        measure({}, config, quiet, rows=ROWS, folder=tmp_path)
    assert str(caught.value) == f"latency: the measuring process {said}"
    assert [path.name for path in tmp_path.iterdir()] == ["inputs.npz"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs prctl")
def test_a_measuring_process_ends_with_the_one_that_waits_for_it(tmp_path: Path) -> None:
    code = (
        "from benchmark.latency.children import run_child; "
        "run_child('tests.helpers.patient_child', '', 60.0, 'waiting')"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPOSITORY, env={**os.environ, "PATIENT": str(tmp_path / "pid")}
    )
    try:
        child = int(wait_for(lambda: (tmp_path / "pid").read_text() if (tmp_path / "pid").exists() else ""))
    finally:
        parent.kill()
        parent.wait()
    assert wait_for(lambda: "gone" if not alive(child) else "") == "gone"


def wait_for(look: Callable[[], str]) -> str:
    """Waits for a true result and returns it."""
    for _ in range(400):
        if seen := look():
            return seen
        time.sleep(0.05)
    raise AssertionError("nothing was seen within 20 seconds")


def alive(pid: int) -> bool:
    """Returns True where a process runs; a zombie does not."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in "ZX"


def request(tmp_path: Path, **changes: Any) -> str:
    """Builds a request as the parent would."""
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


@pytest.mark.parametrize(
    ("encoder", "vocab_size", "message"),
    [
        (
            dataclasses.replace(TINY, max_position_embeddings=6),
            20,
            "latency: small: LatencyConfig.sequence_lengths: 8 is more than its max_position_embeddings = 6",
        ),
        (
            dataclasses.replace(TINY, max_position_embeddings=9, position_offset=2),
            20,
            "latency: small: LatencyConfig.sequence_lengths: 8 is more than its max_position_embeddings -"
            " position_offset = 7",
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
def test_onnx_runtime_is_measured_with_xla(tmp_path: Path) -> None:
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
