"""SeqIO tasks and mixtures over small official-layout files."""

import json
import shutil

import numpy as np
import pytest

from tasks.encoding import vocabulary
from tasks.encoding.spans import SpanConfig
from tasks.pretraining import pretraining_task
from tasks.system.errors import DataError

seqio = pytest.importorskip("seqio")
from tasks.seqio_tasks import registry  # noqa: E402

MLM = pretraining_task(False)
SENTENCES = [f"film number {number} is good ." for number in range(1300)]


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    (root / "glue" / "SST-2").mkdir(parents=True)
    rows = "".join(f"{sentence}\t{number % 2}\n" for number, sentence in enumerate(SENTENCES))
    (root / "glue" / "SST-2" / "train.tsv").write_text("sentence\tlabel\n" + rows)
    (root / "glue" / "SST-2" / "dev.tsv").write_text("sentence\tlabel\ngood\t1\nbad\t7\n")
    (root / "glue" / "STS-B").mkdir(parents=True)
    (root / "glue" / "STS-B" / "train.tsv").write_text("sentence1\tsentence2\tscore\ngood film\tfilm\t3.25\n")
    (root / "squad").mkdir()
    answer = {"text": "film", "answer_start": 5}
    questions = [{"id": name, "question": "good ?", "answers": [answer]} for name in "abc"]
    data = {"data": [{"title": "T", "paragraphs": [{"context": "good film " * 12, "qas": questions}]}]}
    (root / "squad" / "train-v1.1.json").write_text(json.dumps(data))
    for name, word in {"a": "good", "b": "film"}.items():
        (root / f"{name}.txt").write_text("\n\n".join([f"{word} " * 10] * (40 if name == "a" else 400)))
    (root / "wiki.txt").write_text(
        "".join(f'<doc id="{n}" title="T">\nT\n\n{"good film " * 9}\n</doc>\n' for n in range(40))
    )
    return root


@pytest.fixture(scope="session")
def words(root):
    tokens = [*vocabulary.SPECIAL_TOKENS, "film", "number", "is", "good", ".", "?", *map(str, range(10))]
    vocabulary.write([*tokens, *(f"##{digit}" for digit in range(10))], root / "vocab.txt")
    return vocabulary.load(root / "vocab.txt")


def collect(name, split="train", batch_size=256):
    batches = list(registry.rows(name, split, batch_size))
    return {feature: np.concatenate([batch[feature] for batch in batches]) for feature in batches[0]}


def test_classification_rows_equal_the_tokenizers(root, words):
    name = registry.register_task("glue_sst2_v1", root, words, 12)
    rows = collect(name)
    assert rows["index"].tolist() == list(range(1300))
    assert rows["label"].tolist() == [number % 2 for number in range(1300)]
    tokenizer = vocabulary.tokenizer(words)
    for number in (0, 511, 512, 1299):
        ids = [words.cls_id, *tokenizer.encode(SENTENCES[number], add_special_tokens=False).ids, words.sep_id]
        assert rows["input_ids"][number].tolist() == ids + [0] * (12 - len(ids))


def test_regression_labels_are_floats(root, words):
    rows = collect(registry.register_task("glue_stsb_v1", root, words, 8))
    assert rows["label"].dtype == np.float32
    assert rows["label"].tolist() == [3.25]
    assert rows["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 0, 0]]


def test_registration_is_idempotent_and_names_differ_by_request(root, words):
    first = registry.register_task("glue_sst2_v1", root, words, 12)
    assert registry.register_task("glue_sst2_v1", root, words, 12) == first
    other = registry.register_task("glue_sst2_v1", root, words, 16)
    assert other != first
    assert first.startswith("glue_sst2_v1_")
    assert {first, other} <= set(seqio.TaskRegistry.names())
    assert collect(other)["input_ids"].shape == (1300, 16)


def test_registered_tasks_are_ordinary_seqio_tasks(root, words):
    task = seqio.get_mixture_or_task(registry.register_task("glue_sst2_v1", root, words, 12))
    assert set(task.output_features) == {"input_ids", "token_type_ids", "label", "index"}
    assert task.output_features["input_ids"].vocabulary.vocab_size == words.size
    assert set(task.splits) == {"train", "validation"}
    dataset = task.get_dataset(sequence_length={"input_ids": 4}, split="train", shuffle=False)
    assert next(iter(dataset.as_numpy_iterator()))["input_ids"].shape == (4,)


def test_span_rows(root, words):
    config = SpanConfig(length=16, stride=6, max_query_length=4)
    rows = collect(registry.register_span_task("squad_v1_1_v1", root, words, config))
    assert rows["offsets"].shape == (len(rows["input_ids"]), 16, 2)
    assert sorted(set(rows["example_index"])) == [0, 1, 2]
    first = int(rows["start_position"][0])
    assert rows["offsets"][0, first].tolist() == [5, 9]


def test_tasks_carry_the_metrics_of_t5(root, words):
    from t5.evaluation import metrics

    sst2 = seqio.get_mixture_or_task(registry.register_task("glue_sst2_v1", root, words, 12))
    assert sst2.metric_fns == [metrics.accuracy]
    config = SpanConfig(length=16, stride=4, max_query_length=2)
    squad = seqio.get_mixture_or_task(registry.register_span_task("squad_v1_1_v1", root, words, config))
    assert squad.metric_fns == [metrics.squad]


def test_readers_errors_come_through(root, words):
    name = registry.register_task("glue_sst2_v1", root, words, 12)
    with pytest.raises(DataError, match="dev.tsv: line 3: label is '7'"):
        collect(name, "validation")


def test_mixture_reads_every_row_once(root, words):
    paths = [root / "a.txt", root / "b.txt", root / "wiki.txt"]
    name = registry.register_pretraining(paths, (1.0, 1.0, 0.5), words, 16, MLM)
    assert registry.register_pretraining(paths, (1.0, 1.0, 0.5), words, 16, MLM) == name
    rows, documents = (collect(name)[feature] for feature in ("input_ids", "document"))
    assert collect(name)["input_ids"].tolist() == rows.tolist()
    good, film = (vocabulary.tokenizer(words).token_to_id(word) for word in ("good", "film"))
    assert (rows == good).sum() == 400 + 40 * 9
    assert (rows == film).sum() == 4000 + 40 * 9
    # Each file of plain text is one document, and wiki.txt has forty; no two corpora share a number.
    has_good, has_film = (rows == good).any(1), (rows == film).any(1)
    only_good, only_film = has_good & ~has_film, has_film & ~has_good
    assert set(documents[only_good]) == {0} and set(documents[only_film]) == {1}
    assert set(documents[~only_good & ~only_film]) == {3 * number + 2 for number in range(40)}


def test_order_of_a_mixture_does_not_depend_on_where_files_lie(root, words, tmp_path_factory):
    orders = []
    for _ in range(4):
        folder = tmp_path_factory.mktemp("elsewhere")
        paths = [shutil.copy(root / f"{name}.txt", folder) for name in "ab"]
        name = registry.register_pretraining(paths, (0.5, 0.5), words, 16, MLM)
        orders.append(collect(name)["input_ids"].tolist())
    assert all(order == orders[0] for order in orders)


def test_mixture_follows_the_rates(root, words):
    name = registry.register_pretraining([root / "a.txt", root / "b.txt"], (0.25, 0.75), words, 8, MLM)
    good = vocabulary.tokenizer(words).token_to_id("good")
    rows = next(iter(registry.rows(name, "train", 200)))["input_ids"]
    share = (rows[:, 1] == good).mean()
    assert 0.15 < share < 0.35
