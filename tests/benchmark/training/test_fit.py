"""The fit loop: what hooks are told, what stands in the files, and how it stops, continues and survives damage."""

import io
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.config import EncoderConfig, OptimizerConfig, TrainerConfig
from benchmark.models.formulas import forward_flops, masked_lm_head_flops
from benchmark.training import checkpoints, hooks
from benchmark.training.fit import DivergedError, Steps, _dispatches, fit
from benchmark.training.hooks import Event, Hook, write_metrics
from benchmark.training.job import Monitor, TrainingJob
from benchmark.training.metrics import Speed, known_peak, peak_flops, training_flops
from benchmark.training.optimizers import make_optimizer
from benchmark.training.state import init_state, make_train_step
from tasks.system import progress as progress_bars
from tasks.system.repository import REPOSITORY
from tests.helpers.event_files import runs, scalars

OPTIMIZER = make_optimizer(OptimizerConfig(weight_decay=0.0))


def squares(params: Any, batch: Any, settings: dict[str, Any]) -> tuple[jax.Array, dict[str, jax.Array]]:
    return jnp.square(params["w"] - batch).sum(), {"furthest": jnp.abs(params["w"] - batch).max()}


STEP = make_train_step(squares, OPTIMIZER, count_tokens=lambda batch: jnp.isfinite(batch).sum())
TOTAL = 22


def inputs(number: int) -> tuple[Any, Any, dict[str, Any]]:
    return np.full(4, np.sin(number), np.float32), np.float32(0.1 / (number + 1)), {}


def spoilt(*numbers: int) -> Any:
    """The inputs with a NaN in the batches of some steps."""

    def with_nan(number: int) -> tuple[Any, Any, dict[str, Any]]:
        batch, rate, options = inputs(number)
        if number in numbers:
            batch[2] = np.nan
        return batch, rate, options

    return with_nan


def stopping(at: int) -> Any:
    """The inputs of a process that dies when it asks for the batch of step `at`."""

    def interrupted(number: int) -> tuple[Any, Any, dict[str, Any]]:
        if number == at:
            raise KeyboardInterrupt
        return inputs(number)

    return interrupted


def run(
    directory: Path | None,
    given: Any = inputs,
    *,
    steps_per_dispatch: int = 1,
    checkpoint_every: int = 4,
    steps: dict[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Fits; `steps` are further fields of `Steps`, and `options` of `TrainingJob`."""
    state = init_state({"w": jnp.arange(4.0)}, OPTIMIZER)
    trainer = TrainerConfig(log_every=5, steps_per_dispatch=steps_per_dispatch)
    job = TrainingJob(**({"name": "run", "directory": directory, "trainer": trainer} | options))
    return fit(state, Steps(STEP, given, TOTAL, **(steps or {})), job, checkpoint_every=checkpoint_every)


@dataclass(frozen=True)
class Listener(Monitor):
    """Watches with one hook alone."""

    hook: Hook = print

    def hooks(
        self, name: str, progress: Any, directory: Path | None = None, figures: tuple[str, ...] = ()
    ) -> tuple[Hook, ...]:
        return (self.hook,)


def equal(one: Any, two: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True))


def written(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def undisturbed() -> dict[int, Any]:
    """Final states by the number of steps for each dispatch."""
    return {size: run(None, steps_per_dispatch=size)[0] for size in (1, 3)}


def test_what_a_hook_is_told(tmp_path: Path) -> None:
    told: list[Event] = []
    state, report = run(tmp_path, monitor=Listener(hook=told.append))
    steps = [(event.kind, event.step) for event in told]
    # Every fifth step and every fourth, which is saved; the last one is the caller's to save.
    logs = sorted({5, 10, 15, 20} | {4, 8, 12, 16, 20} | {22})
    expected = [("begin", 0)]
    for step in logs:
        expected += [("log", step)] + [("checkpoint", step)] * (step % 4 == 0)
    assert steps == [*expected, ("end", 22)]
    assert all((event.name, event.total_steps, event.first_step) == ("run", 22, 0) for event in told)
    figures = {"loss", "furthest", "gradient_norm", "learning_rate", "tokens_per_second"}
    assert {frozenset(event.metrics) for event in told if event.kind == "log"} == {frozenset(figures)}
    assert report.last == told[-2].metrics
    for event in told:
        if event.kind == "log":
            assert event.metrics["learning_rate"] == pytest.approx(0.1 / event.step)
    assert checkpoints.steps(tmp_path / "checkpoints") == [16, 20]


@settings(max_examples=60)
@given(first=st.integers(0, 40), total=st.integers(0, 60), size=st.integers(1, 9))
def test_dispatches_do_not_depend_on_where_a_call_begins(first: int, total: int, size: int) -> None:
    whole = list(_dispatches(0, total, size))
    assert [step for start, count in whole for step in range(start, start + count)] == list(range(total))
    if first in [start for start, _ in whole]:
        assert list(_dispatches(first, total, size)) == [d for d in whole if d[0] >= first]


def test_several_steps_at_once_end_where_single_ones_do(undisturbed: dict[int, Any], tmp_path: Path) -> None:
    for a, b in zip(jax.tree.leaves(undisturbed[1]), jax.tree.leaves(undisturbed[3]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    run(tmp_path / "one"), run(tmp_path / "three", steps_per_dispatch=3)
    one = {line["step"]: line for line in written(tmp_path / "one")}
    three = written(tmp_path / "three")
    # What is due within a dispatch comes at its end, with the figures of that step.
    assert [line["step"] for line in three] == [6, 9, 12, 15, 18, 21, 22]
    assert checkpoints.steps(tmp_path / "three" / "checkpoints") == [18, 21]
    for line in three:
        if line["step"] in one:
            for name in ("loss", "gradient_norm", "learning_rate"):
                assert line[name] == pytest.approx(one[line["step"]][name], rel=1e-5)


@settings(max_examples=6)
@given(stops=st.lists(st.integers(0, TOTAL - 1), min_size=1, max_size=2), size=st.sampled_from([1, 3]))
def test_continued_runs_lose_and_repeat_nothing(
    undisturbed: dict[int, Any], tmp_path_factory: pytest.TempPathFactory, stops: list[int], size: int
) -> None:
    directory = tmp_path_factory.mktemp("run")
    for stop in stops:
        try:
            run(directory, stopping(stop), steps_per_dispatch=size)
        except KeyboardInterrupt:
            # A line that was being written when the process died.
            with (directory / "metrics.jsonl").open("a") as file:
                file.write('{"step": 3, "lo')
    state, _ = run(directory, steps_per_dispatch=size)
    assert equal(state, undisturbed[size])
    run(directory / "whole", steps_per_dispatch=size)
    assert [line["step"] for line in written(directory)] == [line["step"] for line in written(directory / "whole")]
    for line, other in zip(written(directory), written(directory / "whole"), strict=True):
        assert {**line, "tokens_per_second": 0} == {**other, "tokens_per_second": 0}


@pytest.mark.parametrize(("size", "every", "left"), [(1, 4, [8, 12]), (3, 3, [9, 12])])
def test_a_step_that_is_not_finite_ends_the_run(
    undisturbed: dict[int, Any], tmp_path: Path, size: int, every: int, left: list[int]
) -> None:
    """Batch 13 makes the fourteenth step; with three steps at once it is the middle one of a dispatch."""
    options: dict[str, Any] = {"steps_per_dispatch": size, "checkpoint_every": every}
    describe = {"describe_batch": lambda number: f"batch {number} (rows 7, 9)"}
    with pytest.raises(DivergedError) as caught:
        run(tmp_path, spoilt(13, 14), steps=describe, **options)
    message = str(caught.value)
    assert message == (
        "run: loss is nan, furthest is nan, gradient_norm is nan at step 14 of 22, on batch 13 (rows 7, 9);"
        f" the last good checkpoint is {tmp_path / 'checkpoints' / '12'}"
    )
    assert checkpoints.steps(tmp_path / "checkpoints") == left
    assert max(line["step"] for line in written(tmp_path)) <= 13
    # The kept checkpoint is good: with whole data the run ends as if nothing had been.
    state, report = run(tmp_path, **options)
    assert report.steps == TOTAL - 12
    assert equal(state, undisturbed[size])


def test_a_run_without_checkpoints_says_so(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"at step 2 of 22, on batch 1; there is no checkpoint$"):
        run(tmp_path, spoilt(1))
    with pytest.raises(DivergedError, match=r"at step 22 of 22, on batch 21; there is no checkpoint$"):
        run(None, spoilt(21))


@pytest.mark.parametrize("bad", range(4, 13))
def test_nothing_of_a_bad_step_is_saved(tmp_path: Path, bad: int) -> None:
    """Wherever the bad step lies between checkpoints and logs, what was saved before is finite and older."""
    with pytest.raises(DivergedError, match=f"at step {bad + 1} of"):
        run(tmp_path, spoilt(bad))
    assert checkpoints.steps(tmp_path / "checkpoints")[-1] == bad // 4 * 4
    assert all(np.isfinite(line["loss"]) and line["step"] <= bad for line in written(tmp_path))


def damages(path: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        for how in ("deleted", "cut off", "one bit", "emptied"):
            yield how, file.relative_to(path)


def harm(how: str, file: Path) -> None:
    content = bytearray(file.read_bytes())
    if how == "deleted":
        file.unlink()
        return
    if how == "one bit":
        content[len(content) // 2] ^= 16
    file.write_bytes(bytes(content[: {"cut off": len(content) // 2, "emptied": 0}.get(how, len(content))]))


def test_every_damage_to_a_checkpoint_is_found(tmp_path: Path) -> None:
    """No file of a checkpoint can be lost, cut off or changed in one bit unnoticed."""
    tree = {"w": np.random.default_rng(0).standard_normal((20, 30)).astype(np.float32), "n": np.arange(3)}
    checkpoints.save(tmp_path / "good", tree)
    assert checkpoints.damage(tmp_path / "good") is None
    found = 0
    for how, name in damages(tmp_path / "good"):
        shutil.copytree(tmp_path / "good", tmp_path / "bad")
        harm(how, tmp_path / "bad" / name)
        assert checkpoints.damage(tmp_path / "bad"), (how, name)
        shutil.rmtree(tmp_path / "bad")
        found += 1
    assert found >= 20
    (tmp_path / "good" / "more").write_text("x")
    assert checkpoints.damage(tmp_path / "good") == "more is not what was written"
    assert checkpoints.damage(tmp_path / "none")


@pytest.mark.parametrize("how", ["deleted", "cut off", "one bit"])
def test_the_checkpoint_before_a_damaged_one_is_used(undisturbed: dict[int, Any], tmp_path: Path, how: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stopping(14))
    newest = tmp_path / "checkpoints" / "12"
    largest = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    harm(how, largest)
    lines: list[str] = []
    state, report = run(tmp_path, progress=lines.append)
    assert lines[0].startswith("run: the checkpoint of step 12 is damaged and was removed: ")
    assert largest.name in lines[0]
    assert lines[1] == "run: continued from step 8 of 22"
    assert report.steps == TOTAL - 8
    assert equal(state, undisturbed[1])
    assert [line["step"] for line in written(tmp_path)] == sorted({4, 5, 8, 10, 12, 15, 16, 20, 22})


def test_with_every_checkpoint_damaged_a_run_begins_anew(undisturbed: dict[int, Any], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stopping(14))
    for step in checkpoints.steps(tmp_path / "checkpoints"):
        (tmp_path / "checkpoints" / str(step) / checkpoints.DIGESTS).unlink()
    state, report = run(tmp_path)
    assert report.steps == TOTAL
    assert equal(state, undisturbed[1])


def test_tensorboard_shows_what_the_metrics_file_holds(tmp_path: Path) -> None:
    monitor = Monitor(tensorboard=tmp_path / "tensorboard")
    assert not Monitor().hooks("a", print)[1:]
    run(tmp_path / "run", monitor=monitor, name="student transfer")
    shown = scalars(tmp_path / "tensorboard" / "student" / "transfer")
    lines = written(tmp_path / "run")
    assert {name: [step for step, _ in pairs] for name, pairs in shown.items()} == {
        name: [line["step"] for line in lines] for name in lines[0] if name != "step"
    }
    for name, pairs in shown.items():
        assert [value for _, value in pairs] == pytest.approx([line[name] for line in lines], rel=1e-6)


def test_a_run_can_have_a_name_of_its_own_in_tensorboard(tmp_path: Path) -> None:
    job = TrainingJob("trial 3", monitor=Monitor(tensorboard=tmp_path), figures=("search", "trial_3"))
    part = job.part("transfer")
    assert (part.name, part.figures) == ("trial 3 transfer", ("search", "trial_3", "transfer"))
    assert job.part("a").part("b").figures == ("search", "trial_3", "a", "b")
    run(None, monitor=part.monitor, name=part.name, figures=part.figures)
    assert runs(tmp_path) == {"search/trial_3/transfer"}


def test_a_resumed_run_has_each_step_once_in_tensorboard(tmp_path: Path) -> None:
    monitor = Monitor(tensorboard=tmp_path / "tensorboard")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", stopping(14), monitor=monitor)
    time.sleep(1.0)  # a file's name has the second in which it was begun
    run(tmp_path / "run", monitor=monitor)
    assert len(list((tmp_path / "tensorboard" / "run").iterdir())) == 2
    for pairs in scalars(tmp_path / "tensorboard" / "run").values():
        assert [step for step, _ in pairs] == [line["step"] for line in written(tmp_path / "run")]


def test_without_event_files_their_writer_is_not_loaded() -> None:
    code = (
        "import sys, jax.numpy\n"
        "from benchmark.training.job import Monitor\n"
        "from benchmark.training.hooks import Event\n"
        "for hook in Monitor().hooks('a', print): hook(Event('begin', 'a', 0, 1, 0, 0.0))\n"
        "print('tensorboardX' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


def test_the_metrics_file_is_json(tmp_path: Path) -> None:
    hook = write_metrics(tmp_path / "deep" / "m.jsonl")
    hook(Event("log", "run", 3, 9, 0, 1.0, {"loss": 1.5, "odd": float("inf")}))
    assert (tmp_path / "deep" / "m.jsonl").read_text() == '{"step": 3, "loss": 1.5, "odd": null}\n'


def test_progress_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("benchmark.training.hooks.time.perf_counter", lambda: now[0])
    lines: list[str] = []
    hook = hooks.write_lines(lines.append)
    for step in range(20, 120, 10):
        now[0] += 2.0
        hook(Event("log", "run", step, 110, 10, (step - 10) / 5.0, {"loss": 0.25}))
    assert lines[0] == "run: step 40/110, loss 0.250, 5.0 steps/s, 14 s left"
    assert lines[-1] == "run: step 110/110, loss 0.250, 5.0 steps/s, 0 s left"
    assert len(lines) == 4
    # A fit that ends within the quiet time has no line, not even its last.
    quiet = [hooks.write_lines(lines.append, quiet_seconds=limit) for limit in (30.0, 12.0)]
    lines.clear()
    for step in (50, 80, 110):
        now[0] += 6.0
        for hook in quiet:
            hook(Event("log", "run", step, 110, 10, (step - 10) / 5.0, {"loss": 0.25}))
    assert [line.partition(",")[0] for line in lines] == ["run: step 80/110", "run: step 110/110"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bars_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TERM": "xterm", "COLUMNS": "120"}.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    lines: list[str] = []
    with progress_bars.display() as show:
        assert show is not None
        one, two = (Monitor(show=show).hooks(name, lines.append)[0] for name in ("a", "b"))
        for hook, name in ((one, "teacher"), (two, "student transfer")):
            hook(Event("log", name, 30, 90, 10, 4.0, {"loss": 0.5}))
        one(Event("end", "teacher", 30, 90, 10, 5.0))
        two(Event("end", "student transfer", 90, 90, 10, 5.0))
        before = terminal.getvalue()
        # The terminal is free between fits, and a later one is shown again.
        two(Event("log", "another", 10, 20, 0, 2.0, {"loss": 0.125}))
    shown = terminal.getvalue()
    assert "teacher" in before and "student transfer" in before
    assert "30/90, loss 0.500, 5.0 steps/s, 12 s left" in before
    assert "another" not in before and "10/20, loss 0.125, 5.0 steps/s, 2 s left" in shown
    assert lines == []


def test_no_bars_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    with progress_bars.display() as show:
        assert show is None
    assert file.getvalue() == ""


def test_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("benchmark.training.metrics.time.perf_counter", lambda: now[0])
    speed = Speed(flops_per_step=3e9, peak=1e10)
    now[0] = 50.0
    speed.restart()
    for _ in range(4):
        speed.add(2, 300)
    now[0] = 54.0
    assert speed.read() == {"tokens_per_second": 300.0, "mfu": pytest.approx(8 * 3e9 / (4 * 1e10))}
    speed.add(1, 10)
    now[0] = 55.0
    assert speed.read()["tokens_per_second"] == 10.0
    assert Speed(None, 1e10).read() == Speed(1e9, None).read() == {}


def test_known_peaks() -> None:
    assert known_peak("NVIDIA H100 80GB HBM3", "bfloat16") == 989e12
    assert known_peak("NVIDIA H100 PCIe", "bfloat16") == 756e12
    assert known_peak("NVIDIA A100-SXM4-80GB", "float32") == 156e12
    assert known_peak("NVIDIA H200", "bfloat16") == 989e12
    assert known_peak("TPU v4", "float32") == 275e12
    assert known_peak("TPU v5 lite", "bfloat16") == 197e12
    assert known_peak("TPU v5p", "bfloat16") == 459e12
    assert known_peak("NVIDIA L40", "bfloat16") is None
    assert known_peak("some chip", "float32") is None
    # A processor's peak is only what the settings say.
    assert peak_flops("float32", None) is None
    assert peak_flops("float32", 2e11) == 2e11


def test_flops_of_a_step() -> None:
    student = EncoderConfig(
        vocab_size=50, hidden_size=16, intra_bottleneck_size=8, num_hidden_layers=2, embedding_size=8
    )
    teacher = EncoderConfig(
        vocab_size=50, hidden_size=32, intra_bottleneck_size=8, num_hidden_layers=3, embedding_size=8
    )
    own = forward_flops(student, 4, 12) + 4 * 3 * 2 * (16 * 16 + 16 * 50)
    other = forward_flops(teacher, 4, 12) + masked_lm_head_flops(teacher, 4 * 3)
    assert training_flops(student, 4, 12, 3) == 3 * own
    assert training_flops(student, 4, 12, 3, teacher) == 3 * own + other
