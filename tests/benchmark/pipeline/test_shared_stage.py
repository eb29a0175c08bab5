"""The teacher and its fine-tunings in the cache: made once for equal inputs, and again for all others."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.config import CheckpointConfig, PretrainConfig, RunConfig, TeacherConfig, TrainerConfig
from benchmark.pipeline import finetune as finetuning
from benchmark.pipeline import shared_stage as sharing
from benchmark.pipeline import teacher as teaching
from benchmark.pipeline.run_context import Run, SystemPlan, load_params
from benchmark.pipeline.teacher import teacher_stage
from benchmark.pipeline.workdir import read_json, write_json
from benchmark.process import numerics
from benchmark.training.pretrain import init_params
from benchmark.training.tree_digest import tree_digest
from tasks.arrays.write import array_directory
from tasks.system.cache_entries import FILES, entries
from tasks.system.content_cache import ContentCache, code_digests
from tests.benchmark.config.test_config import run_config
from tests.helpers.encoders import small_encoder
from tests.helpers.mnli_run import MNLI, make_run

ENCODER = small_encoder(max_position_embeddings=384)
VOCABULARY = {"size": 40, "pad_id": 0, "cls_id": 2, "sep_id": 3, "mask_id": 4, "digest": "v", "path": "v.txt"}


@pytest.fixture
def cache(tmp_path: Path) -> ContentCache:
    (tmp_path / "cache").mkdir()
    return ContentCache(tmp_path / "cache", 10**9, code_digests(["benchmark", "tasks"]), {"jax": "1"})


@functools.cache
def start_values(seed: int) -> Any:
    return init_params(ENCODER, seed)


class Teaching:
    """Stands for the training of a teacher, and counts how often it is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times = 0
        self.fails = False
        self.lines: list[str] = []
        monkeypatch.setattr(teaching, "pretrain", self.pretrain)
        monkeypatch.setattr(teaching, "masked_lm_scores", lambda run, config, params: {"accuracy": 50.0})

    def pretrain(self, encoder: Any, config: Any, rows: Any, special: Any, job: Any) -> Any:
        self.times += 1
        if self.fails:
            raise KeyboardInterrupt
        (job.directory / "metrics.jsonl").write_text('{"step": 1}\n')
        return start_values(job.seed), None


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Teaching:
    return Teaching(monkeypatch)


def write_text_rows(workdir: Path, seed: int = 0) -> None:
    """Writes rows of text under names that stay whatever their content."""
    ids = np.random.default_rng(seed).integers(13, 40, (16, 8))
    for split in ("train", "validation"):
        with array_directory(workdir / "data" / f"text-{split}", {"input_ids": np.uint16}) as writer:
            writer.append({"input_ids": ids})
    index = {"pretrain": {"train": "text-train", "validation": "text-validation"}, "vocabulary": VOCABULARY}
    write_json(workdir / "data" / "data.json", index)


def make(workdir: Path, trained: Teaching, cache: ContentCache | None, rows: int = 0, **changes: Any) -> Run:
    write_text_rows(workdir, rows)
    teacher = TeacherConfig(encoder=ENCODER, pretrain=PretrainConfig(steps=2, batch_size=4))
    config = dataclasses.replace(RunConfig(**{**vars(run_config()), "teacher": teacher}), **changes)
    return Run(config, workdir, trained.lines.append, cache=cache)


def test_a_teacher_is_trained_once_for_equal_inputs(tmp_path: Path, trained: Teaching, cache: ContentCache) -> None:
    first, second = make(tmp_path / "a", trained, cache), make(tmp_path / "b", trained, cache)
    done = teacher_stage(first)
    assert trained.times == 1 and not done["reused"]
    taken = teacher_stage(second)
    assert trained.times == 1 and taken["reused"]
    assert trained.lines[-1] == f"teacher: taken from the cache {cache.folder}"
    # Seconds included: they are those of the training.
    assert (tmp_path / "a/teacher/stage.json").read_bytes() == (tmp_path / "b/teacher/stage.json").read_bytes()
    assert (tmp_path / "b/teacher/metrics.jsonl").read_text() == '{"step": 1}\n'
    one, two = (load_params(run.workdir / "teacher", ENCODER) for run in (first, second))
    assert tree_digest(one) == tree_digest(two) == done["result"]["parameters_sha256"]
    # What is done in a folder needs no cache.
    teacher_stage(second)
    assert trained.lines[-1] == "teacher: reused"


def test_without_cache_every_folder_trains(tmp_path: Path, trained: Teaching, cache: ContentCache) -> None:
    teacher_stage(make(tmp_path / "a", trained, None))
    assert list(cache.folder.iterdir()) == [] and read_json(tmp_path / "a/teacher/begun.json").keys() == {"fingerprint"}
    teacher_stage(make(tmp_path / "b", trained, None))
    assert trained.times == 2


OTHER = TeacherConfig(encoder=ENCODER, pretrain=PretrainConfig(steps=3, batch_size=4))


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"teacher": OTHER},
        {"trainer": TrainerConfig(compute_dtype="bfloat16")},
        {"trainer": TrainerConfig(log_digests=True)},
        {"rows": 1},
    ],
)
def test_other_inputs_train_another(
    tmp_path: Path, trained: Teaching, cache: ContentCache, changes: dict[str, Any]
) -> None:
    teacher_stage(make(tmp_path / "a", trained, cache))
    teacher_stage(make(tmp_path / "b", trained, cache, **changes))
    assert trained.times == 2 and len(entries(cache.folder)) == 2


def test_what_does_not_concern_the_teacher_shares_it(tmp_path: Path, trained: Teaching, cache: ContentCache) -> None:
    """The search, the tasks and the recipe of students come after it."""
    first = make(tmp_path / "a", trained, cache)
    teacher_stage(first)
    data = dataclasses.replace(first.config.data, tasks=("glue_rte_v1",))
    trainer = TrainerConfig(tensorboard=False, teacher_cache_bytes=0)
    teacher_stage(make(tmp_path / "b", trained, cache, search=None, data=data, trainer=trainer, track="another"))
    assert trained.times == 1


@pytest.mark.parametrize("change", ["numerics", "threads", "platform", "devices", "code", "versions"])
def test_other_arithmetic_trains_another(
    tmp_path: Path, trained: Teaching, cache: ContentCache, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher_stage(make(tmp_path / "a", trained, cache))
    if change in ("code", "versions"):
        cache = ContentCache(**{**vars(cache), change: {"benchmark": "x", "tasks": "y"}})
    else:
        here = sharing.computed_by()
        monkeypatch.setattr(sharing, "computed_by", lambda: {**here, change: "another"})
    teacher_stage(make(tmp_path / "b", trained, cache))
    assert trained.times == 2


def test_native_numerics_depend_on_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numerics, "in_force", lambda environment: "portable")
    portable = sharing.computed_by()
    assert portable.keys() == {"numerics", "threads", "architecture", "platform", "devices"}
    monkeypatch.setattr(numerics, "in_force", lambda environment: "native")
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_max_isa=SSE4_2")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/a")
    native = sharing.computed_by()
    assert native["cpu_usable"] >= 1 and native["environment"]["XLA_FLAGS"] == "--xla_cpu_max_isa=SSE4_2"
    # The folder of a run's compiled programs is another one in every run.
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/b")
    assert sharing.computed_by() == native
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_max_isa=AVX2")
    assert sharing.computed_by() != native


def test_a_checkpoint_of_unknown_content_is_not_shared(tmp_path: Path, trained: Teaching, cache: ContentCache) -> None:
    run = make(tmp_path / "a", trained, cache)
    for digest, shared in (("", False), ("a" * 64, True)):
        config = TeacherConfig(encoder=ENCODER, checkpoint=CheckpointConfig(directory="x", sha256=digest))
        assert (teaching._shared(run, config, "stage") is not None) == shared


def test_an_interrupted_training_is_kept_if_the_same_program_ends_it(
    tmp_path: Path, trained: Teaching, cache: ContentCache
) -> None:
    other = ContentCache(**{**vars(cache), "versions": {"jax": "2"}})
    for folder, caches, kept in (
        ("a", (cache, cache), 1),
        ("b", (cache, other), 0),
        ("c", (None, cache), 0),
        ("d", (cache, other, cache), 0),
    ):
        for entry in cache.folder.iterdir():
            assert entry.is_dir()
            entry.rename(tmp_path / f"{folder}-{entry.name}")
        trained.fails = True
        for one in caches[:-1]:
            with pytest.raises(KeyboardInterrupt):
                teacher_stage(make(tmp_path / folder, trained, one))
        trained.fails = False
        teacher_stage(make(tmp_path / folder, trained, caches[-1]))
        assert len(entries(cache.folder)) == kept, folder


def test_a_damaged_teacher_is_trained_again(tmp_path: Path, trained: Teaching, cache: ContentCache) -> None:
    teacher_stage(make(tmp_path / "a", trained, cache))
    (entry,) = entries(cache.folder)
    marker = entry.path / FILES / "stage.json"
    marker.chmod(0o644)
    marker.write_text(marker.read_text().replace("50.0", "90.0"))
    teacher_stage(make(tmp_path / "b", trained, cache))
    assert trained.times == 2
    assert [line for line in trained.lines if "damaged" in line] == [
        f"cache: {entry.path} is damaged (stage.json is not what was written); it is not used, and was removed"
    ]
    assert read_json(tmp_path / "b/teacher/stage.json")["result"]["masked_lm"] == {"accuracy": 50.0}
    teacher_stage(make(tmp_path / "c", trained, cache))
    assert trained.times == 2


def test_a_teacher_of_damaged_arrays_is_not_kept(tmp_path: Path, trained: Teaching, cache: ContentCache) -> None:
    run = make(tmp_path / "a", trained, cache)
    array = tmp_path / "a" / "data" / "text-train" / "input_ids.npy"
    # Trainers look at sizes alone.
    array.write_bytes(array.read_bytes()[:-1] + b"\x01")
    teacher_stage(run)
    assert entries(cache.folder) == []
    (line,) = [line for line in trained.lines if line.startswith("cache: ")]
    assert line.startswith(f"cache: 1-layer teacher of width 16, 2 steps is not kept: {array}: sha256 is ")


def taught_run(workdir: Path, cache: ContentCache, lines: list[str]) -> tuple[Run, SystemPlan]:
    """A run whose teacher is about to be fine-tuned."""
    run, system = make_run(workdir, "test")
    write_json(system.directory / "stage.json", {"fingerprint": "f", "result": {"parameters_sha256": "p"}})
    keeps = dataclasses.replace(run.config.finetune, keep_parameters=True)
    config = dataclasses.replace(run.config, finetune=keeps)
    return Run(config, workdir, lines.append, cache=cache), dataclasses.replace(system, kind="teacher")


def test_fine_tunings_of_the_teacher_are_shared_and_grow(
    tmp_path: Path, cache: ContentCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, int]] = []

    def train(run: Run, system: Any, starts: Any, group: list[str], seed: int, folder: Path, settings: Any) -> Any:
        done.append((group[0], seed))
        return f"{system.kind} {seed}", 8

    def save(path: Path, model: Any, task: Any, seed: int) -> dict[str, Any]:
        write_json(path / "parameters", model())
        return {"seed": seed}

    monkeypatch.setattr(finetuning, "_trained", train)
    monkeypatch.setattr(finetuning, "_predicted", lambda run, system, model, *_: {"scores": {}, "model": model()})
    monkeypatch.setattr(finetuning, "_save_parameters", save)
    lines: list[str] = []
    run, system = taught_run(tmp_path / "a", cache, lines)
    few = dataclasses.replace(run, config=_with_seeds(run, 0))
    finetuning.finetuned_system(few, system)
    assert done == [(MNLI, 0)]
    done.clear()
    # The run of another folder has one more seed, and trains that alone.
    other, system = taught_run(tmp_path / "b", cache, lines)
    more = dataclasses.replace(other, config=_with_seeds(other, 0, 1))
    finetuning.finetuned_system(more, system)
    assert done == [(MNLI, 1)]
    assert lines[-1].endswith(f" (4 results taken from the cache {cache.folder})")
    folder = Path("evaluation", "toy", MNLI)
    for name in ("seed0.json", "parameters.json", "parameters/parameters"):
        assert (tmp_path / "b" / folder / name).read_bytes() == (tmp_path / "a" / folder / name).read_bytes()
    # A student is never taken from there, whatever it is.
    done.clear()
    third, student = taught_run(tmp_path / "c", cache, lines)
    third = dataclasses.replace(third, config=more.config)
    finetuning.finetuned_system(third, dataclasses.replace(student, kind="found"))
    assert done == [(MNLI, 0), (MNLI, 1)]
    # Another teacher has results of its own.
    done.clear()
    marker = tmp_path / "d" / "students" / "toy" / "stage.json"
    last, system = taught_run(tmp_path / "d", cache, lines)
    write_json(marker, {**json.loads(marker.read_text()), "result": {"parameters_sha256": "q"}})
    finetuning.finetuned_system(dataclasses.replace(last, config=few.config), system)
    assert done == [(MNLI, 0)]


def _with_seeds(run: Run, *seeds: int) -> RunConfig:
    return dataclasses.replace(run.config, finetune=dataclasses.replace(run.config.finetune, seeds=seeds))
