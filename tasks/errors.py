"""The one exception that bad input data or a bad request raises."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DataError(ValueError):
    """Input that cannot be used: the message is one line that names the place, the value and what is accepted."""

    def __init__(self, message: str) -> None:
        """Keeps the message on one line, so that a command can print it as it is.

        Args:
          message: what is wrong, where, and what would be accepted.
        """
        super().__init__(" ".join(str(message).split()))


def nearest_match_hint(name: str, known: Iterable[str]) -> str:
    """Says which known names are close to a wrong one.

    Args:
      name: the name that was asked for.
      known: the names that exist.

    Returns:
      `did you mean A or B?`, or the list of all known names when none is close.
    """
    choices = sorted(known)
    close = difflib.get_close_matches(name, choices, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known names: {', '.join(choices)}"
