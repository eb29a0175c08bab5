"""Settings come back from the JSON of a run's folder as they were."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmark.cli.gin_loader import load_run_config
from benchmark.config import ConfigError, RunConfig, SearchConfig, fingerprint, to_dict
from benchmark.config.from_json import from_dict
from tasks.system.repository import REPOSITORY
from tests.helpers.searches import CONFIG

FILES = [
    "quickstart.gin",
    "tracks/micro.gin",
    "tracks/paper.gin",
]


def as_json(config: Any) -> Any:
    return json.loads(json.dumps(to_dict(config)))


@pytest.mark.parametrize("name", [name for name in FILES if (REPOSITORY / "gin" / name).is_file()])
def test_a_run_comes_back(name: str) -> None:
    config = load_run_config([str(REPOSITORY / "gin" / name)])
    again = from_dict(RunConfig, as_json(config))
    assert again == config
    assert fingerprint(again) == fingerprint(config)


def test_a_search_comes_back_without_fields_that_have_defaults() -> None:
    values = as_json(CONFIG)
    assert from_dict(SearchConfig, values) == CONFIG
    del values["plateau_trials"], values["space"]["base"]["hidden_act"]
    assert from_dict(SearchConfig, values) == CONFIG


def test_other_values_are_refused_with_their_place() -> None:
    def message(**changes: Any) -> str:
        with pytest.raises(ConfigError) as error:
            from_dict(SearchConfig, as_json(CONFIG) | changes)
        return str(error.value)

    assert message(unknown=3).startswith("SearchConfig.unknown = 3: expected one of the fields accuracy_threshold, ")
    assert message(num_trials=0) == "SearchConfig.num_trials = 0: expected int >= 1"
    assert message(chip=[]) == "ChipConfig = []: expected an object with the fields of this class"
    assert message(space={}) == "SearchSpace.base = None: expected a value, as this field has no default"
