"""The wording of times."""

import pytest

from tasks.system.progress import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (13.6, "14 s"),
        (119.4, "119 s"),
        (120.0, "2 min"),
        (1500.0, "25 min"),
        (7199.0, "120 min"),
        (7200.0, "2.0 h"),
        (100_000.0, "27.8 h"),
    ],
)
def test_times_have_the_unit_of_their_size(seconds: float, text: str) -> None:
    assert duration(seconds) == text
