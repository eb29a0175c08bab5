"""Readers of pretraining corpora as documents: lists of sentences.

Formats are told apart by their content: WikiExtractor output (`<doc ...>` ... `</doc>`, or JSON lines), WikiText
(` = Title = ` headings), and plain text (one document per file), in files, folders and tar archives. Corpora of a hub
come from `tasks.sources.texts`. Reading streams: a consumer that stops early never unpacks the rest. Documents are kept
apart, because a training row must not cross them.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from tasks.files.text_files import read_lines
from tasks.sources import texts, wiki_extractor
from tasks.sources.sentences import split_sentences
from tasks.sources.texts import HubCorpus
from tasks.system.compression import COMPRESSIONS, archive_errors, open_binary
from tasks.system.errors import DataError

# Raised whenever equal files give other sentences, because vocabularies and arrays are cached by digests of files.
READER_VERSION = 2
_WIKITEXT_HEADING = re.compile(r"^ ?(=(?: =)*) (\S.*\S|\S) \1 ?$")
# A JSON object, or the list of them that a whole file may be; prose may begin with a bracket, but not so.
_JSON_START = re.compile(r"""\s*(\{\s*"|\[\s*\{\s*"|[\[{]\s*$)""")
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
            f"{path} is missing: it should hold pretraining text (WikiExtractor, WikiText or plain text, JSON lines, a"
            f" tar of such files, or a folder of them; {', '.join(COMPRESSIONS)} are read too)"
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
    else:
        yield from _read_lines(read_lines(path), str(path))


def _read_lines(lines: Iterable[str], name: str) -> Iterator[Iterable[str]]:
    """Recognises the format of a text by its first lines and reads its documents; `name` stands in errors."""
    lines = iter(lines)
    head = list(islice(lines, _HEAD_LINES))
    everything = chain(head, lines)
    first = next((line for line in head if line.strip()), "")
    if first.startswith("<doc"):
        return wiki_extractor.read_elements(everything, name)
    if _JSON_START.match(first):
        return wiki_extractor.read_json_lines(everything, name)
    if _WIKITEXT_HEADING.match(first):
        return _read_wikitext(everything)
    return iter((_read_plain(everything),))


def _read_archive(path: Path) -> Iterator[Iterable[str]]:
    """Reads the files of a tar archive, in archive order."""
    try:
        with archive_errors(path), open_binary(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                if file is None:
                    continue
                name = f"{path}: member {member.name}"
                try:
                    text = file.read().decode("utf-8-sig")
                except UnicodeDecodeError as error:
                    raise DataError(f"{name}: byte {error.start} is not UTF-8; UTF-8 text is expected") from error
                yield from _read_lines((line.rstrip("\r") for line in text.split("\n")), name)
    except tarfile.TarError as error:
        raise DataError(f"{path}: damaged or wrongly named archive ({error}); get the file again") from error


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
