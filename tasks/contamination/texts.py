"""Digests of texts as contamination compares them: letters and digits, in lower case.

Texts of one origin reach a corpus and a task in several forms: with another case, with typographic quotes, tokenised
("do n't"), with other line breaks. Letters and digits alone are compared, as OpenAI did for GPT-4 (arXiv 2303.08774,
appendix C). Long texts are compared by their sentences. Short phrases, which any corpus shares with any task, do not
count: a sentence has at least `MINIMUM_WORDS` words, the shortest overlap that GPT-3 counted (Brown et al. 2020, arXiv
2005.14165, appendix C, where the length is 8 to 13 words by task).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from tasks.sources.sentences import split_sentences

# Names the definition; raised whenever equal data give other numbers.
METHOD = "equal_text_v1"
MINIMUM_WORDS = 8
# A shorter text cannot have so many words: a letter each, and something between them.
_SHORTEST = 2 * MINIMUM_WORDS - 1
_WORD = re.compile(r"[^\W_]+")
# ASCII, which most text is, goes through tables of bytes: five times as fast.
_ASCII_REST = bytes(code for code in range(128) if not chr(code).isalnum())
_ASCII_SPACED = bytes(code if chr(code).isalnum() else ord(" ") for code in range(128)) + bytes(128)


@dataclass(frozen=True)
class TextDigests:
    """The digests of one text."""

    # Of the whole text; None where it has no letter and no digit.
    whole: int | None
    # Of each of its sentences of `MINIMUM_WORDS` words or more.
    sentences: tuple[int, ...]


@dataclass(frozen=True)
class ExampleDigests:
    """The digests of one example."""

    # Of all its texts together, in their order.
    whole: int
    # Of each text, and of its long sentences.
    parts: tuple[int, ...]
    # Of the long sentences alone.
    sentences: tuple[int, ...]


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())


def letters(text: str) -> bytes:
    """Normalises a text: its letters and digits after NFKC, in lower case, and nothing between them."""
    if text.isascii():
        return text.encode().lower().translate(None, _ASCII_REST)
    return "".join(_words(text)).encode("utf-8", "surrogatepass")


def count_words(text: str) -> int:
    """Counts the runs of letters and digits of a text."""
    return len(text.encode().translate(_ASCII_SPACED).split()) if text.isascii() else len(_words(text))


def digest(normalised: bytes) -> int:
    """Digests a text that `letters` normalised, to 64 bits: two of a billion texts agree by chance with 3 %."""
    return int.from_bytes(blake2b(normalised, digest_size=8).digest(), "big")


# The questions of a paragraph follow each other, and each has the whole paragraph.
@lru_cache(maxsize=64)
def text_digests(text: str) -> TextDigests:
    """Digests a text and its long sentences."""
    normalised = letters(text)
    if not normalised:
        return TextDigests(None, ())
    long = [s for s in split_sentences(text) if len(s) >= _SHORTEST and count_words(s) >= MINIMUM_WORDS]
    return TextDigests(digest(normalised), tuple(digest(letters(sentence)) for sentence in long))


def example_digests(texts: Sequence[str]) -> ExampleDigests:
    """Digests an example.

    Args:
        texts: its texts, in the order in which the model reads them.
    """
    digests = [text_digests(text) for text in texts]
    sentences = tuple(sentence for text in digests for sentence in text.sentences)
    wholes = tuple(text.whole for text in digests if text.whole is not None)
    return ExampleDigests(digest(repr([text.whole for text in digests]).encode()), (*wholes, *sentences), sentences)


def found_sentences(wanted: Collection[int], sentences: Iterable[str]) -> set[int]:
    """Finds which of the wanted digests, all of long sentences, some text has; memory does not grow with the text."""
    return {
        found for sentence in sentences if len(sentence) >= _SHORTEST and (found := digest(letters(sentence))) in wanted
    }
