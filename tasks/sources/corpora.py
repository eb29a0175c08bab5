"""Readers of pretraining corpora as documents: lists of sentences.

Four formats are told apart by their content: WikiExtractor output (`<doc ...>` ... `</doc>`), WikiText (` = Title = `
headings), tar archives of one-book files, and plain text (one document per file). Corpora of a hub come from
`tasks.sources.texts`. Reading streams: a consumer that stops early never unpacks the rest. Documents are kept apart,
because a training row must not cross them.
"""

from __future__ import annotations

import gzip
import lzma
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from tasks.files.text_files import open_binary, read_lines
from tasks.sources import texts
from tasks.sources.texts import HubCorpus
from tasks.system.errors import DataError

# A sentence ends at . ! or ?, closing quotes included, before a space and something that opens a new one ...
_SENTENCE_END = re.compile(r"""[.!?]["'”’)\]]? (?=["'“‘(\[]?[A-Z0-9])""")
# ... unless its last word is an initial or one of the commonest abbreviations.
_ABBREVIATION = re.compile(r"(?:^|[\s.(])(?:[A-Z]|Mr|Mrs|Ms|Dr|St|vs|No)\. $")
_WIKITEXT_HEADING = re.compile(r"^ ?(=(?: =)*) (\S.*\S|\S) \1 ?$")
_HEAD_LINES = 50
# Bounds memory where a plain file is one endless paragraph; real paragraphs are far shorter.
_MAX_PARAGRAPH_LINES = 100_000
# A whole book at once would make a batch of millions of words, of which a request for few rows uses little.
MAX_PART_SENTENCES = 1000


@dataclass(frozen=True)
class Part:
    """Sentences of one document that follow each other; long documents come in several parts."""

    # The number of the document in its corpus, from 0.
    document: int
    # 1 to `MAX_PART_SENTENCES` sentences.
    sentences: list[str]


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


def corpus_files(path: Path | HubCorpus) -> list[Path]:
    """Lists the files of a corpus.

    Args:
        path: a file, a folder of files (as WikiExtractor writes), or a corpus of a hub.

    Returns:
        The files in the order in which they are read.

    Raises:
        DataError: if there is nothing to read.
    """
    if isinstance(path, HubCorpus):
        return texts.corpus_files(path)
    if path.is_file():
        return [path]
    files = sorted(entry for entry in path.rglob("*") if entry.is_file()) if path.is_dir() else []
    if not files:
        raise DataError(
            f"{path} is missing: it should hold pretraining text (WikiExtractor, WikiText or plain text, a tar of plain"
            f" text files, or a folder of such files; .gz and .xz are read too)"
        )
    return files


def read_parts(path: Path | str | HubCorpus) -> Iterator[Part]:
    """Reads a pretraining corpus in parts of bounded size, however long its documents are.

    Args:
        path: a file, a folder of files, or a corpus of a hub.

    Yields:
        The parts of the documents, in file order. Headings stay, as separate sentences; the titles of WikiExtractor and
        WikiText documents are left out.

    Raises:
        DataError: if there is no such file, it is no UTF-8 text, or it holds no document.
    """
    number = 0
    for document in _read_hub(path) if isinstance(path, HubCorpus) else _read_files(Path(path)):
        sentences = iter(document)
        part = list(islice(sentences, MAX_PART_SENTENCES))
        if not part:
            continue
        while part:
            yield Part(number, part)
            part = list(islice(sentences, MAX_PART_SENTENCES))
        number += 1
    if not number:
        raise DataError(f"{path}: no documents; pretraining text is expected")


def _read_hub(corpus: HubCorpus) -> Iterator[Iterable[str]]:
    """Reads the texts of a hub: a line is a paragraph or a heading, as in WikiExtractor files."""
    for text in texts.read_texts(corpus):
        yield (sentence for line in text.split("\n") for sentence in split_sentences(line))


def _read_files(path: Path) -> Iterator[Iterable[str]]:
    """Reads the documents of a file or folder; each must be used up before the next is asked for."""
    for file in corpus_files(path):
        yield from _read_file(file)


def _read_file(path: Path) -> Iterator[Iterable[str]]:
    if ".tar" in path.suffixes[-2:]:
        yield from _read_archive(path)
        return
    lines = read_lines(path)
    head = list(islice(lines, _HEAD_LINES))
    everything = chain(head, lines)
    filled = [line for line in head if line.strip()]
    if filled and filled[0].startswith("<doc"):
        yield from _read_wikiextractor(everything, path)
    elif filled and _WIKITEXT_HEADING.match(filled[0]):
        yield from _read_wikitext(everything)
    else:
        yield _read_plain(everything)


def _read_archive(path: Path) -> Iterator[Iterable[str]]:
    """Reads a tar archive of text files, one document each, in archive order."""
    try:
        with open_binary(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                if file is None:
                    continue
                try:
                    text = file.read().decode("utf-8-sig")
                except UnicodeDecodeError as error:
                    raise DataError(
                        f"{path}: member {member.name}: byte {error.start} is not UTF-8; UTF-8 text is expected"
                    ) from error
                yield _read_plain(text.split("\n"))
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, lzma.LZMAError) as error:
        raise DataError(f"{path}: damaged or wrongly named archive ({error})") from error


def _read_wikiextractor(lines: Iterable[str], path: Path) -> Iterator[list[str]]:
    """Reads `<doc>` elements: the title on the first line, then one paragraph per line."""
    sentences: list[str] = []
    inside = title_is_next = False
    for number, line in enumerate(lines, start=1):
        if line.startswith("<doc "):
            if inside:
                raise DataError(
                    f"{path}: line {number}: <doc> inside <doc>; </doc> is expected before the next article"
                )
            inside, title_is_next, sentences = True, True, []
        elif line.startswith("</doc>"):
            if not inside:
                raise DataError(f"{path}: line {number}: </doc> without <doc>")
            inside = False
            yield sentences
        elif inside and line.strip():
            if not title_is_next:
                sentences.extend(split_sentences(line))
            title_is_next = False
    if inside:
        raise DataError(f"{path}: the last <doc> is not closed: the file is cut off")


def _read_wikitext(lines: Iterable[str]) -> Iterator[list[str]]:
    """Reads WikiText: a heading of level one opens a document, a paragraph is one line."""
    sentences: list[str] = []
    for line in lines:
        heading = _WIKITEXT_HEADING.match(line)
        if heading and heading.group(1) == "=":
            yield sentences
            sentences = []
        elif heading:
            sentences.append(heading.group(2))
        else:
            sentences.extend(split_sentences(line))
    yield sentences


def _read_plain(lines: Iterable[str]) -> Iterator[str]:
    """Reads the sentences of a plain text: blank lines end paragraphs, the lines of a paragraph are joined."""
    paragraph: list[str] = []
    for line in lines:
        if line.strip():
            paragraph.append(line)
        if paragraph and (not line.strip() or len(paragraph) == _MAX_PARAGRAPH_LINES):
            yield from split_sentences(" ".join(paragraph))
            paragraph = []
    yield from split_sentences(" ".join(paragraph))
