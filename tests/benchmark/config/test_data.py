"""Settings of the data stage: one place for defaults and limits."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from benchmark.config import ConfigError, DataConfig, to_dict

FILES: dict[str, Any] = {
    "source": "files",
    "directory": "/data",
    "pretrain_corpora": ("pretrain/a.txt", "pretrain/b.txt"),
    "pretrain_rates": (0.7, 0.3),
    "pretrain_validation": "",
    "span_length": 24,
    "max_query_length": 6,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "web"}, "source = 'web': expected str in {microworld, files"),
        ({"directory": ""}, "directory"),
        ({"vocabulary": ""}, "'train', 'checkpoint' or the path of a vocab.txt or of a folder"),
        ({"pretrain_corpora": (), "pretrain_rates": ()}, "at least one path"),
        ({"pretrain_rates": (1.0,)}, "pretrain_rates"),
        ({"pretrain_rates": (1.0, 0.0)}, "pretrain_rates"),
        ({"pretrain_corpora": ("a", "a")}, "no path twice"),
        ({"pretrain_length": 4}, "pretrain_length = 4: expected int >= 8"),
        ({"validation_rows": 0}, "validation_rows"),
        ({"sentence_pairs": "yes"}, "sentence_pairs = 'yes': expected bool"),
        ({"pretrain_seed": -1}, "pretrain_seed"),
        ({"max_query_length": 21}, "max_query_length = 21: expected less than span_length - 3 = 21"),
        ({"tasks": ("glue_sst2_v1", "glue_sst2_v1")}, "no task twice"),
        ({"microworld_scale": 0.0}, "microworld_scale"),
    ],
)
def test_limits(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        DataConfig(**{**FILES, **changes})


def test_all_rows_of_a_validation_file_may_be_asked_for() -> None:
    assert DataConfig(validation_rows=0).request().validation_rows == 0


def test_the_request_has_the_settings_and_the_folder_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = DataConfig(**{**FILES, "directory": "$SOME_DATA/v1"})
    with pytest.raises(ConfigError, match=r"DataConfig\.directory = '\$SOME_DATA/v1'.*not set"):
        settings.request()
    monkeypatch.setenv("SOME_DATA", "/data")
    expected = dataclasses.replace(settings, directory="/data/v1")
    # The request has the path of a checkpoint's vocabulary, and not the checkpoint; nor what is measured on its rows.
    left_out = {"checkpoint": None, "pseudo_perplexity_rows": settings.pseudo_perplexity_rows}
    assert to_dict(settings.request()) | left_out == to_dict(expected)
    words = dataclasses.replace(expected, vocabulary="$SOME_MODEL/tokenizer")
    with pytest.raises(ConfigError, match=r"DataConfig\.vocabulary = '\$SOME_MODEL/tokenizer'.*not set"):
        words.request()
    monkeypatch.setenv("SOME_MODEL", "/models")
    assert words.request().vocabulary == "/models/tokenizer"


def test_a_vocabulary_is_a_file_or_a_folder_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "words").mkdir()
    DataConfig(**{**FILES, "directory": str(tmp_path), "vocabulary": "words"}).check_files()
    with pytest.raises(ConfigError, match=r"a folder with tokenizer files; there is no .*/none"):
        DataConfig(**{**FILES, "directory": str(tmp_path), "vocabulary": "none"}).check_files()


def test_a_dry_run_looks_for_the_files_of_a_variable_that_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = DataConfig(**{**FILES, "directory": "$SOME_DATA", "vocabulary": "none"})
    settings.check_files(may_be_elsewhere=True)
    monkeypatch.setenv("SOME_DATA", str(tmp_path))
    with pytest.raises(ConfigError, match=r"there is no .*/none"):
        settings.check_files(may_be_elsewhere=True)
