"""Counts of steps, programs and trials that are left, against counts by hand and against real arrays."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from benchmark.cli.gin_loader import load
from benchmark.config import TrainerConfig, fingerprint, to_dict
from benchmark.config.checks import result_settings
from benchmark.distillation.outputs import Needs, teacher_outputs
from benchmark.dry_run import train_steps
from benchmark.dry_run.distill_work import output_bytes
from benchmark.dry_run.done import ALL_STEPS, Done, read_done
from benchmark.dry_run.memory import STATE_BYTES, state_bytes
from benchmark.dry_run.programs import Program, StageWork
from benchmark.dry_run.rows import Rows, SplitRows, read_rows
from benchmark.dry_run.students import typical_trial
from benchmark.dry_run.work import left_work
from benchmark.pipeline.workdir import RunError, write_json
from benchmark.training.finetune import task_head
from benchmark.training.optimizers import make_optimizer
from benchmark.training.pretrain import init_params, param_shapes
from benchmark.training.state import init_state
from tasks import microworld
from tasks.catalogue import TASKS
from tasks.system.repository import REPOSITORY

STAGES = ("data", "teacher", "search", "distill", "finetune", "latency", "record", "publish")


@pytest.fixture(scope="module")
def tiny() -> Any:
    return load([str(REPOSITORY / "tests/e2e/tiny.gin")]).config


def works(config: Any, done: Done | None = None, folder: Path = Path("none")) -> dict[str, StageWork]:
    rows = read_rows(config, folder)
    return {work.stage: work for work in left_work(config, STAGES, rows, done or Done())}


def counts(work: StageWork, kind: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for job in work.every_job:
        for calls in job.calls:
            if calls.program.kind == kind:
                found[job.name] += round(calls.count)
    return found


def test_steps_of_the_tiny_run(tiny: Any) -> None:
    found = works(tiny)
    assert list(found) == [stage for stage in STAGES if stage != "publish"]
    assert counts(found["teacher"], "pretrain") == {"teacher": 40}
    # 64 validation rows are one batch, and the masked copies of 32 of them half as many as a row has tokens.
    copies = math.ceil(32 * (tiny.data.pretrain_length - 2) / 64)
    assert counts(found["teacher"], "evaluate") == {"teacher": 1 + copies}
    assert counts(found["search"], "evaluate") == {f"trial {number}": 1 for number in range(3)}
    # 0.3 of 10 steps for each layer, and of 20 steps.
    layers = typical_trial(tiny.search).num_hidden_layers
    steps = 3 * layers + 6
    assert counts(found["search"], "distill") == {f"trial {number}": steps for number in range(3)}
    assert found["search"].workers == 2
    # The teacher runs once on the batches of all trials.
    assert counts(found["search"], "teacher") == {"trial 0": steps, "trial 1": 0, "trial 2": 0}
    long, short = 10 * layers + 20, 10 + 20
    assert counts(found["distill"], "distill") == {"found 1": long, "found 1@1": long, "plain": short, "plain@1": short}
    # The first student computes the batches that no trial has had, and those of another seed are all new.
    outputs = {"found 1": long - steps, "found 1@1": long, "plain": 0, "plain@1": 0}
    assert counts(found["distill"], "teacher") == outputs
    assert found["distill"].text.startswith("4 of 4 distillations")
    # 100 rows of each of three tasks in batches of 16, one epoch, two seeds; 50 or 40 rows to predict.
    assert counts(found["finetune"], "finetune") == dict.fromkeys(("teacher", *outputs), 3 * 2 * 7)
    assert counts(found["finetune"], "predict") == dict.fromkeys(("teacher", *outputs), 3 * 2)
    assert len(found["latency"].jobs) == 2


def test_programs_of_the_tiny_run(tiny: Any) -> None:
    found = works(tiny)
    programs = {
        (stage, calls.program) for stage, work in found.items() for job in work.every_job for calls in job.calls
    }
    kinds = Counter((stage, program.kind) for stage, program in programs)
    # One program for both phases; the found student is one of the trials.
    assert kinds["search", "distill"] == 3 and kinds["distill", "distill"] == 2
    trials = {program for stage, program in programs if stage == "search" and program.kind == "distill"}
    assert len(trials & {program for stage, program in programs if stage == "distill"}) == 1
    # A classification head of 32 columns and a span head of 64 for each of three systems.
    assert kinds["finetune", "finetune"] == 6
    assert {p.length for stage, p in programs if stage == "finetune"} == {32, 64}
    # Training masks batches of 8 rows, evaluation of 64.
    assert {p.batch_size for _, p in programs if p.kind == "mask"} == {8, 64}
    assert len({p for _, p in programs if p.kind == "mask"}) == 2


def test_a_small_cache_makes_every_student_run_the_teacher(tiny: Any) -> None:
    config = dataclasses.replace(tiny, trainer=TrainerConfig(teacher_cache_bytes=0))
    computed = counts(works(config)["search"], "teacher")
    assert len(set(computed.values())) == 1 and computed["trial 2"] > 0
    within = dataclasses.replace(tiny, trainer=TrainerConfig(teacher_in_step=True))
    assert not counts(works(within)["search"], "teacher")


def test_trials_that_stop_early_count_as_far_as_they_get(tiny: Any) -> None:
    search = dataclasses.replace(tiny.search, rungs=(0.25, 0.5), reduction_factor=2.0)
    (steps,) = set(counts(works(tiny)["search"], "distill").values())
    (expected,) = set(counts(works(dataclasses.replace(tiny, search=search))["search"], "distill").values())
    # All to a quarter, half of them to a half, a quarter of them to the end.
    assert expected == pytest.approx(steps * (0.25 + 0.25 / 2 + 0.5 / 4), abs=1)


def test_grouped_rows_are_counted_by_length(tiny: Any) -> None:
    config = dataclasses.replace(
        tiny,
        data=dataclasses.replace(tiny.data, tasks=("glue_sst2_v1",)),
        finetune=dataclasses.replace(tiny.finetune, group_by_length=True, seeds=(0,)),
    )
    split = SplitRows(160, 32, ((8, 0.5), (32, 0.5)))
    rows = Rows(100, 64, {"glue_sst2_v1": {"train": split, "evaluation": split}}, known=True)
    work = next(w for w in left_work(config, STAGES, rows, Done()) if w.stage == "finetune")
    steps = [(c.program.length, c.count) for c in work.jobs[0].calls if c.program.kind == "finetune"]
    assert steps == [(8, 5.0), (32, 5.0)]


def test_a_task_that_is_distilled_has_the_steps_of_its_phases() -> None:
    names = ("tests/e2e/tiny.gin", "gin/distill/tinybert_task.gin")
    bindings = [
        "AugmentationConfig.copies=(2,)",
        "intermediate/TaskPhaseConfig.epochs=(2.0,)",
        "prediction/TaskPhaseConfig.epochs=(1.0,)",
        "prediction/TaskPhaseConfig.augmented=()",
        "DistillConfig.seeds=(0,)",
        "DataConfig.tasks=('glue_sst2_v1',)",
    ]
    config: Any = load([str(REPOSITORY / name) for name in names], bindings).config
    found = works(config)["finetune"]
    # Two epochs of 100 rows with two copies each, and one of the rows alone, in batches of 32; two seeds.
    steps = 2 * (19 + 4)
    assert counts(found, "distill_task") == {"found 1": steps, "plain": steps}
    assert counts(found, "teacher") == {"found 1": steps, "plain": steps}
    # The teacher is fine-tuned first, and asked for the replacements of half of 100 x 32 tokens, 64 at a time.
    assert [job.name for job in found.first] == ["teacher"]
    assert counts(found, "finetune") == {"teacher": 2 * 7} and counts(found, "evaluate") == {"teacher": 25}


def test_recipes_and_rates_that_are_tried_are_counted() -> None:
    names = ("tests/e2e/tiny.gin", "gin/finetune/bert.gin")
    config: Any = load([str(REPOSITORY / name) for name in names]).config
    # SST-2: three epochs of 90 of its 100 rows with each of four rates, and of all with both seeds, in batches of 32.
    # SQuAD v1.1 has the same epochs and v2.0 two, in batches of 48; neither has a choice.
    tries, each = 4 * 9, 2 * (10 + 10 + 5)
    systems, further = ("teacher", "found 1", "plain"), ("found 1@1", "plain@1")
    found = works(config)["finetune"]
    assert counts(found, "finetune") == dict.fromkeys(systems, tries + each) | dict.fromkeys(further, each)
    assert counts(found, "predict") == dict.fromkeys(systems, 4 + 3 * 2) | dict.fromkeys(further, 3 * 2)
    tried = frozenset(("plain", "glue_sst2_v1", f"rate-{rate!r}") for rate in (5e-5, 2e-5))
    assert counts(works(config, Done(rates=tried))["finetune"], "finetune")["plain"] == tries / 2 + each


# What is done.


def test_done_parts_are_left_out(tiny: Any) -> None:
    done = Done(
        data=True,
        teacher=True,
        trials=2,
        systems=frozenset({"plain"}),
        predictions=frozenset(("teacher", task, seed) for task in tiny.data.tasks for seed in (0, 1)),
    )
    found = works(tiny, done)
    assert (found["data"].text, found["teacher"].text) == ("done", "done")
    assert found["search"].text.startswith("1 trials") and "2 are done" in found["search"].text
    assert [job.name for job in found["distill"].jobs] == ["found 1", "found 1@1", "plain@1"]
    assert [job.name for job in found["finetune"].jobs] == ["found 1", "found 1@1", "plain", "plain@1"]
    one = done.predictions - {("teacher", "squad_v1_1_v1", 1)}
    found = works(tiny, dataclasses.replace(done, predictions=one))
    # One fine-tuning of 7 steps.
    assert counts(found["finetune"], "finetune")["teacher"] == 7
    begun = Done(teacher_steps=30, phase_steps={("plain", "transfer"): ALL_STEPS, ("plain", "distillation"): 10})
    found = works(tiny, begun)
    assert counts(found["teacher"], "pretrain") == {"teacher": 10}
    assert counts(found["distill"], "distill")["plain"] == 10


def write_markers(folder: Path, config: Any, *names: str) -> None:
    identity = {"fingerprint": fingerprint(config), "result_settings": to_dict(result_settings(config))}
    write_json(folder / "config.json", identity)
    write_json(folder / "data" / "stage.json", {"fingerprint": fingerprint(config.data), "result": {}, "seconds": 1.0})
    write_json(folder / "data" / "data.json", {"tasks": {}, "pretrain": {}})
    for name in names:
        write_json(folder / name, {"fingerprint": "", "result": {}, "seconds": 1.0})


def test_a_folder_is_read_without_writing(tiny: Any, tmp_path: Path) -> None:
    evaluated = ("evaluation/teacher/glue_sst2_v1/seed1.json", "evaluation/teacher/glue_sst2_v1/rate-5e-05.json")
    names = ("teacher/stage.json", "students/plain/stage.json", *evaluated)
    write_markers(tmp_path, tiny, *names)
    (tmp_path / "students/found-1/transfer/result").mkdir(parents=True)
    (tmp_path / "students/found-1/distillation/checkpoints/10").mkdir(parents=True)
    for phase in ("transfer", "distillation"):
        (tmp_path / "students/found-1" / phase / "metrics.jsonl").write_text("")
    before = sorted(tmp_path.rglob("*"))
    done = read_done(tiny, tmp_path)
    assert done == Done(
        data=True,
        teacher=True,
        systems=frozenset({"plain"}),
        phase_steps={("found-1", "transfer"): ALL_STEPS, ("found-1", "distillation"): 10},
        predictions=frozenset({("teacher", "glue_sst2_v1", 1)}),
        rates=frozenset({("teacher", "glue_sst2_v1", "rate-5e-05")}),
    )
    assert sorted(tmp_path.rglob("*")) == before
    assert read_done(tiny, tmp_path / "other") == Done()


def test_a_longer_search_goes_on_and_other_settings_are_refused(tiny: Any, tmp_path: Path) -> None:
    write_markers(tmp_path, tiny, "teacher/stage.json")
    ended = {"found": {"found-a": to_dict(typical_trial(tiny.search))}, "trials": 3}
    write_json(tmp_path / "search/stage.json", {"fingerprint": "", "result": ended, "seconds": 1.0})
    assert read_done(tiny, tmp_path).search and list(read_done(tiny, tmp_path).found) == ["found-a"]
    longer = dataclasses.replace(tiny, search=dataclasses.replace(tiny.search, num_trials=5))
    done = read_done(longer, tmp_path)
    assert done.teacher and not done.search and not done.found
    with pytest.raises(RunError, match="seed 0 -> 7"):
        read_done(dataclasses.replace(tiny, seed=7), tmp_path)


# Rows.


def test_rows_of_the_microworld_before_it_is_generated(tiny: Any, tmp_path: Path) -> None:
    data = dataclasses.replace(
        tiny.data,
        microworld_scale=0.02,
        tasks=("glue_sst2_v1", "glue_mnli_matched_v1", "glue_mnli_mismatched_v1", "squad_v2_0_v1"),
    )
    rows = read_rows(dataclasses.replace(tiny, data=data), tmp_path)
    files = microworld.generate(tmp_path / "world", scale=0.02)["files"]
    for task, splits in rows.tasks.items():
        for role, split in splits.items():
            name = TASKS[task].official_file("train" if role == "train" else "validation")
            assert split.count == files[name]["rows"], (task, role)
    assert "train" not in rows.tasks["glue_mnli_mismatched_v1"] and not rows.known


def test_rows_of_official_files(tiny: Any, tmp_path: Path) -> None:
    path = tmp_path / "glue/RTE/train.tsv"
    path.parent.mkdir(parents=True)
    path.write_text("index\tsentence1\tsentence2\tlabel\n" + "0\ta\tb\tentailment\n" * 25)
    data = dataclasses.replace(tiny.data, source="files", directory=str(tmp_path), tasks=("glue_rte_v1",))
    rows = read_rows(dataclasses.replace(tiny, data=data), tmp_path / "run").tasks["glue_rte_v1"]
    # The validation file is missing, and has a published size.
    assert (rows["train"].count, rows["evaluation"].count) == (25, 277)


# Bytes, against real arrays.


def test_state_has_the_bytes_of_a_real_one(tiny: Any) -> None:
    for encoder in (tiny.teacher.encoder, tiny.baselines[0].encoder, tiny.search.space.base):
        state = init_state(init_params(encoder, 0), make_optimizer(tiny.teacher.pretrain.optimizer))
        real = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(state))
        assert state_bytes(Program("pretrain", encoder, 8, 32)) == pytest.approx(real, rel=0.01)
        task = train_steps.finetuning_step(tiny, encoder, "x", TASKS["glue_sst2_v1"])
        real = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(task.arguments[0]))
        program = Program("finetune", encoder, 8, 32, str(task_head(TASKS["glue_sst2_v1"])))
        assert state_bytes(program) == pytest.approx(real, rel=0.15)
    assert STATE_BYTES == 12


@pytest.mark.parametrize(
    "needs",
    [
        Needs(logits=True),
        Needs(hidden_states=True, attention_scores=True, embeddings=True),
        Needs(values=True, attention_scores=True, last_layer=True),
        Needs(hidden_states=True, next_sentence_logits=True, last_layer=True),
    ],
)
def test_outputs_of_the_teacher_have_the_bytes_of_real_ones(tiny: Any, needs: Needs) -> None:
    encoder = tiny.teacher.encoder
    masked = train_steps.masked_batch(tiny.data, encoder.vocab_size, 8, 0.15)
    params = param_shapes(encoder, next_sentence=needs.next_sentence_logits)
    shapes = teacher_outputs.eval_shape(encoder, params, masked, needs)
    real = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
    assert output_bytes(encoder, needs, 8, tiny.data.pretrain_length, 0.15) == real
