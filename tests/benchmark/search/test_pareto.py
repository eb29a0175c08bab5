"""Non-dominated sets and hypervolume, against brute force and BoTorch."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.search.pareto import hypervolume, non_dominated

PAIRS = st.lists(st.tuples(st.integers(0, 100).map(float), st.integers(1, 50).map(lambda n: n / 10)), max_size=12)


@given(points=PAIRS)
def test_front_against_brute_force(points: list[tuple[float, float]]) -> None:
    expected = []
    for a in points:
        beaten = [b for b in points if b[0] >= a[0] and b[1] <= a[1] and (b[0] > a[0] or b[1] < a[1])]
        expected.append(not beaten)
    assert non_dominated(points) == expected


@given(points=PAIRS, accuracy_threshold=st.integers(0, 99), latency_threshold=st.integers(1, 5))
@settings(max_examples=50)
def test_hypervolume_against_botorch(
    points: list[tuple[float, float]], accuracy_threshold: int, latency_threshold: int
) -> None:
    import torch
    from botorch.utils.multi_objective.hypervolume import Hypervolume

    box = torch.tensor(
        [
            [
                (min(a, 100.0) - accuracy_threshold) / (100.0 - accuracy_threshold),
                min(1.0, float(torch.log(torch.tensor(latency_threshold / t, dtype=torch.double))) / 4.605170185988092),
            ]
            for a, t in points
        ],
        dtype=torch.double,
    ).reshape(-1, 2)
    box = box[(box > 0).all(dim=1)]
    expected = Hypervolume(torch.zeros(2, dtype=torch.double)).compute(box) if len(box) else 0.0
    assert hypervolume(points, accuracy_threshold, latency_threshold) == pytest.approx(expected, abs=1e-9)


def test_hypervolume_corners() -> None:
    assert hypervolume([], 0.0, 1.0) == 0.0
    assert hypervolume([(100.0, 0.01)], 0.0, 1.0) == pytest.approx(1.0)
    # Latency a hundred times below the threshold is the end of the scale.
    assert hypervolume([(100.0, 1e-6)], 0.0, 1.0) == pytest.approx(1.0)
    assert hypervolume([(50.0, 0.1)], 0.0, 1.0) == pytest.approx(0.25)
    assert hypervolume([(50.0, 1.0), (0.0, 0.1)], 0.0, 1.0) == 0.0
    assert hypervolume([(50.0, 0.1)], 100.0, 1.0) == 0.0
    assert non_dominated([(float("nan"), 1.0), (1.0, 1.0)]) == [False, True]
