"""The one exception that bad input data or a bad request raises, and the words that its messages share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_SHOWN_CHARACTERS = 80


class DataError(ValueError):
    """Input that cannot be used: the message is one line that names the place, the value and what is accepted."""

    def __init__(self, message: str) -> None:
        """Keeps the message on one line of printable characters, so that a command can print it as it is.

        Args:
            message: what is wrong, where, and what would be accepted.
        """
        line = " ".join(str(message).split())
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line))


def shown(value: object) -> str:
    """Shortens a value of a file for a message: a cell may be a megabyte long.

    Returns:
        Its text, or the beginning of it and `...`.
    """
    text = str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


def nearest_match_hint(name: str, known: Iterable[str]) -> str:
    """Says which known names are close to a wrong one.

    Returns:
        `did you mean A or B?`, or the list of all known names when none is close.
    """
    choices = sorted(known)
    close = difflib.get_close_matches(name, choices, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known names: {', '.join(choices)}"
