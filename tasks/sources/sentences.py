"""Sentences of a paragraph."""

from __future__ import annotations

import re

# A sentence ends at . ! or ?, closing quotes included, before a space and something that opens a new one ...
_SENTENCE_END = re.compile(r"""[.!?]["'”’)\]]? (?=["'“‘(\[]?[A-Z0-9])""")
# ... unless its last word is an initial or one of the commonest abbreviations.
_ABBREVIATION = re.compile(r"(?:^|[\s.(])(?:[A-Z]|Mr|Mrs|Ms|Dr|St|vs|No)\. $")


def split_sentences(text: str) -> list[str]:
    """Splits a paragraph into sentences with one regular expression.

    Args:
        text: a paragraph; line breaks and runs of white space count as one space.

    Returns:
        Its sentences, none empty.
    """
    text = " ".join(text.split())
    sentences = []
    start = 0
    for match in _SENTENCE_END.finditer(text):
        end = match.end()
        if not _ABBREVIATION.search(text, max(0, end - 6), end):
            sentences.append(text[start : end - 1])
            start = end
    if start < len(text):
        sentences.append(text[start:])
    return sentences
