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

from tasks import arrays, layouts, readers
from tasks.array_writer import array_directory
from tasks.catalogue import get_task
from tasks.materialize import materialize
from tasks.request import MaterializeRequest
from tasks.text_files import read_lines

ROOT = Path(__file__).resolve().parent.parent.parent
# The process of the data stage itself, and the child that imports TensorFlow: the peaks of both, in KiB. The ru_maxrss
# of a process starts at the size of the one that forked it, here pytest with everything it imported; VmHWM does not.
MEMORY_PROBE = """
import json, pathlib, re, resource, sys
from tasks.materialize import run_in_child
from tasks.request import MaterializeRequest
data = run_in_child(MaterializeRequest.from_dict(json.loads(sys.argv[1])), pathlib.Path(sys.argv[2]))
own = int(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text()).group(1))
peaks = [own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]
rows = json.loads((pathlib.Path(sys.argv[2]) / data["pretrain"]["train"] / "meta.json").read_text())["rows"]
print(json.dumps({"peaks": peaks, "seconds": data["seconds"]["pretrain"], "rows": rows}))
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
        request = MaterializeRequest(
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

    pytest.importorskip("tasks.seqio_tasks")
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


@pytest.fixture(scope="module")
def micro():
    """The settings of the micro track, and the smallest student of its search space."""
    from benchmark.gin_loader import load_run_config

    config = load_run_config([str(ROOT / "gin" / "quickstart.gin")], [])
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
    return arrays.load(directory)


def test_batches_for_pretraining(benchmark, interleaved, state_ratio, micro, tmp_path):
    """Batches from disk against what the fastest student of the micro track consumes in plain masked-LM training."""
    import jax

    from benchmark.training.masking import SpecialTokens, mask_tokens
    from benchmark.training.optimizers import make_direction
    from benchmark.training.pretrain import init_params, masked_lm_loss, take_rows
    from benchmark.training.state import init_state, make_train_step

    config, student = micro
    size = config.distill.batch_size
    rows = random_rows(tmp_path / "rows", 100_000, config.data.pretrain_length, student.vocab_size)
    special = SpecialTokens(student.vocab_size, 0, 2, 3, 4)
    direction = make_direction(config.distill.distill_optimizer)
    step = make_train_step(masked_lm_loss(student), direction)
    state = init_state(init_params(student, 0), direction)
    ids, types, _ = take_rows(rows, size, 0, 0)
    batch = mask_tokens(jax.random.key(0), ids, special, config.distill.mask_rate, types)
    steps = 50

    def deliver():
        for number in range(steps):
            take_rows(rows, size, number, 0)

    def consume():
        nonlocal state
        for _ in range(steps):
            state, _ = step(state, batch, np.float32(1e-4), {})
        jax.block_until_ready(state)

    ratio, seconds, _ = interleaved(deliver, consume)
    state_ratio(
        "pretraining batches / steps of the smallest student",
        ratio,
        10,
        batches_per_second=round(steps / seconds["ours"]),
        steps_per_second=round(steps / seconds["peer"], 1),
        batch=f"{size} x {config.data.pretrain_length}",
    )


def test_batches_for_finetuning(benchmark, interleaved, state_ratio, micro, tmp_path):
    """Batches of a GLUE task against the encoder steps of the same student."""
    import jax

    from benchmark.evaluation.finetune import make_batch
    from benchmark.training.masking import SpecialTokens, mask_tokens
    from benchmark.training.optimizers import make_direction
    from benchmark.training.pretrain import init_params, masked_lm_loss
    from benchmark.training.state import init_state, make_train_step

    config, student = micro
    size, length = config.finetune.batch_size, config.data.task_length
    rows = random_rows(tmp_path / "rows", 60_000, length, student.vocab_size)
    direction = make_direction(config.finetune.optimizer)
    step = make_train_step(masked_lm_loss(student), direction)
    state = init_state(init_params(student, 0), direction)
    special = SpecialTokens(student.vocab_size, 0, 2, 3, 4)
    batch = mask_tokens(jax.random.key(0), rows.features["input_ids"][:size], special, 0.15)
    steps = 50

    def deliver():
        for number in range(steps):
            make_batch(rows, arrays.batch_indices(rows.num_rows, size, number, 0), length, 0)

    def consume():
        nonlocal state
        for _ in range(steps):
            state, _ = step(state, batch, np.float32(1e-4), {})
        jax.block_until_ready(state)

    ratio, seconds, _ = interleaved(deliver, consume)
    state_ratio(
        "fine-tuning batches / steps of the smallest student",
        ratio,
        10,
        batches_per_second=round(steps / seconds["ours"]),
        steps_per_second=round(steps / seconds["peer"], 1),
        batch=f"{size} x {length}",
    )


@pytest.mark.parametrize("sentence_pairs", [False, True])
def test_memory_of_streaming(benchmark, state_ratio, source, tmp_path, sentence_pairs):
    """Peak resident memory while a whole corpus becomes arrays: the data stage's process and its child together."""
    request = source.request(sentence_pairs=sentence_pairs)

    def run():
        arguments = [json.dumps(dataclasses.asdict(request)), str(tmp_path / "output")]
        done = subprocess.run(
            [sys.executable, "-c", MEMORY_PROBE, *arguments], cwd=ROOT, check=True, capture_output=True, text=True
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
