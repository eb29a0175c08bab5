"""What a track fixes: records of one name and other settings are told apart, and the difference is named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmark.cli.gin_loader import load_run_config
from benchmark.config import RunConfig, fingerprint
from benchmark.records.record import Record, RecordError, parse
from benchmark.records.same_track import differences
from benchmark.records.track_settings import TrackSettings, track_settings
from leaderboard.board import board_data
from leaderboard.load import load_records
from tasks.system.repository import REPOSITORY
from tests.helpers.board_records import make_record, make_task


def _settings(*overrides: str) -> RunConfig:
    return load_run_config([str(REPOSITORY / "gin" / "quickstart.gin")], list(overrides))


ROWS = {"train": "pretrain_mlm_v1-train-0123", "validation": "pretrain_mlm_v1-validation-4567"}


def _record(name: str, *overrides: str, trained: bool = True, rows: dict[str, str] = ROWS, **provenance: Any) -> Record:
    """A record of the micro track with some settings changed."""
    record = make_record(name, make_task(70.0))
    assert record.provenance is not None
    fixed = track_settings(_settings(*overrides), rows, trained=trained)
    return record.model_copy(
        update={"provenance": record.provenance.model_copy(update={"track_settings": fixed, **provenance})}
    )


def _differences(one: Record, two: Record) -> list[str]:
    assert one.provenance is not None and two.provenance is not None
    return list(differences(one.provenance, two.provenance))


@pytest.mark.parametrize(
    "override",
    [
        "SearchConfig.num_trials=16",
        "RunConfig.seed=3",
        "FinetuneConfig.seeds=(4, 5, 6)",
        "FinetuneConfig.keep_parameters=True",
        "LatencyConfig.max_other_cores=9.0",
        "DataConfig.directory='elsewhere'",
        "TrainerConfig.log_every=1",
    ],
)
def test_what_a_track_leaves_free_makes_no_difference(override: str) -> None:
    assert _settings(override) != _settings()
    assert _differences(_record("a", override), _record("b")) == []


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("FinetuneConfig.epochs=(100.0,)", "finetuning.epochs = [100.0] instead of ["),
        ("PretrainConfig.steps=7", "teacher.pretrain.steps = 7 instead of "),
        ("DistillConfig.mask_rate=0.3", "recipe.mask_rate = 0.3 instead of 0.2"),
        ("DataConfig.task_length=40", "task_rows.task_length = 40 instead of 24"),
        ("DataConfig.pretrain_length=32", "text.pretrain_length = 32 instead of 64"),
        ("LatencyConfig.pairs=99", "latency.pairs = 99 instead of "),
        ("RunConfig.reduction_threads=4", "numerics.reduction_threads = 4 instead of 2"),
        ("TrainerConfig.compute_dtype='bfloat16'", 'numerics.compute_dtype = "bfloat16" instead of "float32"'),
    ],
)
def test_what_a_track_fixes_is_refused_by_name(override: str, named: str) -> None:
    changed, usual = _record("changed", override), _record("usual")
    (difference,) = _differences(changed, usual)
    assert difference.startswith(named)
    with pytest.raises(RecordError, match=r"^usual: not under the settings of changed.*; accepted: records of"):
        board_data([usual, changed], "Board", None)


def test_files_and_vocabularies_of_other_content_are_refused() -> None:
    one = _record("one", data_digests={"a.tsv": "1" * 64, "only here": "3" * 64})
    two = _record("two", data_digests={"a.tsv": "2" * 64}, vocabulary_digest="9")
    assert _differences(one, two) == [
        "file a.tsv: sha256 111111111111 instead of 222222222222",
        "vocabulary: 0 instead of 9",
    ]


def test_other_text_is_refused_whatever_its_files_are_called() -> None:
    other = {**ROWS, "train": "pretrain_mlm_v1-train-89ab"}
    changed = _record("changed", "DataConfig.pretrain_corpora=('mine.txt',)", rows=other)
    (difference,) = _differences(changed, _record("usual"))
    assert difference.startswith('text.rows.train = "pretrain_mlm_v1-train-89ab" instead of')
    # The same text in another file is the same text.
    assert _differences(_record("a", "DataConfig.pretrain_corpora=('copy.txt',)"), _record("usual")) == []


def test_a_record_that_does_not_say_its_settings_is_refused() -> None:
    silent = make_record("silent", make_task(70.0))
    with pytest.raises(RecordError, match=r"^silent: provenance.track_settings: without finetuning, latency, numerics"):
        board_data([silent, _record("usual")], "Board", None)


def test_a_published_checkpoint_is_compared_without_text_teacher_and_recipe() -> None:
    published = _record("published", "DistillConfig.mask_rate=0.3", trained=False, vocabulary_digest="its own")
    assert _differences(published, _record("found")) == []
    longer = _record("longer", "FinetuneConfig.epochs=(100.0,)", trained=False)
    assert len(_differences(longer, _record("found"))) == 1


def test_records_of_other_tracks_keep_their_own_line() -> None:
    with pytest.raises(RecordError, match="different tracks"):
        board_data([make_record("a"), make_record("b", track="other")], "Board", None)


def test_the_digest_is_that_of_the_settings() -> None:
    record = _record("a")
    assert parse(json.dumps(record.model_dump(mode="json"))) == record
    assert record.provenance is not None
    fixed = record.provenance.track_settings["finetuning"]
    assert fixed.sha256 == fingerprint(fixed.settings)
    changed = record.model_dump(mode="json")
    changed["provenance"]["track_settings"]["finetuning"]["settings"]["batch_size"] = 1
    with pytest.raises(RecordError, match="sha256 is not the digest of settings"):
        parse(json.dumps(changed))
    with pytest.raises(ValueError, match="sha256"):
        TrackSettings(sha256="0" * 64, settings={})


def test_many_differences_are_counted() -> None:
    other = [f"LatencyConfig.{name}={value}" for name, value in (("pairs", 99), ("min_seconds", 0.1), ("seed", 1))]
    changed = _record("changed", *other, "FinetuneConfig.batch_size=7", "DataConfig.task_length=40")
    with pytest.raises(RecordError, match="and 2 more; accepted"):
        board_data([_record("usual"), changed], "Board", None)


def test_the_committed_records_share_a_board() -> None:
    records = load_records(REPOSITORY / "tests" / "data" / "quickstart")
    assert all(record.provenance and record.provenance.track_settings for record in records)
    board_data(records, "Board", None)
