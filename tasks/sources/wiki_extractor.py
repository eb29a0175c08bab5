"""Articles of WikiExtractor's output: `<doc>` elements, or with `--json` one JSON object on each line.

Its default is text that HTML may hold, with `&lt;` for `<`; entities are therefore decoded, once. Other JSON lines with
a member `text`, which many corpora have, are read as they are.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator
from html.entities import html5

from tasks.sources.sentences import split_sentences
from tasks.system.errors import DataError, shown

# `html.unescape` alone would also take `&copy` in the address `?a=b&copy=1`.
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|([A-Za-z][A-Za-z0-9]*));")
# Members of the objects of `--json`, and of no other corpus that is not made from them.
_MEMBERS = frozenset({"id", "url", "title", "text"})


def unescape(text: str) -> str:
    """Decodes the entities of HTML: those with a number and those that its standard names, each with its semicolon."""

    def character(match: re.Match[str]) -> str:
        name = match.group(1)
        return match.group() if name and f"{name};" not in html5 else html.unescape(match.group())

    return _ENTITY.sub(character, text) if "&" in text else text


def read_elements(lines: Iterable[str], name: str) -> Iterator[list[str]]:
    """Reads `<doc>` elements: a paragraph is one line; a first one that repeats the title is left out.

    Args:
        lines: the lines of a file.
        name: the file, for errors.

    Yields:
        The sentences of each article, which may be none.

    Raises:
        DataError: an element is not closed, or stands in another.
    """
    sentences: list[str] = []
    header = ""
    inside = title_is_next = False
    for number, line in enumerate(lines, start=1):
        if line.startswith("<doc "):
            if inside:
                raise DataError(
                    f"{name}: line {number}: <doc> inside <doc>; </doc> is expected before the next article"
                )
            inside, title_is_next, header, sentences = True, True, unescape(line), []
        elif line.startswith("</doc>"):
            if not inside:
                raise DataError(f"{name}: line {number}: </doc> without <doc>")
            inside = False
            yield sentences
        elif inside and line.strip():
            text = unescape(line)
            # A title may hold quotes, so that its end in the element is found by the line.
            if not (title_is_next and f'title="{text.strip()}"' in header):
                sentences.extend(split_sentences(text))
            title_is_next = False
    if inside:
        raise DataError(f"{name}: the last <doc> is not closed: the file is cut off")


def read_json_lines(lines: Iterable[str], name: str) -> Iterator[list[str]]:
    """Reads one document from the member `text` of each JSON object; its lines are paragraphs.

    Args:
        lines: the lines of a file, an object on each; empty ones are left out.
        name: the file, for errors.

    Yields:
        The sentences of each document, which may be none.

    Raises:
        DataError: a line is no object with the member `text`.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        # Numbers of thousands of digits, brackets nested thousands deep.
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{name}: line {number}: not JSON ({shown(error)}); one object with the member 'text' is expected on"
                " each line"
            ) from None
        text = values.get("text") if isinstance(values, dict) else None
        if not isinstance(text, str):
            found = f"the members are {shown(', '.join(values))}" if isinstance(values, dict) else "no object"
            raise DataError(f"{name}: line {number}: {found}; a JSON object with the text 'text' is expected")
        yield _sentences(text, unescape(str(values["title"])) if values.keys() >= _MEMBERS else None)


def _sentences(text: str, title: str | None) -> list[str]:
    """Splits the text of an object; a title is that of an article by WikiExtractor, whose entities are decoded."""
    lines = [line for line in text.split("\n") if line.strip()]
    if title is not None:
        lines = [unescape(line) for line in lines]
        if lines and lines[0].strip() == title.strip():
            del lines[0]
    return [sentence for line in lines for sentence in split_sentences(line)]
