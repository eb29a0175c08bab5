"""A small data root in the official layout, and requests for it."""

import json
import os

from tests.helpers.data_requests import data_request

ADJECTIVES = ["good", "bad", "long", "short", "red", "blue", "warm", "cold"]
NOUNS = ["film", "book", "house", "river", "cat", "dog"]
TEXT = " ".join(f"the {adjective} {noun} is here ." for adjective in ADJECTIVES for noun in NOUNS)


def squad(prefix, count):
    context = "the good film is here . " * 6
    answer = {"text": "film", "answer_start": 9}
    questions = [{"id": f"{prefix}{n}", "question": "what is here ?", "answers": [answer]} for n in range(count)]
    return json.dumps({"data": [{"title": "Film", "paragraphs": [{"context": context, "qas": questions}]}]})


def write_root(root):
    """Writes the official files of two GLUE tasks, 20 + 10 (+ 5) rows, 4 + 2 questions, and two corpora."""
    for folder in ("glue/SST-2", "glue/STS-B", "squad", "pretrain"):
        (root / folder).mkdir(parents=True)
    for name, count in {"train": 20, "dev": 10}.items():
        rows = "".join(f"the {ADJECTIVES[n % 8]} film\t{n % 2}\n" for n in range(count))
        (root / "glue" / "SST-2" / f"{name}.tsv").write_text("sentence\tlabel\n" + rows)
        rows = "".join(f"the film\tthe {NOUNS[n % 6]}\t{n / 5}\n" for n in range(count))
        (root / "glue" / "STS-B" / f"{name}.tsv").write_text("sentence1\tsentence2\tscore\n" + rows)
        (root / "squad" / f"{name}-v1.1.json").write_text(squad(name, count // 5))
    (root / "glue" / "SST-2" / "test.tsv").write_text(
        "index\tsentence\n" + "".join(f"{n}\tthe cat\n" for n in range(5))
    )
    for name, count in {"a": 60, "b": 20, "validation": 9}.items():
        text = "".join(f'<doc id="{n}" title="T">\nT\n\n{TEXT[n % 7 * 30 :]}\n</doc>\n' for n in range(count))
        (root / "pretrain" / f"{name}.txt").write_text(text)


def make_request(root, **changes):
    values = {
        "source": "files",
        "directory": str(root),
        "vocabulary": "train",
        "vocabulary_size": 100,
        "pretrain_corpora": ("pretrain/a.txt", "pretrain/b.txt"),
        "pretrain_rates": (0.7, 0.3),
        "pretrain_length": 32,
        "validation_rows": 17,
        "tasks": ("glue_sst2_v1", "glue_stsb_v1", "squad_v1_1_v1"),
        "task_length": 16,
        "span_length": 24,
        "span_stride": 8,
        "max_query_length": 6,
    }
    return data_request(**{**values, **changes})


def flip(path):
    """Changes one bit in the middle of a file, and neither its size nor its time of change."""
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    os.utime(path, ns=times)
