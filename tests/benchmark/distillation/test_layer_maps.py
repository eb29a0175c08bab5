"""Layer maps against tables written by hand, and what holds for all of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.distillation.layer_maps import layer_map
from tasks.system.errors import StageError

KINDS = ("uniform", "last", "skip")


@pytest.mark.parametrize(
    ("kind", "student", "teacher", "expected"),
    [
        # TinyBERT: g(m) = 3m and 2m, counted from 1 (arXiv 1909.10351).
        ("uniform", 4, 12, (2, 5, 8, 11)),
        ("uniform", 6, 12, (1, 3, 5, 7, 9, 11)),
        ("uniform", 5, 12, (1, 3, 6, 8, 11)),
        ("uniform", 12, 12, tuple(range(12))),
        ("uniform", 1, 24, (23,)),
        ("last", 5, 12, (7, 8, 9, 10, 11)),
        ("last", 1, 24, (23,)),
        ("last", 3, 3, (0, 1, 2)),
        # DistilBERT's released choice of BERT_BASE's layers.
        ("skip", 6, 12, (0, 2, 4, 7, 9, 11)),
        ("skip", 4, 12, (0, 4, 7, 11)),
        ("skip", 2, 12, (0, 11)),
        ("skip", 1, 12, (11,)),
        ("skip", 3, 4, (0, 2, 3)),
        ("skip", 24, 24, tuple(range(24))),
    ],
)
def test_by_hand(kind: str, student: int, teacher: int, expected: tuple[int, ...]) -> None:
    assert layer_map(kind, student, teacher) == expected


@given(kind=st.sampled_from(KINDS), student=st.integers(1, 30), more=st.integers(0, 30))
def test_distinct_rising_and_up_to_the_last(kind: str, student: int, more: int) -> None:
    found = layer_map(kind, student, student + more)
    assert len(found) == student
    assert found[0] >= 0
    assert list(found) == sorted(set(found))
    assert found[-1] == student + more - 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_deeper_student_is_refused(kind: str) -> None:
    with pytest.raises(StageError, match="a student of 3 layers cannot imitate a teacher of 2; accepted: .*at most 2"):
        layer_map(kind, 3, 2)
