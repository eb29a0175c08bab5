"""The settings in which a run differs from the one in its folder."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from benchmark.config import BaselineConfig, CheckpointConfig, EncoderConfig, RunConfig, to_dict
from benchmark.config.checks import result_settings
from benchmark.pipeline.settings_changes import changes
from tests.benchmark.config.test_config import run_config


def there(config: RunConfig) -> Any:
    """The settings as a folder holds them."""
    return json.loads(json.dumps(to_dict(result_settings(config))))


def changed_settings(old: Any, config: RunConfig) -> str:
    """The words for a run of `config` in a folder of `old`."""
    return changes(old, to_dict(result_settings(config)))


def test_differing_settings_are_named_with_both_values() -> None:
    config = run_config()
    assert changed_settings(there(config), config) == ""
    finetune = dataclasses.replace(config.finetune, batch_size=7, epochs=(1.5,))
    changed = dataclasses.replace(config, seed=config.seed + 1, finetune=finetune, search=None)
    found = changed_settings(there(config), changed)
    epochs, size = list(config.finetune.epochs), config.finetune.batch_size
    for text in (
        f"seed {config.seed} -> {config.seed + 1}",
        f"finetune.epochs {epochs} -> [1.5]",
        f"finetune.batch_size {size} -> 7",
        "search (given) -> None",
    ):
        assert text in found.split(", ") or text in found
    assert changed_settings(there(changed), config).count("->") == 4


def test_settings_that_change_no_result_are_not_named() -> None:
    config = run_config()
    other = dataclasses.replace(config, finetune=dataclasses.replace(config.finetune, keep_parameters=True))
    assert changed_settings(there(other), config) == changed_settings(there(config), other) == ""


def test_another_content_of_a_checkpoint_is_named_by_its_digest() -> None:
    def with_teacher(digest: str) -> RunConfig:
        assert config.teacher is not None
        checkpoint = CheckpointConfig(directory="model", sha256=digest * 64)
        return dataclasses.replace(config, teacher=dataclasses.replace(config.teacher, checkpoint=checkpoint))

    config = run_config()
    assert changed_settings(there(with_teacher("a")), with_teacher("b")) == (
        "teacher.checkpoint.sha256 (the content of its files) aaaaaaaaaaaa... -> bbbbbbbbbbbb..."
    )


def test_many_changes_are_counted_and_lists_of_other_lengths_named() -> None:
    small = EncoderConfig(hidden_size=256)
    config = run_config(baselines=[BaselineConfig(name=name, title="A", encoder=small) for name in ("a", "b")])
    old = there(config)
    for name in ("hidden_size", "vocab_size", "num_hidden_layers", "intermediate_size", "num_attention_heads"):
        old["baselines"][0]["encoder"][name] = 1_000
    old["seed"] = 99
    found = changed_settings(old, config)
    assert found.count("->") == 4 and found.endswith(", 2 more")
    old = there(config)
    old["baselines"] = old["baselines"][:1]
    assert changed_settings(old, config) == "baselines [a] -> [a, b]"


def test_settings_of_other_code_are_named_where_they_are_missing() -> None:
    config = run_config()
    old = there(config)
    del old["seed"]
    assert changed_settings(old | {"gone": 1}, config) == f"seed (no such setting) -> {config.seed}"
    assert [changed_settings(nothing, config) for nothing in (None, 3, "text")] == ["", "", ""]
