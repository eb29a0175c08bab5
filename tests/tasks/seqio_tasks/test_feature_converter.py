"""The encoder feature converter, through `seqio.get_dataset`."""

import json

import numpy as np
import pytest

from tasks.encoding import vocabulary
from tasks.encoding.spans import SpanConfig
from tasks.pretraining import pretraining_task
from tasks.system.errors import DataError

seqio = pytest.importorskip("seqio")
import tensorflow as tf  # noqa: E402

from tasks.seqio_tasks import registry  # noqa: E402
from tasks.seqio_tasks.feature_converter import EncoderFeatureConverter  # noqa: E402

MLM = pretraining_task(False)
# From 1 to 13 words; a text may hold [PAD].
SENTENCES = ["good " * (number % 13) + "film" for number in range(37)]
SENTENCES += ["[PAD] film", "good film [PAD]", "film good [PAD] film good"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("converter")
    for folder in ("glue/SST-2", "glue/STS-B", "squad"):
        (root / folder).mkdir(parents=True)
    rows = "".join(f"{sentence}\t{number % 2}\n" for number, sentence in enumerate(SENTENCES))
    (root / "glue" / "SST-2" / "train.tsv").write_text("sentence\tlabel\n" + rows)
    (root / "glue" / "STS-B" / "train.tsv").write_text("sentence1\tsentence2\tscore\ngood film\tfilm\t3.25\n")
    question = {"id": "a", "question": "good ?", "answers": [{"text": "film", "answer_start": 5}]}
    data = {"data": [{"title": "T", "paragraphs": [{"context": "good film " * 3, "qas": [question]}]}]}
    (root / "squad" / "train-v1.1.json").write_text(json.dumps(data))
    for name in ("a", "b"):
        (root / f"{name}.txt").write_text("good film " * 60)
    return root


@pytest.fixture(scope="module", params=[0, 3])
def words(request, root):
    """The usual vocabulary, and one whose [PAD] is not token 0."""
    special = list(vocabulary.SPECIAL_TOKENS)
    special.insert(request.param, special.pop(0))
    path = root / f"vocab{request.param}.txt"
    vocabulary.write([*special, "film", "good", "?"], path)
    return vocabulary.load(path)


def read(name, words, length, batch_size=None, shard=None, **options):
    provider = seqio.get_mixture_or_task(name)
    converter = EncoderFeatureConverter(provider.output_features, pad_id=words.pad_id, **options)
    dataset = seqio.get_dataset(
        name, converter.lengths(length), converter, shard_info=shard, batch_size=batch_size, verbose=False
    )
    return dataset.element_spec, list(dataset.as_numpy_iterator())


@pytest.mark.parametrize("length", [6, 16, 24])
def test_rows_are_trimmed_and_padded_and_the_mask_is_right(root, words, length):
    spec, rows = read(registry.register_task("glue_sst2_v1", root, words, 16), words, length)
    assert spec == {
        "input_ids": tf.TensorSpec((length,), tf.int32),
        "attention_mask": tf.TensorSpec((length,), tf.int32),
        "token_type_ids": tf.TensorSpec((length,), tf.int32),
        "labels": tf.TensorSpec((), tf.int32),
    }
    tokenizer = vocabulary.tokenizer(words)
    assert [row["labels"] for row in rows] == [number % 2 for number in range(40)]
    for row, sentence in zip(rows, SENTENCES, strict=True):
        ids = [words.cls_id, *tokenizer.encode(sentence, add_special_tokens=False).ids, words.sep_id][:length]
        assert row["input_ids"].tolist() == ids + [words.pad_id] * (length - len(ids))
        assert row["attention_mask"].tolist() == [1] * len(ids) + [0] * (length - len(ids))
        assert not row["token_type_ids"].any()


def test_regression_and_pairs(root, words):
    _, (row,) = read(registry.register_task("glue_stsb_v1", root, words, 8), words, 9)
    assert row["labels"].dtype == np.float32
    assert row["labels"] == 3.25
    assert row["token_type_ids"].tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 0]
    assert row["attention_mask"].tolist() == [1, 1, 1, 1, 1, 1, 0, 0, 0]


def test_spans_and_passed_through_features(root, words):
    name = registry.register_span_task(
        "squad_v1_1_v1", root, words, SpanConfig(length=16, stride=6, max_query_length=4)
    )
    spec = seqio.FeatureConverter.FeatureSpec
    passthrough = {"example_index": spec(tf.int32, rank=0), "offsets": spec(tf.int32, rank=2)}
    _, (row,) = read(name, words, 16, passthrough_features=passthrough)
    # [CLS] good ? [SEP] good film ...
    assert (row["start_positions"], row["end_positions"]) == (5, 5)
    assert row["offsets"][5].tolist() == [5, 9]
    assert row["example_index"] == 0


def test_batches_of_shards_are_a_partition(root, words):
    name = registry.register_task("glue_sst2_v1", root, words, 16)
    _, everything = read(name, words, 16)
    shards = [read(name, words, 16, batch_size=4, shard=seqio.ShardInfo(index, 2))[1] for index in range(2)]
    found = [row.tolist() for batches in shards for batch in batches for row in batch["input_ids"]]
    assert [batch["input_ids"].shape for batch in shards[0]] == [(4, 16)] * 5
    assert sorted(found) == sorted(row["input_ids"].tolist() for row in everything)


def test_pretraining_mixtures_have_no_labels(root, words):
    name = registry.register_pretraining([root / "a.txt", root / "b.txt"], (0.8, 0.2), words, 16, MLM)
    spec, rows = read(name, words, 16)
    assert {"input_ids", "attention_mask", "token_type_ids"} <= set(spec)
    assert "labels" not in spec
    assert sum(int(row["attention_mask"].sum()) for row in rows) == 2 * (120 + 2 * -(-120 // 14))


def test_a_task_without_tokens_is_refused():
    with pytest.raises(DataError, match="no feature input_ids; it has inputs, targets"):
        EncoderFeatureConverter(dict.fromkeys(("inputs", "targets")))
