"""The search space: points, validity, conditions, limits."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.config import ConfigError, EncoderConfig, SearchSpace
from benchmark.config.conditions import parse
from benchmark.models.formulas import num_parameters
from benchmark.search.architectures import Architectures
from benchmark.search.journal import Journal
from benchmark.search.loop import run_search
from benchmark.search.space import architecture_hash, decode, encode, enumerate_points, is_valid, searched_fields
from tasks.system.errors import StageError
from tests.helpers.searches import CONFIG, LATENCY, SPACE, accuracy, quiet, threads


def test_default_space() -> None:
    space = SearchSpace(base=EncoderConfig())
    points = enumerate_points(space)
    assert len(points) == 576
    assert encode(space, EncoderConfig()) in points
    assert searched_fields(space) == (
        "hidden_size",
        "intra_bottleneck_size",
        "num_attention_heads",
        "intermediate_size",
        "num_feedforward_networks",
    )
    assert len({architecture_hash(decode(space, point)) for point in points}) == 576


def test_encode_and_decode_round_trip() -> None:
    for point in enumerate_points(SPACE):
        encoder = decode(SPACE, point)
        assert encode(SPACE, encoder) == point
        assert (encoder.hidden_size, encoder.num_attention_heads, encoder.vocab_size) == (32, 4, 50)


def test_invalid_points_are_dropped() -> None:
    space = dataclasses.replace(SPACE, num_attention_heads=(1, 3, 4))
    points = enumerate_points(space)
    assert not is_valid(space, {**points[0], "num_attention_heads": 3, "intra_bottleneck_size": 8})
    divisible = [p for p in points if p["intra_bottleneck_size"] % p["num_attention_heads"] == 0]
    assert points == divisible
    # Of three widths and three head counts, 8 and 16 do not divide by 3.
    assert len(points) == 9 * (9 - 2)


def test_conditions() -> None:
    texts = ("intermediate_size >= 2 * intra_bottleneck_size", "hidden_size % intra_bottleneck_size == 0")
    base = SearchSpace(base=EncoderConfig())
    space = dataclasses.replace(base, conditions=texts)
    points = enumerate_points(space)
    expected = [
        p
        for p in enumerate_points(base)
        if p["intermediate_size"] >= 2 * p["intra_bottleneck_size"]
        and p["hidden_size"] % p["intra_bottleneck_size"] == 0
    ]
    assert points == expected and 0 < len(points) < 576
    assert space.contains(decode(space, points[0]))
    assert not space.contains(decode(base, next(p for p in enumerate_points(base) if p not in points)))


@pytest.mark.parametrize(
    "text",
    [
        "hidden_size",
        "",
        "hidden_size >",
        "hidden_size > 1.5",
        "hidden_size > 'a'",
        "hidden_size ** 9 > 1",
        "__import__('os').system('true') == 0",
        "hidden_size > max(1, 2)",
        "hidden_size > base.hidden_size",
        "hidden_size > True",
        "hidden_size in (1, 2)",
        "hidden > 1",
        "hidden_act == 1",
        "\x00 > 1",
    ],
)
def test_conditions_that_are_no_relations_are_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SearchSpace(base=EncoderConfig(), conditions=(text,))
    assert "SearchSpace.conditions" in str(caught.value) and "\n" not in str(caught.value)


def test_a_space_without_architectures_is_refused() -> None:
    for changes, part in (
        ({"num_attention_heads": (3,), "intra_bottleneck_size": (8, 16)}, "SearchSpace.num_attention_heads = (3,)"),
        ({"hidden_size": (1,)}, "SearchSpace.hidden_size = (1,)"),
        ({"conditions": ("hidden_size == 1 // (hidden_size - 32)",)}, "SearchSpace.conditions"),
    ):
        with pytest.raises(ConfigError) as caught:
            dataclasses.replace(SPACE, **changes)
        assert part in str(caught.value)


@given(a=st.integers(-9, 9), b=st.integers(-9, 9))
def test_conditions_compute_as_python_does(a: int, b: int) -> None:
    for text in ("a + 2 * b < 3 <= b", "a // b == 1", "a % b != 0", "a - b - 1 >= 0", "a * (b + 1) > b"):
        try:
            expected = eval(text, {"a": a, "b": b})
        except ZeroDivisionError:
            expected = False
        assert parse(text).holds({"a": a, "b": b}) == expected


def test_points_that_may_be_tried_keep_both_limits(tmp_path: Path) -> None:
    latencies = sorted(LATENCY.quick(decode(SPACE, p)).latency_s for p in enumerate_points(SPACE))
    config = dataclasses.replace(CONFIG, latency_threshold_s=latencies[10], max_parameters=9000)
    points = Architectures(config, LATENCY).problem({}).pool.points
    assert 0 < len(points) <= 10
    for point in enumerate_points(SPACE):
        encoder = decode(SPACE, point)
        wanted = LATENCY.quick(encoder).latency_s < latencies[10] and num_parameters(encoder) <= 9000
        assert (point in points) == wanted
    with pytest.raises(StageError, match="no valid point"):
        config = dataclasses.replace(CONFIG, max_parameters=1)
        run_search(config, Journal(tmp_path / "unused"), threads(accuracy), 0, quiet)
