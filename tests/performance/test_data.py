"""The data path: from text to arrays on disk, from arrays to the trainer, and the memory that it takes.

`make bench` runs this; `make test` skips it. With `AUTODISTILL_DATA` the official files are measured, without it the
embedded microworld, and the table says which.
"""

import dataclasses
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tasks.arrays import token_arrays
from tasks.arrays.write import array_directory
from tasks.catalogue import get_task
from tasks.files import layouts, readers
from tasks.files.text_files import read_lines
from tasks.materialize.steps import materialize
from tasks.system.repository import REPOSITORY
from tests.helpers.data_requests import data_request

# Batches that are delivered, and steps that are taken, in one round.
STEPS = 50
# The process of the data stage itself, and the child that imports TensorFlow: the peaks of both, in KiB. The ru_maxrss
# of a process starts at the size of the one that forked it, here pytest with everything it imported; VmHWM does not.
MEMORY_PROBE = """
import json, pathlib, re, resource, sys
from tasks.materialize.steps import run_in_child
from tasks.materialize.request import MaterializeRequest
data = run_in_child(MaterializeRequest.from_dict(json.loads(sys.argv[1])), pathlib.Path(sys.argv[2]))
own = int(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text()).group(1))
peaks = [own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]
train, special = data["pretrain"]["train"], {name: data["vocabulary"][name] for name in ("cls_id", "sep_id")}
rows = json.loads((pathlib.Path(sys.argv[2]) / train / "meta.json").read_text())["rows"]
print(json.dumps({"peaks": peaks, "seconds": data["seconds"]["pretrain"], "rows": rows, "train": train, **special}))
"""


@dataclasses.dataclass(frozen=True)
class Source:
    """Where text comes from: a data root, a vocabulary in it, and what the table calls it."""

    name: str
    root: Path
    vocabulary: str
    vocabulary_size: int
    corpus: str

    def request(self, **changes):
        request = data_request(
            source="files",
            directory=str(self.root),
            vocabulary=self.vocabulary,
            vocabulary_size=self.vocabulary_size,
            pretrain_corpora=(self.corpus,),
            pretrain_rates=(1.0,),
            pretrain_length=128,
            validation_rows=100,
            tasks=(),
            task_length=128,
        )
        return dataclasses.replace(request, **changes)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = os.environ.get("AUTODISTILL_DATA")
    if folder and Path(folder).is_dir():
        corpus = "pretrain/wikipedia-en/AA.wikiextractor.txt.xz"
        return Source("official files", Path(folder), "vocab/bert-base-uncased.txt", 30_522, corpus)
    from tasks import microworld

    root = tmp_path_factory.mktemp("microworld") / "root"
    root.mkdir()
    microworld.generate(root, seed=0, scale=1.0)
    generated = Source("microworld", root, "train", 1024, "pretrain/microworld/corpus.wikiextractor.txt")
    output = tmp_path_factory.mktemp("vocabulary")
    data = materialize(generated.request(pretrain_max_rows=1, validation_rows=1), output)
    (root / "vocab").mkdir()
    (root / "vocab" / "trained.txt").write_bytes((output / data["vocabulary"]["path"]).read_bytes())
    return dataclasses.replace(generated, vocabulary="vocab/trained.txt")


def test_tokenise_and_materialise(benchmark, interleaved, state_ratio, source, tmp_path):
    """Official file to arrays on disk, through SeqIO, against the tokenizer of transformers alone on text in memory."""
    from transformers import BertTokenizerFast

    pytest.importorskip("tasks.seqio_tasks.registry")
    # A root of its own: the training file in its official size, the same vocabulary, hardly any pretraining text.
    root = tmp_path / "root"
    (root / "pretrain").mkdir(parents=True)
    (root / "pretrain" / "short.txt").write_text("the film is good and the book is long . " * 40)
    (root / "vocab").symlink_to(source.root / "vocab")
    info = get_task("glue_sst2_v1")
    lines = list(read_lines(layouts.require(info, source.root, "train").table))
    repeated = itertools.islice(itertools.cycle(lines[1:]), info.split_sizes["train"])
    folder = root / info.directory
    folder.mkdir(parents=True)
    (folder / "train.tsv").write_text("\n".join([lines[0], *repeated]) + "\n", encoding="utf-8")
    (folder / "dev.tsv").write_text("\n".join(lines[:100]) + "\n", encoding="utf-8")
    request = source.request(
        directory=str(root),
        pretrain_corpora=("pretrain/short.txt",),
        pretrain_length=16,
        validation_rows=1,
        tasks=("glue_sst2_v1",),
    )
    splits = ("train", "validation")
    texts = [example["sentence"] for split in splits for example in readers.read_examples(info, root, split)]
    peer = BertTokenizerFast(str(root / source.vocabulary))
    outputs = (tmp_path / f"output{number}" for number in itertools.count())
    ratio, seconds, ratios = interleaved(lambda: materialize(request, next(outputs)), lambda: peer(texts))
    state_ratio(
        "SST-2 to arrays / BertTokenizerFast alone",
        ratio,
        0.5,
        source=source.name,
        sentences_per_second=round(len(texts) / seconds["ours"]),
        peer=round(len(texts) / seconds["peer"]),
        ratios=f"{min(ratios):.2f} to {max(ratios):.2f}",
    )
    # What was measured is right: every row holds the ids that the peer gives, in the order of the file.
    output = next(outputs)
    made = materialize(request, output)["tasks"]["glue_sst2_v1"]
    found = np.concatenate([token_arrays.load(output / made[split]).features["input_ids"] for split in splits])
    expected = peer(texts, truncation=True, max_length=128, padding="max_length", return_tensors="np")["input_ids"]
    assert found.shape == (info.split_sizes["train"] + 99, 128)
    np.testing.assert_array_equal(found, expected)


@pytest.fixture(scope="module")
def micro():
    """The settings of the micro track, and the smallest student of its search space."""
    from benchmark.cli.gin_loader import load_run_config

    config = load_run_config([str(REPOSITORY / "gin" / "quickstart.gin")], [])
    space = config.search.space
    fields = ("num_hidden_layers", "intra_bottleneck_size", "num_attention_heads", "intermediate_size")
    smallest = {name: min(getattr(space, name)) for name in (*fields, "num_feedforward_networks")}
    return config, dataclasses.replace(space.base, **smallest)


def random_rows(directory, rows, length, vocabulary_size):
    """Token arrays of random full rows."""
    rng = np.random.default_rng(0)
    with array_directory(directory, {"input_ids": np.uint16, "token_type_ids": np.uint8, "label": np.int32}) as writer:
        ids = rng.integers(5, vocabulary_size, (rows, length))
        writer.append({"input_ids": ids, "token_type_ids": ids % 2, "label": ids[:, 0] % 2})
    return token_arrays.load(directory)


def student_steps(student, optimizer, ids, types, mask_rate):
    """A function that takes `STEPS` masked-LM steps of the student on one batch and gives the last loss."""
    import jax

    from benchmark.training.losses import masked_lm_loss
    from benchmark.training.masking import SpecialTokens, mask_tokens
    from benchmark.training.optimizers import make_optimizer
    from benchmark.training.pretrain import init_params
    from benchmark.training.state import init_state, make_train_step

    update = make_optimizer(optimizer)
    step = make_train_step(masked_lm_loss(student), update)
    state = init_state(init_params(student, 0), update)
    special = SpecialTokens(student.vocab_size, 0, 2, 3, 4)
    batch = mask_tokens(jax.random.key(0), ids, special, mask_rate, types)

    def consume():
        nonlocal state
        for _ in range(STEPS):
            state, metrics = step(state, batch, np.float32(1e-4), {})
        return float(jax.block_until_ready((state, metrics))[1]["loss"])

    return consume


@pytest.fixture
def against_steps(interleaved, state_ratio):
    """A function that measures how much faster batches are delivered than the student consumes them."""

    def measure(name, deliver, consume, batch):
        first_loss = consume()
        ratio, seconds, _ = interleaved(lambda: [deliver(number) for number in range(STEPS)], consume)
        # The steps are real ones: they learn their batch.
        assert consume() < first_loss
        state_ratio(
            f"{name} batches / steps of the smallest student",
            ratio,
            10,
            batches_per_second=round(STEPS / seconds["ours"]),
            steps_per_second=round(STEPS / seconds["peer"], 1),
            batch=batch,
        )

    return measure


def test_batches_for_pretraining(benchmark, against_steps, micro, tmp_path):
    """Batches from disk against what the fastest student of the micro track consumes in plain masked-LM training."""
    from benchmark.training.batches import take_rows

    config, student = micro
    size, length = config.distill.batch_size, config.data.pretrain_length
    rows = random_rows(tmp_path / "rows", 100_000, length, student.vocab_size)
    ids, types, _ = take_rows(rows, size, 0, 0)
    consume = student_steps(student, config.distill.phases[-1].optimizer, ids, types, config.distill.mask_rate)
    against_steps("pretraining", lambda number: take_rows(rows, size, number, 0), consume, f"{size} x {length}")
    for number in range(STEPS):
        indices = token_arrays.batch_indices(rows.num_rows, size, number, 0)
        ids, types, _ = take_rows(rows, size, number, 0)
        assert ids.shape == types.shape == (size, length)
        np.testing.assert_array_equal(ids, rows.features["input_ids"][indices])
        np.testing.assert_array_equal(types, rows.features["token_type_ids"][indices])


def test_batches_for_finetuning(benchmark, against_steps, micro, tmp_path):
    """Batches of a GLUE task against the encoder steps of the same student."""
    from benchmark.training.batches import make_batch

    config, student = micro
    size, length = config.finetune.batch_size, config.data.task_length
    rows = random_rows(tmp_path / "rows", 60_000, length, student.vocab_size)

    def deliver(number):
        return make_batch(rows, token_arrays.batch_indices(rows.num_rows, size, number, 0), length, 0)

    consume = student_steps(student, config.finetune.optimizer, rows.features["input_ids"][:size], None, 0.15)
    against_steps("fine-tuning", deliver, consume, f"{size} x {length}")
    for number in range(STEPS):
        batch, indices = deliver(number), token_arrays.batch_indices(rows.num_rows, size, number, 0)
        for name in ("input_ids", "token_type_ids", "label"):
            assert len(batch[name]) == size
            np.testing.assert_array_equal(batch[name], rows.features[name][indices])
        # The rows are full.
        assert batch["attention_mask"].shape == (size, length) and batch["attention_mask"].all()


@pytest.mark.parametrize("sentence_pairs", [False, True])
def test_memory_of_streaming(benchmark, state_ratio, source, tmp_path, sentence_pairs):
    """Peak resident memory while a whole corpus becomes arrays: the data stage's process and its child together."""
    request = source.request(sentence_pairs=sentence_pairs)

    def run():
        arguments = [json.dumps(dataclasses.asdict(request)), str(tmp_path / "output")]
        done = subprocess.run(
            [sys.executable, "-c", MEMORY_PROBE, *arguments], cwd=REPOSITORY, check=True, capture_output=True, text=True
        )
        return json.loads(done.stdout)

    measured = benchmark.pedantic(run, rounds=1, iterations=1)
    state_ratio(
        f"peak memory, corpus to {'sentence pairs' if sentence_pairs else 'rows'}",
        sum(measured["peaks"]) / 2**20,
        1.5,
        unit="GiB",
        at_least=False,
        source=source.name,
        rows=measured["rows"],
        rows_per_second=round(measured["rows"] / measured["seconds"]),
    )
    train = token_arrays.load(tmp_path / "output" / measured["train"])
    assert token_arrays.damage(train.directory) is None
    ids = np.asarray(train.features["input_ids"])
    assert ids.shape == (measured["rows"], 128)
    # Every row begins a text and closes it, and padding stands at the end alone.
    assert (ids[:, 0] == measured["cls_id"]).all()
    lengths = (ids != 0).sum(axis=1)
    assert ((ids != 0) == (np.arange(128) < lengths[:, None])).all()
    assert (ids[np.arange(len(ids)), lengths - 1] == measured["sep_id"]).all()
