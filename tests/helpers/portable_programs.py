"""Small programs of each kind that leads to a score, and the digests of their results.

`python -m tests.helpers.portable_programs` runs them under portable numerics and compares with
`tests/data/portable_digests.json`; `--write` makes that file. Names after it choose among the programs. Every x86-64
machine with AVX2 has to find the same digests.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmark.process import numerics
from tasks.system.repository import REPOSITORY
from tests.helpers.portable_inputs import bottleneck, bytes_digest, json_digest, plain, special, token_rows

FILE = REPOSITORY / "tests" / "data" / "portable_digests.json"
REDUCTION_THREADS = 2
# Programs that an emulated processor finishes within a minute or two.
SMALLEST = "operations"

PROGRAMS: dict[str, Callable[[], dict[str, str]]] = {}


def program(function: Callable[[], dict[str, str]]) -> Callable[[], dict[str, str]]:
    """Adds a function to `PROGRAMS` under its name."""
    PROGRAMS[function.__name__] = function
    return function


def pretrained(encoder: Any, rows: Any, *, steps: int = 3, batch_size: int = 8, dtype: str = "float32") -> Any:
    from benchmark.config import OptimizerConfig, PretrainConfig, TrainerConfig
    from benchmark.training.job import TrainingJob
    from benchmark.training.pretrain import pretrain

    config = PretrainConfig(
        steps=steps, batch_size=batch_size, optimizer=OptimizerConfig(learning_rate=0.01), checkpoint_every=1000
    )
    with tempfile.TemporaryDirectory() as folder:
        job = TrainingJob("teacher", Path(folder), trainer=TrainerConfig(compute_dtype=dtype))
        return pretrain(encoder, config, rows, special(encoder.vocab_size), job)


def trained_digests(encoder: Any, rows: Any, **options: Any) -> dict[str, str]:
    """Digests of parameters after a few steps, and of the masked-LM evaluation with them."""
    from benchmark.evaluation.masked_lm import evaluate_masked_lm
    from benchmark.training.tree_digest import tree_digest

    params, report = pretrained(encoder, rows, **options)
    scores = evaluate_masked_lm(encoder, params, rows, special(encoder.vocab_size), 0.15, batch_size=8)
    return {"parameters": tree_digest(params), "scores": json_digest([scores, report.last["loss"]])}


@program
def microworld() -> dict[str, str]:
    """Generates the embedded data, and trains a vocabulary on it."""
    from tasks import microworld as world
    from tasks.encoding import vocabulary

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        world.generate(root, seed=0, scale=0.02)
        files = sorted(path for path in root.rglob("*") if path.is_file())
        data = bytes_digest(*(path.relative_to(root).as_posix().encode() + path.read_bytes() for path in files))
        corpus = root / "pretrain" / "microworld" / "corpus.wikiextractor.txt"
        tokens = vocabulary.train_wordpiece(corpus.read_text(encoding="utf-8").splitlines(), 512)
    return {"files": data, "vocabulary": json_digest(tokens)}


@program
def masking() -> dict[str, str]:
    import jax

    from benchmark.training.masking import mask_tokens
    from benchmark.training.tree_digest import tree_digest

    rows = token_rows(64, 48).features["input_ids"]
    return {"batch": tree_digest(mask_tokens(jax.random.key(3), rows, special(), 0.15)._asdict())}


@program
def operations() -> dict[str, str]:
    """Runs one program of the operations that processors often compute differently."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from benchmark.training.tree_digest import tree_digest

    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, np.float32)

    def compute(x: jax.Array, w: jax.Array, q: jax.Array) -> dict[str, jax.Array]:
        y = x @ w
        mean = y.mean(-1, keepdims=True)
        normed = (y - mean) * jax.lax.rsqrt(jnp.square(y - mean).mean(-1, keepdims=True) + 1e-12)
        scores = q @ q.swapaxes(-1, -2)
        return {
            "product": y,
            "product_of_columns": jnp.einsum("bi,bo->io", x, y),
            "product_with_rows": y @ w.T,
            "scores": scores,
            "softmax": jax.nn.softmax(scores, axis=-1),
            "layer_norm": normed,
            "gelu": jax.nn.gelu(y, approximate=False),
            "tanh": jnp.tanh(x),
            "log": jnp.log1p(jnp.abs(x)),
            "logsumexp": jax.nn.logsumexp(x, axis=-1),
            "sums": jnp.stack([jnp.square(y).sum(), jnp.abs(w).sum()]),
            "columns": x.sum(axis=0),
        }

    return {"results": tree_digest(jax.jit(compute)(draw(2048, 160), draw(160, 200), draw(3, 2, 70, 33)))}


@program
def pretrain_plain() -> dict[str, str]:
    return trained_digests(plain(), token_rows(32, 48))


@program
def pretrain_bottleneck_pairs() -> dict[str, str]:
    """Pretrains MobileBERT's form with masked LM and next sentence."""
    return trained_digests(bottleneck(pooler="tanh"), token_rows(32, 32, pairs=True))


@program
def pretrain_wide() -> dict[str, str]:
    """Pretrains a layer of MiniLM's width: products with a thousand summands and more."""
    wide = plain(
        embedding_size=384,
        hidden_size=384,
        num_hidden_layers=1,
        num_attention_heads=12,
        intermediate_size=1536,
        vocab_size=2000,
        max_position_embeddings=128,
    )
    return trained_digests(wide, token_rows(16, 128, 2000), steps=2, batch_size=16)


@program
def pretrain_long_rows() -> dict[str, str]:
    return trained_digests(plain(max_position_embeddings=512), token_rows(8, 512), steps=2, batch_size=4)


@program
def pretrain_bfloat16() -> dict[str, str]:
    return trained_digests(plain(), token_rows(32, 48), dtype="bfloat16")


def distilled(name: str, student: Any, **changes: Any) -> dict[str, str]:
    """Distils with a few steps of each phase of a shipped recipe."""
    from benchmark.distillation.distill import distill
    from benchmark.distillation.teacher_cache import Teacher
    from benchmark.evaluation.masked_lm import evaluate_masked_lm, masked_logits
    from benchmark.evaluation.pseudo_perplexity import pseudo_perplexity
    from benchmark.training.job import TrainingJob
    from benchmark.training.pretrain import init_params
    from benchmark.training.tree_digest import tree_digest
    from tests.benchmark.distillation.test_recipes import PUBLISHED

    recipe = PUBLISHED[name]
    phases = tuple(
        dataclasses.replace(phase, steps=2, optimizer=dataclasses.replace(phase.optimizer, learning_rate=0.01))
        for phase in recipe.phases
    )
    recipe = dataclasses.replace(recipe, batch_size=8, mask_rate=0.15, one_program=True, phases=phases)
    teacher = plain(**changes)
    rows = token_rows(32, 32, pairs=True)
    taught = Teacher(teacher, init_params(teacher, 7))
    params, _ = distill(student, taught, recipe, rows, special(), TrainingJob(name))

    def logits(_: int, batch: Any) -> Any:
        return masked_logits(teacher, taught.params, batch).tokens

    scores = evaluate_masked_lm(student, params, rows, special(), 0.15, batch_size=8, teacher=logits)
    scores |= pseudo_perplexity(student, params, rows, special(), 2, 0.15, batch_size=8)
    return {"parameters": tree_digest(params), "scores": json_digest(scores)}


@program
def distill_mobilebert() -> dict[str, str]:
    return distilled("mobilebert", bottleneck(), trigram_input=True)


@program
def distill_tinybert() -> dict[str, str]:
    return distilled("tinybert", plain(embedding_size=24, hidden_size=24), num_hidden_layers=4)


@program
def distill_distilbert() -> dict[str, str]:
    return distilled("distilbert", plain(), num_hidden_layers=4)


@program
def distill_minilm() -> dict[str, str]:
    return distilled("minilm", plain(embedding_size=24, hidden_size=24, num_attention_heads=2), num_hidden_layers=4)


def task_rows(kind: str, count: int = 64, length: int = 24) -> Any:
    from tests.benchmark.training.test_finetune import toy_rows

    rows = toy_rows(kind, count, 0)
    assert rows.features["input_ids"].shape[1] >= length
    return rows


def tuned(task_name: str) -> dict[str, str]:
    """Parameters and predictions of a fine-tuning of eight steps."""
    from benchmark.config import FinetuneConfig, OptimizerConfig
    from benchmark.evaluation.predict import predict
    from benchmark.training.batches import TaskData
    from benchmark.training.finetune import finetune
    from benchmark.training.job import TrainingJob
    from benchmark.training.pretrain import init_params
    from benchmark.training.tree_digest import tree_digest
    from tasks.catalogue import get_task

    task, encoder = get_task(task_name), plain()
    config = FinetuneConfig(seeds=(0,), batch_size=16, optimizer=OptimizerConfig(learning_rate=0.01))
    rows = task_rows(task.kind)
    data = TaskData(task, rows, 16, 0)
    params = finetune(encoder, init_params(encoder, 0), data, config, 2.0, TrainingJob("toy")).params
    outputs = predict(encoder, params, task, rows, 16, 0, batch_size=32)
    return {"parameters": tree_digest(params), "outputs": tree_digest({"outputs": outputs})}


@program
def finetune_classification() -> dict[str, str]:
    return tuned("glue_sst2_v1")


@program
def finetune_regression() -> dict[str, str]:
    return tuned("glue_stsb_v1")


@program
def finetune_spans() -> dict[str, str]:
    return tuned("squad_v1_1_v1")


@program
def distill_task() -> dict[str, str]:
    """Runs both phases of a task-specific distillation, on rows augmented by the teacher's masked LM."""
    import numpy as np

    from benchmark.config import OptimizerConfig, TaskDistillConfig, TaskPhaseConfig
    from benchmark.distillation import augmentation, task
    from benchmark.distillation.teacher_cache import Teacher
    from benchmark.training.batches import TaskData
    from benchmark.training.finetune import initial_params
    from benchmark.training.job import TrainingJob
    from benchmark.training.pretrain import init_params
    from benchmark.training.tree_digest import tree_digest
    from tasks.catalogue import get_task

    sst2, student = get_task("glue_sst2_v1"), plain(hidden_size=24, embedding_size=24, num_attention_heads=2)
    teacher, rows = plain(), task_rows("classification")
    pretrained_teacher = init_params(teacher, 7)
    optimizer = OptimizerConfig(learning_rate=0.01)
    layers = TaskPhaseConfig(
        name="intermediate",
        epochs=(1.0,),
        optimizer=optimizer,
        weights={"embedding": 1.0, "hidden": 1.0, "attention_score": 1.0},
        frozen=("heads",),
    )
    prediction = TaskPhaseConfig(
        name="prediction", epochs=(1.0,), optimizer=optimizer, weights={"soft_cross_entropy": 1.0}
    )
    config = TaskDistillConfig(recipe="toy", phases=(layers, prediction), batch_size=16, checkpoint_every=100)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.txt"
        names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{'abcdefghij'[i % 10]}{i}" for i in range(195))]
        path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        words = augmentation.read_words(path)
        candidates = augmentation.masked_lm_candidates(teacher, pretrained_teacher, special(), 4)
        how = augmentation.Replacement(words, candidates, 2, 0.4, 0)
        made = augmentation.augment(rows, Path(folder) / "augmented", how, length=16)
        augmented = {name: np.asarray(values) for name, values in made.features.items()}
        params = task.distill_task(
            student,
            init_params(student, 0)["encoder"],
            Teacher(teacher, initial_params(teacher, pretrained_teacher, sst2, 8)),
            config,
            TaskData(sst2, rows, 16, 0, made),
            (1.0, 1.0),
            TrainingJob("toy"),
        )
        return {"augmented": tree_digest(augmented), "parameters": tree_digest(params)}


@program
def suggestions() -> dict[str, str]:
    """Lists the points that a search by Ax proposes, from made-up accuracies."""
    from benchmark.search import expected_gain
    from benchmark.search.problem import Observation
    from tests.helpers.search_problems import toy_transformer

    known = toy_transformer()
    observations: list[Observation] = []
    points = known.problem.pool.points
    for point in points[:: len(points) // 5]:
        observations.append(Observation(point, known.evaluate(point)))
    proposed = []
    for _ in range(6):
        chosen = expected_gain.suggest(known.problem, observations, [], 2, 0)
        proposed += [dict(point) for point in chosen]
        observations += [Observation(point, known.evaluate(point)) for point in chosen]
    return {"points": json_digest(proposed)}


@program
def intervals() -> dict[str, str]:
    """Scores and intervals of predictions of each kind."""
    import numpy as np

    from tasks.catalogue import get_task
    from tasks.scoring import metrics
    from tests.helpers.bootstrap_intervals import bootstrap_intervals

    rng = np.random.default_rng(1)
    labels, noise = rng.integers(0, 2, 300), rng.standard_normal(300)
    found: dict[str, Any] = {}
    for name, predictions, references in (
        ("glue_cola_v1", np.where(rng.random(300) < 0.8, labels, 1 - labels), labels),
        ("glue_stsb_v1", labels + 0.5 * noise, labels + 0.0),
    ):
        task = get_task(name)
        found[name] = [metrics.score(name, predictions, references), bootstrap_intervals(task, predictions, references)]
    return {"scores": json_digest(found)}


def main(words: list[str] | None = None) -> int:
    """Runs programs, compares or writes; returns 1 where a digest differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.helpers.portable_programs", description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="PROGRAM", help=f"any of {', '.join(PROGRAMS)} (default: all)")
    parser.add_argument("--write", action="store_true", help="write the digests instead of comparing them")
    parser.add_argument("--numerics", default="portable", choices=("portable", "native"))
    parser.add_argument("--reduction_threads", type=int, default=REDUCTION_THREADS)
    flags = parser.parse_args(words)
    numerics.enforce(flags.numerics, flags.reduction_threads)
    known = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    different = 0
    for name in flags.names or PROGRAMS:
        started = time.perf_counter()
        found = PROGRAMS[name]()
        expected = known.get(name)
        wrong = [part for part in found if expected is None or expected.get(part) != found[part]]
        different += bool(wrong)
        said = "written" if flags.write else f"different: {', '.join(wrong)}" if wrong else "equal"
        sys.stdout.write(f"{name}: {said} ({time.perf_counter() - started:.1f} s) {json.dumps(found)}\n")
        sys.stdout.flush()
        if flags.write:
            known[name] = found
            FILE.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return int(different > 0 and not flags.write)


if __name__ == "__main__":
    sys.exit(main())
