"""The description of a task: its catalogue entry, with one example as text and as token ids."""

from __future__ import annotations

import json
import tempfile
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import microworld
from tasks.catalogue import METRICS, TASKS, TaskInfo, text_field_names
from tasks.encoding import preprocessors, spans, vocabulary
from tasks.files import layouts, readers
from tasks.files.known_files import known_versions
from tasks.pretraining import PRETRAINING_TASKS
from tasks.system.compression import COMPRESSIONS, existing_file
from tasks.system.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from tasks.files.bad_rows import Row

_PUBLISHED_VOCABULARY = "vocab/bert-base-uncased.txt"
# The smallest microworld there is: a few rows of every task, made in a fraction of a second.
_SCALE = 0.001
_TRAINED_TOKENS = 400
_TRAINING_EXAMPLES = 200
_SHOWN_TOKENS = 48


def list_tasks() -> str:
    """Lists every task.

    Returns:
        A table: name, title, kind, metrics, examples of each split, tokens per row, where its model is trained.
    """
    rows: list[tuple[str, ...]] = [
        ("name", "title", "kind", "metrics", "train", "validation", "test", "length", "model of")
    ]
    for info in TASKS.values():
        sizes = [f"{info.split_sizes[s]:,}" if s in info.split_sizes else "-" for s in ("train", "validation", "test")]
        metrics = ", ".join(info.metrics)
        rows.append(
            (info.name, info.title, info.kind, metrics, *sizes, str(info.max_length), info.trained_on or "itself")
        )
    for task in PRETRAINING_TASKS.values():
        title = "MLM with NSP" if task.sentence_pairs else "MLM"
        rows.append((task.name, title, "pretraining", "masked-LM accuracy", "-", "-", "-", "-", "itself"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if 4 <= position <= 7 else cell.ljust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def facts(info: TaskInfo) -> str:
    """Describes a task.

    Returns:
        Its catalogue entry in words, and the known digests of its files.
    """
    lines = [f"{info.name}: {info.title} ({info.kind}; {info.citation})"]
    if info.trained_on:
        lines.append(f"  model: the one fine-tuned on {info.trained_on}")
    lines.append(f"  texts: {', '.join(info.text_columns)}")
    if info.label_names:
        lines.append(f"  labels: {', '.join(f'{index} {name}' for index, name in enumerate(info.label_names))}")
    if info.label_range:
        lines.append("  labels: {:g} to {:g}".format(*info.label_range))
    for name in info.metrics:
        metric = METRICS[name]
        better = "higher" if metric.higher_is_better else "lower"
        lines.append(
            f"  metric: {name}, {metric.minimum:g} to {metric.maximum:g}, {better} is better: {metric.description}"
        )
    lines.append(f"  averages: {', '.join(info.in_averages) or 'none'}")
    lines.append(f"  maximum length: {info.max_length} tokens")
    for split, size in info.split_sizes.items():
        official = info.official_file(split)
        tolerance = f" (+-{info.size_tolerance})" if info.size_tolerance else ""
        endings = f"plain or compressed ({', '.join(COMPRESSIONS)})"
        lines.append(f"  {split}: {size:,}{tolerance} examples in {official}, {endings}")
        others = [f"or {info.directory.split('/')[0]}/{name}" for name in info.other_files.get(split, ())]
        if parts := info.parts.get(split):
            others.append("or made of " + " and ".join(f"{info.directory}/{part}" for part in parts))
        lines += [f"    {other}" for other in others]
        for name in (official, *(f"{info.directory}/{part}" for part in info.parts.get(split, ()))):
            lines += [
                f"    sha256 {file.sha256} ({file.origin}, {file.bytes:,} bytes, {name})"
                for file in known_versions(name)
            ]
    lines.append(f"  download: {info.download}")
    lines.append(f"  definition: {info.definition_hash()}")
    return "\n".join(lines)


def example(info: TaskInfo, directory: Path | None = None) -> str:
    """Shows the first example of a task before and after preprocessing.

    Args:
        info: the task.
        directory: the data root; None generates a small part of the embedded data.

    Returns:
        The example as it is read, its tokens, and the input of the model.

    Raises:
        DataError: if the files cannot be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        if directory is None:
            root, origin = Path(folder) / "data", "the embedded data"
            microworld.generate(root, seed=0, scale=_SCALE)
            if info.made_up_file:
                path = root / info.official_file("validation")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(info.made_up_file, encoding="utf-8")
                origin = "made up, as the embedded data has none"
        else:
            root, origin = directory, str(directory)
        split = next((split for split in info.split_stems if layouts.find(info, root, split)), None)
        files = layouts.require(info, root, split or next(iter(info.split_stems)))
        assert split is not None
        # The names of generated folders mean nothing to a reader.
        where = str(files.table.relative_to(root)) + f" ({origin})"
        return _shown_example(info, root, split, where, Path(folder))


def _shown_example(info: TaskInfo, root: Path, split: str, where: str, folder: Path) -> str:
    """Reads some examples, finds a vocabulary and shows the first example."""
    some = list(islice(readers.read_examples(info, root, split), _TRAINING_EXAMPLES))
    vocab, name = _vocabulary(info, root, some, folder)
    tokens = vocabulary.read_tokens(vocab.path)
    lines = [f"before: the first example of {where}"]
    lines += [f"  {field}: {json.dumps(value, ensure_ascii=False)}" for field, value in some[0].items()]
    lines.append(f"after: with {name}")
    return "\n".join(lines + (_span_rows if info.kind == "span" else _text_row)(info, some[0], vocab, tokens))


def _vocabulary(info: TaskInfo, root: Path, examples: list[Row], folder: Path) -> tuple[vocabulary.Vocabulary, str]:
    """Takes the published vocabulary if the root has it, else trains a small one on the examples."""
    published = existing_file(root / _PUBLISHED_VOCABULARY)
    if published is not None:
        return vocabulary.load(published), f"the vocabulary {published}"
    texts = list(chain.from_iterable((row[field] for field in text_field_names(info)) for row in examples))
    characters = len({character for text in texts for character in text.lower()})
    # A character at the start of a word and inside a word are two tokens.
    tokens = vocabulary.train_wordpiece(texts, _TRAINED_TOKENS + 2 * characters)
    path = folder / "vocabulary.txt"
    vocabulary.write(tokens, path)
    trained = f"a vocabulary of {len(tokens)} tokens, trained on {len(examples)} of its examples"
    return vocabulary.load(path), trained


def _row(row: Mapping[str, np.ndarray], index: int, vocabulary_tokens: list[str], pad_id: int) -> list[str]:
    """Shows the tokens of one row without its padding."""
    ids = row["input_ids"][index].tolist()
    used = len(ids) - next((n for n, number in enumerate(reversed(ids)) if number != pad_id), len(ids))
    cut = min(used, _SHOWN_TOKENS)
    more = f" ... ({used - cut} more)" if used > cut else ""
    return [
        f"  tokens: {' '.join(vocabulary_tokens[number] for number in ids[:cut])}{more}",
        f"  input_ids: {' '.join(map(str, ids[:cut]))}{more} and {len(ids) - used} x {pad_id}",
        f"  token_type_ids: {' '.join(map(str, row['token_type_ids'][index].tolist()[:cut]))}{more}",
    ]


def _text_row(info: TaskInfo, first: Row, vocab: vocabulary.Vocabulary, tokens: list[str]) -> list[str]:
    """Encodes a sentence or a pair."""
    texts = [[first[field]] for field in text_field_names(info)]
    second = texts[1] if len(texts) > 1 else None
    row = preprocessors.encode_rows(vocabulary.tokenizer(vocab), vocab, texts[0], second, info.max_length)
    label = first["label"]
    meaning = f" ({info.label_names[label]})" if info.label_names and label >= 0 else ""
    return [*_row(row, 0, tokens, vocab.pad_id), f"  label: {label if label >= 0 else 'none'}{meaning}"]


def _span_rows(info: TaskInfo, first: Row, vocab: vocabulary.Vocabulary, tokens: list[str]) -> list[str]:
    """Encodes a question with the windows over its context."""
    config = spans.SpanConfig(length=info.max_length, stride=128, max_query_length=64)
    answers = first["answers"]
    start = answers[0]["answer_start"] if answers else -1
    end = start + len(answers[0]["text"]) if answers else -1
    given = {key: first[key] for key in ("question", "context", "idx")} | {"answer_start": start, "answer_end": end}
    rows = spans.encode_examples(vocabulary.tokenizer(vocab), vocab, [given], config)
    lines = []
    for window in range(len(rows["input_ids"])):
        begin, stop = int(rows["start_position"][window]), int(rows["end_position"][window])
        answer = " ".join(tokens[number] for number in rows["input_ids"][window][begin : stop + 1].tolist())
        lines.append(f"  window {window + 1}:")
        lines += [f"  {line}" for line in _row(rows, window, tokens, vocab.pad_id)]
        lines.append(f"    start_position, end_position: {begin}, {stop} ({answer})")
    return lines


def describe(info: TaskInfo, directory: Path | None = None) -> str:
    """Describes a task and shows an example of it.

    Args:
        info: the task.
        directory: the data root; None shows an example of the embedded data.

    Returns:
        Lines for a terminal.

    Raises:
        DataError: if the files cannot be read.
    """
    if directory is not None and not directory.is_dir():
        raise DataError(f"{directory} is no folder; the folder that holds glue/ and squad/ is expected")
    return f"{facts(info)}\n\n{example(info, directory)}"
