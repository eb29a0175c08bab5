"""Latency by the TPU's compiler: copies, cache, children that die, hang or answer nonsense, and libtpu itself."""

import dataclasses
import importlib.util
import json
import os
import sys
import textwrap
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.config import ChipConfig, ConfigError, EncoderConfig
from benchmark.hardware import compiled
from benchmark.hardware.compiled import CompiledFigures, Compiler, extrapolate
from benchmark.hardware.compiled_child import serving_program
from benchmark.hardware.hlo_copies import copies
from benchmark.hardware.hlo_cycles import estimated_cycles
from benchmark.models.encoder import Encoder
from benchmark.models.formulas import num_parameters
from benchmark.training.initial import init_tree
from tasks.system.errors import StageError
from tasks.system.repository import REPOSITORY

CHIP = ChipConfig(
    name="chip", peak_flops=1e14, memory_bandwidth=6e11, clock_hz=1e9, topology="v4:2x2x1", bytes_per_value=2
)
TINY = EncoderConfig(vocab_size=50, embedding_size=16, hidden_size=32, num_hidden_layers=2, max_position_embeddings=32)
PROGRAM = (REPOSITORY / "tests" / "data" / "tpu_v4_two_layers.hlo").read_text(encoding="utf-8")

without_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed; pip install -e '.[tpu]'"
)

COPIED = """HloModule by_hand

ENTRY %main () -> f32[8] {
  %a = f32[8,128]{1,0} parameter(0)
  %b = bf16[4,128]{1,0} parameter(1)
  %before = (f32[8,128]{1,0:S(3)}, f32[8,128]{1,0}, u32[]) copy-start(%a), cross_program_prefetch_index=0
  %first = (f32[8,128]{1,0:S(3)}, f32[8,128]{1,0}, u32[]) copy-start(%a)
  %slice = ((bf16[4,128]{1,0}), bf16[2,128]{1,0:S(3)}, s32[]) slice-start(%b), slice={[0:2], [0:128]}
  %one = f32[8] fusion(%a), kind=kLoop, calls=%c, backend_config={"estimated_cycles":"1000"}
  %first.done = f32[8,128]{1,0:S(3)} copy-done(%first)
  %two = f32[8] fusion(%first.done), kind=kLoop, calls=%c, backend_config={"estimated_cycles":"30"}
  %slice.done = bf16[2,128]{1,0:S(3)} slice-done(%slice)
  %odd = f32[8] reshape(%two)
  %whole = f32[8] custom-call(%slice.done), custom_call_target="ConcatBitcast"
  ROOT %three = f32[8] fusion(%slice.done), kind=kLoop, calls=%c, backend_config={"estimated_cycles":"7"}
}
"""


def test_copies_by_hand() -> None:
    # 4096 bytes of the whole array and 512 of the slice, one after the other; the prefetched one came before.
    quick = copies(COPIED, 8.0)
    assert (quick.bytes, quick.prefetched_bytes, quick.unestimated) == (4096 + 512, 4096, 1)
    # At 8 bytes a cycle they are there after 512 and 576 cycles, while the first operation runs.
    assert quick.waiting_cycles == 0
    # At 2 bytes a cycle after 2048 and 2304: 1048 are waited for the first, and 2304 - 2048 - 30 for the second.
    assert copies(COPIED, 2.0).waiting_cycles == 1048 + 226
    assert estimated_cycles(COPIED) == 1037


def test_copies_of_a_real_program_are_its_weights() -> None:
    width, inner, layers = 768, 3072, 2
    weights = layers * (4 * width**2 + 2 * width * inner) * 2
    found = copies(PROGRAM, 571.0)
    assert found.prefetched_bytes == width * inner * 2
    # Norms, biases and embeddings are the rest, some of them read where they lie.
    assert weights <= found.bytes + found.prefetched_bytes <= weights * 1.01
    assert found.waiting_cycles == 0


@given(st.floats(0.5, 1e4))
def test_a_program_takes_as_long_as_its_copies(bytes_per_cycle: float) -> None:
    found, cycles = copies(PROGRAM, bytes_per_cycle), estimated_cycles(PROGRAM)
    total = cycles + found.waiting_cycles
    last = found.bytes / bytes_per_cycle
    assert max(cycles, last) - cycles <= total <= cycles + last + 1
    assert found.waiting_cycles >= copies(PROGRAM, bytes_per_cycle * 2).waiting_cycles


def test_no_program() -> None:
    with pytest.raises(ValueError, match="no ENTRY"):
        copies("HloModule nothing", 1.0)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"intra_bottleneck_size": None, "num_feedforward_networks": 1, "trigram_input": False, "hidden_act": "gelu"},
        {"normalization_type": "layer_norm", "use_bottleneck_attention": True},
        {"trigram_input": False, "embedding_projection": True, "relative_attention_num_buckets": 8},
    ],
    ids=["mobilebert", "bert", "tiny", "projection and bias"],
)
def test_the_serving_program_is_the_encoder(changes: dict[str, Any]) -> None:
    encoder = dataclasses.replace(TINY, intra_bottleneck_size=16, initializer_range=0.1)
    encoder = dataclasses.replace(encoder, **changes)
    run, shapes = serving_program(encoder, 2, 16)
    tree = init_tree(Encoder(encoder), encoder, 0, num_inputs=3)
    served = tree | {
        "layers": [jax.tree.map(lambda leaf, i=i: leaf[i], tree["layers"]) for i in range(encoder.num_hidden_layers)],
    }
    served = jax.tree.map(lambda leaf, shape: jnp.asarray(leaf, shape.dtype), served, shapes)
    assert jax.tree.map(jnp.shape, served) == jax.tree.map(lambda shape: shape.shape, shapes)
    ids = np.random.default_rng(0).integers(0, encoder.vocab_size, (2, 16))
    mask = np.ones((2, 16), np.int32)
    mask[1, 9:] = 0
    found = np.asarray(run(served, ids, mask, 0 * mask), np.float32)
    wanted = np.asarray(Encoder(encoder).apply({"params": tree}, ids, mask, 0 * mask).last_hidden_state)
    # bfloat16 has eight bits.
    assert np.abs(found - wanted)[mask > 0].max() < 0.03 * np.abs(wanted).max()


ANSWER = {
    "cycles": 100,
    "waiting_cycles": 10,
    "bytes": 5,
    "prefetched_bytes": 1,
    "unestimated": 2,
    "seconds": 0.5,
}

# Answers with cycles that follow from the depth, and writes down what it was asked.
FAKE = """
import json, os, sys, time
request = json.loads(sys.stdin.readline())
print(json.dumps({"device": "a fake"}), flush=True)
for line in sys.stdin:
    encoder = json.loads(line)["encoder"]
    with open(os.environ["ASKED"], "a") as file:
        file.write(f"{encoder['num_hidden_layers']}\\n")
    {act}
    answer = {answer!r} | {"cycles": 1000 + 7 * encoder["num_hidden_layers"] * encoder["num_attention_heads"]}
    print(json.dumps(answer), flush=True)
"""


def fake(act: str = "pass") -> tuple[str, ...]:
    code = textwrap.dedent(FAKE).replace("{act}", act).replace("{answer!r}", repr(ANSWER))
    return (sys.executable, "-c", code)


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "asked"
    path.touch()
    monkeypatch.setenv("ASKED", str(path))
    return path


def compiler(directory: Path | None, command: tuple[str, ...], **changes: Any) -> Compiler:
    return Compiler(changes.pop("chip", CHIP), 1, 16, directory, command, **changes)


def test_answers_are_kept_on_disk(tmp_path: Path, asked: Path) -> None:
    encoders = [dataclasses.replace(TINY, num_attention_heads=heads) for heads in (1, 2, 4, 2)]
    first = compiler(tmp_path / "cache", fake())
    found = first.figures(encoders)
    assert [f.total_cycles for f in found if isinstance(f, CompiledFigures)] == [1024, 1038, 1066, 1038]
    assert len(asked.read_text().split()) == 3
    assert first.device() == "a fake"
    # Nothing is left of temporary files, and what the program does not depend on is not part of its identity.
    assert all(path.suffix == ".json" for path in (tmp_path / "cache").iterdir())
    twins = [dataclasses.replace(e, initializer_range=0.5, pooler="tanh") for e in encoders]
    again = compiler(tmp_path / "cache", (sys.executable, "-c", "raise SystemExit(9)"))
    assert again.figures(twins) == found
    assert again.device() == "a fake"


@pytest.mark.parametrize(
    "change", [{"topology": "v5e:2x2"}, {"clock_hz": 2e9}, {"cores": 2}], ids=["topology", "clock", "cores"]
)
def test_another_chip_is_compiled_again(tmp_path: Path, asked: Path, change: dict[str, Any]) -> None:
    compiler(tmp_path / "cache", fake()).figures([TINY])
    compiler(tmp_path / "cache", fake(), chip=dataclasses.replace(CHIP, **change)).figures([TINY])
    assert len(asked.read_text().split()) == 2


def test_a_damaged_answer_is_asked_for_again(tmp_path: Path, asked: Path) -> None:
    found = compiler(tmp_path / "cache", fake()).figures([TINY])
    for path in (tmp_path / "cache").iterdir():
        path.write_text('{"cycles": ')
    assert compiler(tmp_path / "cache", fake()).figures([TINY]) == found
    assert len(asked.read_text().split()) == 2


@pytest.mark.parametrize(
    ("act", "reason", "limit"),
    [
        ("sys.exit('Fatal: no more memory')", r"ended with code 1: Fatal: no more memory$", 60.0),
        ("os.kill(os.getpid(), 9)", r"ended with code -9", 60.0),
        ("time.sleep(60)", r"compiling took more than 1 s$", 1.0),
        ("print('hello', flush=True)", r"answered 'hello': expected JSON$", 60.0),
        ("print(json.dumps({'error': 'out of memory'}), flush=True); continue", r"^out of memory$", 60.0),
    ],
    ids=["dies", "killed", "hangs", "chatters", "refuses"],
)
def test_faults_are_one_line_and_the_others_go_on(
    tmp_path: Path, asked: Path, act: str, reason: str, limit: float
) -> None:
    only_four = f"if encoder['num_attention_heads'] == 4: {act}"
    if "continue" in act:
        only_four = f"if encoder['num_attention_heads'] == 4:\n        {act}"
    encoders = [dataclasses.replace(TINY, num_attention_heads=heads) for heads in (1, 4, 2)]
    with_fault = compiler(tmp_path / "cache", fake(only_four), timeout_s=limit)
    good, bad, other = with_fault.figures(encoders)
    assert isinstance(good, CompiledFigures) and isinstance(other, CompiledFigures)
    assert isinstance(bad, StageError)
    with pytest.raises(StageError, match=reason):
        raise bad
    assert "\n" not in str(bad)
    # A failure is not remembered: the next call tries again.
    assert isinstance(compiler(tmp_path / "cache", fake()).figures(encoders)[1], CompiledFigures)


def test_a_child_that_does_not_start_is_one_line() -> None:
    broken = compiler(None, (sys.executable, "-c", "import sys; sys.exit('no such module')"))
    with pytest.raises(StageError, match=r"ended with code 1: no such module$"):
        broken.device()
    assert isinstance(broken.figures([TINY])[0], StageError)


def test_closing_ends_the_children(asked: Path) -> None:
    running = compiler(None, fake())
    running.figures([TINY])
    (child,) = running._children
    pid = child._process.pid
    running.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_deep_encoders_are_extrapolated(asked: Path) -> None:
    deep = dataclasses.replace(TINY, num_hidden_layers=60)
    (found,) = compiler(None, fake()).figures([deep])
    assert isinstance(found, CompiledFigures)
    assert found.compiled_layers == (12, 24)
    # The fake's cycles are a line over the layers, so the extrapolation is exact.
    assert found.cycles == 1000 + 7 * 60 * deep.num_attention_heads
    assert sorted(asked.read_text().split()) == ["12", "24"]


def test_extrapolation_by_hand() -> None:
    low, high = ANSWER | {"cycles": 10}, ANSWER | {"cycles": 40, "bytes": 6}
    found = extrapolate([low, high], (2, 4), 8)
    assert (found.cycles, found.bytes, found.seconds, found.compiled_layers) == (100, 8, 1.0, (2, 4))
    assert extrapolate([low], (2,), 2).cycles == 10


@pytest.mark.parametrize("field", ["topology", "clock_hz", "memory_bandwidth"])
def test_a_missing_figure_is_named(field: str) -> None:
    chip = dataclasses.replace(CHIP, **{field: type(getattr(CHIP, field))()})
    with pytest.raises(ConfigError, match=rf"ChipConfig\.{field} = .*gin/hardware/chip\.gin.*'compiled'"):
        compiler(None, fake(), chip=chip)


def test_identity_names_the_versions() -> None:
    made = compiler(None, fake())
    assert set(made.versions) == {"libtpu", "jax"}
    assert made._identity["estimator"] == compiled.ESTIMATOR_VERSION
    assert json.dumps(made._identity)


@without_libtpu
@pytest.mark.slow
def test_libtpu_compiles_and_repeats(tmp_path: Path) -> None:
    encoders = [dataclasses.replace(TINY, num_hidden_layers=layers) for layers in (1, 3)]
    one, three = Compiler(CHIP, 1, 16, tmp_path / "cache").figures(encoders)
    assert isinstance(one, CompiledFigures) and isinstance(three, CompiledFigures)
    assert 0 < one.cycles < three.cycles
    assert three.bytes + three.prefetched_bytes <= 4 * num_parameters(encoders[1])
    (again,) = Compiler(CHIP, 1, 16, None).figures(encoders[:1])
    assert isinstance(again, CompiledFigures)
    assert dataclasses.replace(again, seconds=one.seconds) == one


@without_libtpu
@pytest.mark.slow
def test_libtpu_refuses_a_topology_in_one_line() -> None:
    with pytest.raises(StageError, match=r"topology 'v4:1x1x1': libtpu refuses it") as failure:
        Compiler(dataclasses.replace(CHIP, topology="v4:1x1x1"), 1, 16, None).device()
    assert "\n" not in str(failure.value)
