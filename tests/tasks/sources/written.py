"""The examples of the official files as other libraries keep them."""

import json

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.catalogue import TASKS, get_task
from tasks.files import layouts, readers
from tests.helpers.data_requests import data_request

# AX is not among the microworld's tasks.
NAMES = [name for name in TASKS if name != "glue_ax_v1"]
GLUE = [name for name in NAMES if name.startswith("glue")]
CORPUS = "pretrain/microworld/corpus.wikiextractor.txt"

# The hub's `nyu-mll/glue`: configuration, its columns of text, the names of its labels.
HUB_GLUE = {
    "glue_cola_v1": ("cola", ["sentence"], ["unacceptable", "acceptable"]),
    "glue_sst2_v1": ("sst2", ["sentence"], ["negative", "positive"]),
    "glue_mrpc_v1": ("mrpc", ["sentence1", "sentence2"], ["not_equivalent", "equivalent"]),
    "glue_stsb_v1": ("stsb", ["sentence1", "sentence2"], None),
    "glue_qqp_v1": ("qqp", ["question1", "question2"], ["not_duplicate", "duplicate"]),
    "glue_mnli_matched_v1": ("mnli", ["premise", "hypothesis"], ["entailment", "neutral", "contradiction"]),
    "glue_mnli_mismatched_v1": ("mnli", ["premise", "hypothesis"], ["entailment", "neutral", "contradiction"]),
    "glue_qnli_v1": ("qnli", ["question", "sentence"], ["entailment", "not_entailment"]),
    "glue_rte_v1": ("rte", ["sentence1", "sentence2"], ["entailment", "not_entailment"]),
    "glue_wnli_v1": ("wnli", ["sentence1", "sentence2"], ["not_entailment", "entailment"]),
}


def official(name, root, split):
    return list(readers.read_examples(get_task(name), root, split))


def splits(name, root):
    info = get_task(name)
    return [split for split in info.split_stems if layouts.find(info, root, split)]


def schema_of(features, columns):
    note = json.dumps({"info": {"features": features}}).encode()
    return pa.schema(list(columns.items()), metadata={b"huggingface": note})


def glue_table(name, examples):
    """One split as `datasets` holds it: int64 class labels, 32-bit scores and numbers."""
    config, columns, names = HUB_GLUE[name]
    label = {"dtype": "float32", "_type": "Value"} if names is None else {"names": names, "_type": "ClassLabel"}
    types = dict.fromkeys(columns, pa.string())
    types |= {"label": pa.float32() if names is None else pa.int64(), "idx": pa.int32()}
    fields = [key for key in examples[0] if key not in ("idx", "label")]
    values = {column: [example[field] for example in examples] for column, field in zip(columns, fields, strict=True)}
    values |= {key: [example[key] for example in examples] for key in ("label", "idx")}
    return config, pa.table(values, schema=schema_of({"label": label}, types))


def squad_table(examples, version_2):
    answers = pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int32()))])
    types = {**dict.fromkeys(("id", "title", "context", "question"), pa.string()), "answers": answers}
    rows = [
        {
            **{key: example[key] for key in ("id", "title", "context", "question")},
            "answers": {key: [answer[key] for answer in example["answers"]] for key in ("text", "answer_start")},
        }
        for example in examples
    ]
    return ("squad_v2" if version_2 else "squad"), pa.Table.from_pylist(rows, schema=schema_of({}, types))


def write_hub(folder, split, table, parts=2):
    """Writes a split as a repository of the hub holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    size = -(-table.num_rows // parts)
    for part in range(parts):
        path = folder / f"{split}-{part:05d}-of-{parts:05d}.parquet"
        pq.write_table(table.slice(part * size, size), path)


def write_saved(folder, split, table, parts=2):
    """Writes a split as `DatasetDict.save_to_disk` does."""
    place = folder / split
    place.mkdir(parents=True, exist_ok=True)
    size = -(-table.num_rows // parts)
    names = [f"data-{part:05d}-of-{parts:05d}.arrow" for part in range(parts)]
    for part, name in enumerate(names):
        with pa.OSFile(str(place / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table.slice(part * size, size), max_chunksize=7)
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "0", "_split": split}
    (place / "state.json").write_text(json.dumps(state))
    (place / "dataset_info.json").write_text(json.dumps({"features": {}}))
    known = folder / "dataset_dict.json"
    listed = json.loads(known.read_text())["splits"] if known.exists() else []
    known.write_text(json.dumps({"splits": [*listed, split]}))


def write_hugging_face(world, root, saved):
    """Writes every task of the world in one of the two layouts."""
    for name in NAMES:
        for split in splits(name, world):
            examples = official(name, world, split)
            if name in GLUE:
                config, table = glue_table(name, examples)
                folder = root / "glue" / config
                split = f"{split}_{name.split('_')[2]}" if config == "mnli" and split != "train" else split
            else:
                config, table = squad_table(examples, "v2" in name)
                folder = root / config / ("" if saved else {"squad": "plain_text", "squad_v2": "squad_v2"}[config])
            (write_saved if saved else write_hub)(folder, split, table)
    return root


def write_corpus(world, folder, saved):
    """The corpus as `wikimedia/wikipedia` has it: an article a row, a paragraph a line."""
    articles = (world / CORPUS).read_text(encoding="utf-8").split("</doc>\n")[:-1]
    lines = [article.split("\n") for article in articles]
    table = pa.table(
        {
            "id": [str(number) for number in range(len(lines))],
            "title": [article[1] for article in lines],
            "text": ["\n\n".join(line for line in article[2:] if line) for article in lines],
        }
    )
    (write_saved if saved else write_hub)(folder, "train", table)


def mrpc_sources(world, folder):
    """The two files and the list of ids from which GLUE, and so TFDS, makes the splits of MRPC."""
    rows = {}
    for split in ("train", "dev", "test"):
        text = (world / "glue" / "MRPC" / f"{split}.tsv").read_text(encoding="utf-8-sig")
        rows[split] = [line.split("\t") for line in text.splitlines()]
    for row in rows["dev"][1:]:
        row[1] = f"9{row[1]}"
    mixed = [row for pair in zip(rows["dev"][1:], rows["train"][1:], strict=False) for row in pair]
    mixed += rows["train"][len(rows["dev"]) :]
    ids = [[row[1], row[2]] for row in rows["dev"][1:]]
    files = {"train": [rows["train"][0], *mixed], "test": rows["test"], "dev_ids": ids}
    for name, table in files.items():
        with (folder / f"{name}.tsv").open("w", encoding="utf-8-sig" if name != "dev_ids" else "utf-8") as file:
            file.writelines("\t".join(row) + "\n" for row in table)
    return {name: str(folder / f"{name}.tsv") for name in files}


def sst2(**columns):
    values = {"sentence": ["good", "bad"], "label": [1, 0], "idx": [0, 1], **columns}
    return pa.table({name: value for name, value in values.items() if value is not None})


def request_for(source, directory, **changes):
    values = {
        "source": source,
        "directory": str(directory),
        "vocabulary_size": 600,
        "pretrain_corpora": ("hf:wiki", "tfds:wikipedia/20230601.en"),
        "pretrain_rates": (0.8, 0.2),
        "pretrain_length": 32,
        "pretrain_max_rows": 60,
        "validation_rows": 20,
        "tasks": ("glue_stsb_v1",),
        "task_length": 32,
        "span_length": 64,
        "span_stride": 32,
        "max_query_length": 16,
        **changes,
    }
    return data_request(**values)
