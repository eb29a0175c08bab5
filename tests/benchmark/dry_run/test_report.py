"""What `--dry_run` says of shapes, memory and time, against real arrays, real programs and the closed formulas."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from baselines.catalogue import baselines
from benchmark.cli.gin_loader import load
from benchmark.config import ChipConfig, TargetConfig, TrainerConfig, fingerprint
from benchmark.distillation.initial import init_student, student_shapes
from benchmark.distillation.teacher_cache import Teacher
from benchmark.dry_run import calibration, report, train_steps
from benchmark.hardware.hlo_cycles import estimated_cycles
from benchmark.hardware.tpu_compiler import Memory, compile_program, read_memory
from benchmark.search.space import encode, enumerate_points
from benchmark.training.masking import SpecialTokens, mask_tokens
from benchmark.training.metrics import training_flops
from benchmark.training.pretrain import init_params
from run_benchmark import main
from tasks.system.errors import StageError
from tasks.system.repository import REPOSITORY
from tests.helpers.hugging_face_models import write_model

TRACKS = sorted((REPOSITORY / "gin" / "tracks").glob("*.gin"))
GIB = 2**30
CHIP = ChipConfig(name="chip", peak_flops=1e12, memory_bytes=10.0 * GIB, clock_hz=1e9)

without_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="libtpu is not installed (extra tpu, or its folder in PYTHONPATH)",
)


def config_of(*names: str, bindings: tuple[str, ...] = ()) -> Any:
    return load([str(REPOSITORY / name) for name in names], list(bindings)).config


@pytest.fixture(scope="module")
def tiny() -> Any:
    return config_of("tests/e2e/tiny.gin")


def shapes_of(tree: object) -> dict[str, tuple[tuple[int, ...], str]]:
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path): (np.shape(leaf), str(leaf.dtype)) for path, leaf in leaves}


# The whole dry run.


def not_calibrated(*_: object) -> None:
    raise StageError("not here")


@pytest.mark.parametrize("path", TRACKS, ids=lambda path: path.stem)
def test_every_track_passes(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    # It takes half a minute, and has tests of its own.
    monkeypatch.setattr(calibration, "calibrate", not_calibrated)
    assert main([f"--gin_file={path}", "--dry_run"]) == 0
    out, err = capsys.readouterr()
    config: Any = load([str(path)]).config
    assert err == "" and f"fingerprint: {fingerprint(config)}" in out
    lines = [line.removeprefix("shapes: ") for line in out.splitlines() if line.startswith("shapes: ")]
    named = {line.partition(",")[0].partition(":")[0] for line in lines}
    assert {baseline.name for baseline in config.baselines} | {"teacher", "largest of the space"} <= named
    phases = [phase.name for phase in config.distill.phases]
    for baseline in config.baselines:
        assert [line for line in lines if line.startswith(f"{baseline.name}, phase")][-1].find(phases[-1]) > 0
    assert list(tmp_path.iterdir()) == []
    missing = [line for line in out.splitlines() if line.startswith("target: ") and "libtpu is not installed" in line]
    assert len(missing) == (config.trainer.target is not None)
    assert ("forecast: in all" in out) == (config.trainer.target is None)


def test_stages_that_train_nothing_evaluate_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([f"--gin_file={REPOSITORY / 'gin/tracks/paper.gin'}", "--stages=data,publish", "--dry_run"]) == 0
    assert "shapes" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("binding", "words"),
    [
        ("distill/PhaseConfig.weights={'masked_lm': 1.0, 'next_sentence': 1.0}", "the rows are no sentence pairs"),
        ("DistillConfig.copy_layers=True", "accepted: a student whose layers and head"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    binding: str, words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [f"--gin_file={REPOSITORY / 'tests/e2e/tiny.gin'}", f"--gin.{binding}", "--stages=distill", "--dry_run"]
    assert main(arguments) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and errors[0].startswith("error: ") and words in errors[0]


def test_the_weights_of_checkpoints_are_compared_with_their_configurations(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "model", "masked_lm")
    weights = tmp_path / "model" / "model.safetensors"
    save_file(load_file(weights) | {"fit_dense.bias": np.zeros(48, np.float32)}, weights)
    given = [f"--gin.{name}={str(tmp_path / 'model')!r}" for name in ("TEACHER", "SUBJECT")]
    file = f"--gin_file={REPOSITORY / 'tests/e2e/checkpoint.gin'}"
    arguments = [file, *given, "--stages=data,publish", "--dry_run"]
    assert main(arguments) == 0
    assert "checkpoint of published: fit_dense.bias left out: TinyBERT's maps" in capsys.readouterr().out
    weights.write_bytes(weights.read_bytes()[:-1])
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith(f"error: {weights}: damaged: ")


# The paper's track.


def test_paper_track_is_what_its_sources_say() -> None:
    config = config_of("gin/tracks/paper.gin")
    points = enumerate_points(config.search.space)
    assert len(points) == 576
    published = {name: baseline.encoder for name, baseline in baselines().items()}
    for baseline in config.baselines:
        assert baseline.encoder == published[baseline.name.replace("-", "_")]
    assert config.teacher.encoder == published["ib_bert_large"]
    assert encode(config.search.space, config.baselines[0].encoder) in points
    # The schedule of MobileBERT's released programs, and 5 % of it.
    assert [phase.total_steps(24) for phase in config.distill.phases] == [240_000, 500_000]
    flash = config.distill.scaled(config.search.flash_fraction)
    assert [phase.total_steps(24) for phase in flash.phases] == [12_000, 25_000]
    assert (config.distill.batch_size, config.data.pretrain_length) == (2048, 512)


def test_target_is_in_no_fingerprint() -> None:
    target = TargetConfig(topology="v4:2x2x1", chip=CHIP)
    assert fingerprint(TrainerConfig(target=target)) == fingerprint(TrainerConfig())
    assert fingerprint(dataclasses.replace(CHIP, memory_bytes=0.0)) == fingerprint(CHIP)
    # The clock turns cycles into the latencies of a search.
    assert fingerprint(dataclasses.replace(CHIP, clock_hz=0.0)) != fingerprint(CHIP)


# Shapes are those of real arrays.


@pytest.mark.parametrize("pairs", [False, True])
def test_masked_batch_has_the_shapes_of_a_real_one(tiny: Any, pairs: bool) -> None:
    data = dataclasses.replace(tiny.data, sentence_pairs=pairs)
    ids = jnp.full((4, data.pretrain_length), 200)
    more = (np.zeros(ids.shape, np.uint8), np.zeros(4, np.int32)) if pairs else (None, None)
    real = mask_tokens(jax.random.key(0), ids, SpecialTokens(512, 0, 101, 102, 103), 0.15, *more)
    assert shapes_of(train_steps.masked_batch(data, 512, 4, 0.15)) == shapes_of(real)


@pytest.mark.parametrize("hidden", [32, 48])
def test_student_has_the_shapes_of_a_real_one(tiny: Any, hidden: int) -> None:
    teacher = tiny.teacher.encoder
    student = dataclasses.replace(tiny.baselines[0].encoder, hidden_size=hidden)
    real = init_student(student, Teacher(teacher, init_params(teacher, 0)), tiny.distill, 0)
    assert shapes_of(student_shapes(student, teacher, tiny.distill)) == shapes_of(real)
    assert ("projection" in real) == (hidden != teacher.hidden_size)


@pytest.mark.parametrize("in_step", [False, True])
def test_a_step_gives_back_its_state(tiny: Any, in_step: bool) -> None:
    tiny = dataclasses.replace(tiny, trainer=TrainerConfig(teacher_in_step=in_step))
    step = train_steps.distillation_step(tiny, tiny.baselines[0].encoder, "student", tiny.distill.phases[0])
    read = step.teacher.outputs()
    program = step.student(read)
    state, metrics = program.outputs()
    assert shapes_of(state) == shapes_of(program.arguments[0])
    terms, _ = step.terms(read)
    assert terms.keys() <= metrics.keys()
    assert metrics["loss"].shape == ()


# Memory and time.


def test_memory_of_a_real_program() -> None:
    function = jax.jit(lambda state, x: (state + x.sum(), x * 2.0), donate_argnums=0)
    state, x = jax.ShapeDtypeStruct((64,), np.float32), jax.ShapeDtypeStruct((1000,), np.float32)
    memory = compile_program(function, (state, x)).memory
    assert memory.arguments == 4 * 1064
    # The state takes the place of the donated one. A tuple of two pointers may be counted too.
    assert memory.shared == 4 * 64
    assert 4 * 1000 <= memory.new_results <= 4 * 1000 + 16


@pytest.mark.parametrize("analysis", [None, SimpleNamespace(argument_size_in_bytes=1, output_size_in_bytes=-1)])
def test_memory_without_figures(analysis: object) -> None:
    with pytest.raises(StageError, match="no memory figures"):
        read_memory(analysis)


def figures(part: str, memory: Memory, kept: int) -> report.ProgramFigures:
    return report.ProgramFigures("student, phase a", part, 1.0, memory, kept, cycles=500_000_000, devices=4)


@pytest.mark.parametrize(("batch", "fits"), [(1, True), (2, False)])
def test_memory_of_a_step_is_added_up(tiny: Any, batch: int, fits: bool) -> None:
    target = TargetConfig(topology="v4:2x2x1", chip=CHIP)
    config = dataclasses.replace(tiny, trainer=TrainerConfig(target=target))
    teacher = figures("teacher", Memory(2 * GIB, GIB, 0, GIB, 0), 2 * GIB)
    student = figures("student", Memory((1 + batch) * GIB, GIB, GIB, 3 * GIB, 0), GIB)
    line, is_enough = report.step_line(student, teacher, config)
    # 2 + 1 kept, three batches, 3 of work space, which is more than the teacher's.
    assert f"memory per device {6 + 3 * batch}.00 of 10.00 GiB" in line
    assert is_enough is fits and ("DOES NOT FIT" not in line) is fits
    assert "estimated 1.000 s a step (teacher 0.500, student 0.500)" in line
    unknown = TargetConfig(topology="v4:2x2x1", chip=dataclasses.replace(CHIP, memory_bytes=0.0))
    line, _ = report.step_line(student, teacher, dataclasses.replace(tiny, trainer=TrainerConfig(target=unknown)))
    assert "memory_bytes is not given" in line and "fits" not in line
    recipe, length = config.distill, config.data.pretrain_length
    predictions = round((length - 2) * recipe.mask_rate)
    flops = training_flops(config.baselines[0].encoder, recipe.batch_size, length, predictions, config.teacher.encoder)
    assert report.least_seconds(config, False, 4) == pytest.approx(flops / 4e12)


def program_text(counts: list[int], cycles: list[int]) -> str:
    """Loops within each other, the outermost first; each body has an operation, and a fusion that is counted once."""
    lines = ["HloModule jit_step", "", "%fused (p: f32[]) -> f32[] {", "  ROOT %p = f32[] parameter(0)", "}", ""]
    for depth in reversed(range(len(counts))):
        inner = f"  %w.{depth} = (s32[]) while(%t), condition=%cond.{depth + 1}, body=%body.{depth + 1}, metadata={{}}"
        lines += [
            f"%cond.{depth} (p.{depth}: (s32[], f32[4])) -> pred[] {{",
            f"  %constant.{depth} = s32[]{{:T(128)}} constant({counts[depth]})",
            f"  %get.{depth} = s32[]{{:T(128)}} get-tuple-element(%p.{depth}), index=0",
            f"  ROOT %lt.{depth} = pred[]{{:T(512)}} compare(%get.{depth}, %constant.{depth}), direction=LT",
            "}",
            "",
            f"%body.{depth} (p.{depth}: (s32[], f32[4])) -> (s32[], f32[4]) {{",
            '  %f = f32[4] fusion(%x), kind=kLoop, calls=%fused, backend_config={"window_config":{'
            f'"estimated_cycles":"{cycles[depth]}","iteration_bounds":["1"]}}}}',
            *([inner] if depth + 1 < len(counts) else []),
            "}",
            "",
        ]
    lines += ["ENTRY %main (x: f32[4]) -> f32[4] {", "  %w = (s32[]) while(%t), condition=%cond.0, body=%body.0", "}"]
    return "\n".join(lines)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10**6)), min_size=1, max_size=4))
def test_cycles_of_loops_within_loops(loops: list[tuple[int, int]]) -> None:
    counts, cycles = [list(column) for column in zip(*loops, strict=True)]
    expected, rounds = 0, 1
    for count, number in loops:
        rounds *= count
        expected += rounds * number
    assert estimated_cycles(program_text(counts, cycles)) == expected


def test_a_loop_without_a_known_end_is_refused() -> None:
    text = program_text([3], [5]).replace("direction=LT", "direction=GT")
    with pytest.raises(StageError, match=r"cond\.0"):
        estimated_cycles(text)


@pytest.mark.parametrize("text", ["", "ENTRY %main (x: f32[4]) -> f32[4] {\n  ROOT %x = f32[4] parameter(0)\n}"])
def test_a_program_without_estimates_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"ENTRY|estimated_cycles"):
        estimated_cycles(text)


# The child process.


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import time; time.sleep(60)", "took more than TargetConfig.timeout_s = 1 s"),
        ("import sys; print('noise\\nlast words', file=sys.stderr); sys.exit(3)", "ended with code 3: last words"),
        ('print(\'{"error": "no such slice"}\')', "no such slice"),
    ],
)
def test_a_child_that_fails_is_one_line(code: str, words: str) -> None:
    target = TargetConfig(topology="v4:2x2x1", chip=CHIP, timeout_s=1.0 if "sleep" in code else 60.0)
    with pytest.raises(StageError) as failure:
        list(report.read_answers(target, "", [sys.executable, "-c", code]))
    message = str(failure.value)
    assert words in message and "v4:2x2x1" in message and "\n" not in message


@pytest.mark.parametrize("topology", ["v4", "v4:2", "4x4x4", "v4:2x2x2x2"])
def test_what_is_no_topology_is_refused(topology: str) -> None:
    with pytest.raises(ValueError, match=re.escape(topology)):
        TargetConfig(topology=topology, chip=CHIP)


TARGET = """
include 'tests/e2e/tiny.gin'
include 'gin/hardware/tpu_v4.gin'
RunConfig.trainer = @TrainerConfig()
TrainerConfig.compute_dtype = 'bfloat16'
TrainerConfig.gradient_accumulation_steps = 2
TrainerConfig.mesh = @MeshConfig()
TrainerConfig.target = @TargetConfig()
TargetConfig.topology = 'v4:2x2x1'
TargetConfig.chip = @tpu_v4/ChipConfig()
"""


@without_libtpu
@pytest.mark.slow
@pytest.mark.parametrize("parts", [("teacher", "student"), ("whole",)])
def test_tiny_steps_compile_for_four_chips(tmp_path: Path, parts: tuple[str, ...]) -> None:
    within = f"TrainerConfig.teacher_in_step = {parts == ('whole',)}"
    (tmp_path / "target.gin").write_text(f"{TARGET}{within}\n")
    loaded: Any = load([str(tmp_path / "target.gin")])
    target = loaded.config.trainer.target
    assert target is not None
    told = [report.ProgramFigures.from_json(values) for values in report.read_answers(target, loaded.text)]
    assert [(f.name, f.part) for f in told] == [
        ("teacher", "step"),
        *(("plain, phase " + phase.name, part) for phase in loaded.config.distill.phases for part in parts),
    ]
    for part in told:
        assert part.devices == 4 and part.cycles > 0
        assert part.memory.arguments >= part.kept > 0
        # The state is donated, and a teacher's outputs take no argument's place.
        assert (part.memory.shared > 0) == (part.part != "teacher")
    # Adam keeps two moments beside each parameter, in float32.
    teacher = init_params(loaded.config.teacher.encoder, 0)
    assert told[0].kept == pytest.approx(12 * sum(leaf.size for leaf in jax.tree.leaves(teacher)), abs=64)
    line, fits = report.step_line(told[len(parts)], told[1] if len(parts) == 2 else None, loaded.config)
    assert fits and "of 30.75 GiB" in line
    assert json.loads(json.dumps(dataclasses.asdict(told[0])))["memory"]["arguments"] == told[0].memory.arguments


@without_libtpu
def test_libtpu_refuses_a_slice_in_one_line() -> None:
    target = TargetConfig(topology="v4:1x1x1", chip=CHIP, timeout_s=300)
    with pytest.raises(StageError, match="libtpu refuses it") as failure:
        list(report.read_answers(target, TARGET.replace("2x2x1", "1x1x1")))
    assert "\n" not in str(failure.value)
