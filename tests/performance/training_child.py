"""One framework and one kind of training step in one process, timed when told to.

`python -m tests.performance.training_child FRAMEWORK STEP ROWS PARTS` reads a number of steps from standard input and
answers with one JSON line: the seconds of each step, the loss after the last one and the peak memory of the process in
KiB. Ours computes a step's batch in PARTS; torch's in one, as scripts do.
Between orders it sleeps, so that the process of the other framework has the machine to itself.

STEP is `masked_lm` (a MiniLM-L6-H384 student), `distill` (the same student under a live BERT_BASE teacher: feature
maps, attention, logits) or `cached` (the teacher's outputs are given); of ours alone also `micro_teacher` and
`micro_student`, the steps of the quickstart. Both frameworks take the same batches, the same losses, AdamW behind a
clipped global norm, no dropout, and logits at the masked positions alone.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

LENGTH, PREDICTIONS, BATCHES = 128, 19, 4
STUDENT, TEACHER = "minilm_l6_h384", "bert_base"
RATE, DECAY, EPSILON, CLIP = 1e-4, 0.01, 1e-6, 1.0
# Shares of the losses, as in DistillConfig.
FEATURE_MAP, FEATURE_MEAN, FEATURE_VARIANCE, GROUND_TRUTH = 100.0, 5000.0, 5.0, 0.5


def draw_batches(rows: int, vocabulary: int) -> list[dict[str, np.ndarray]]:
    """Masked batches with the lengths of Wikipedia text cut into rows: one row in 25 ends its document early."""
    rng = np.random.default_rng(0)
    batches = []
    for _ in range(BATCHES):
        lengths = np.where(rng.random(rows) < 0.04, rng.integers(32, LENGTH, rows), LENGTH)
        mask = np.arange(LENGTH) < lengths[:, None]
        positions = np.argsort(np.where(mask, rng.random((rows, LENGTH)), 2.0), axis=1)[:, :PREDICTIONS]
        batches.append(
            {
                "input_ids": np.where(mask, rng.integers(1000, vocabulary, (rows, LENGTH)), 0),
                "attention_mask": mask.astype(np.int64),
                "positions": positions,
                "labels": rng.integers(1000, vocabulary, (rows, PREDICTIONS)),
            }
        )
    return batches


def jax_step(kind: str, rows: int, parts: int) -> Callable[[int], float]:
    """Our step as the trainer runs it; gives a function from the number of a step to its loss."""
    from benchmark.process.setup import keep_freed_memory

    keep_freed_memory()
    import jax
    import jax.numpy as jnp

    from baselines.catalogue import baselines
    from benchmark.config import DistillConfig, OptimizerConfig, PhaseConfig, TrainerConfig
    from benchmark.distillation.distill import TEACHER as KEY
    from benchmark.distillation.distill import phase_program
    from benchmark.distillation.initial import init_student
    from benchmark.distillation.objectives import PhaseObjective
    from benchmark.distillation.outputs import teacher_outputs
    from benchmark.distillation.teacher_cache import Teacher
    from benchmark.training.losses import masked_lm_loss
    from benchmark.training.masking import MaskedBatch
    from benchmark.training.optimizers import make_optimizer
    from benchmark.training.pretrain import init_params
    from benchmark.training.state import init_state, make_train_step

    student, encoder = baselines()[STUDENT].encoder, baselines()[TEACHER].encoder
    assert student and encoder
    optimizer_config = OptimizerConfig(name="adamw", weight_decay=DECAY, epsilon=EPSILON, clip_norm=CLIP)
    batches: list[Any] = [
        MaskedBatch(
            **{name: jnp.asarray(values, jnp.int32) for name, values in b.items()},
            token_type_ids=jnp.zeros((rows, LENGTH), jnp.int32),
            weights=jnp.ones((rows, PREDICTIONS)),
        )
        for b in draw_batches(rows, student.vocab_size)
    ]
    settings: dict[str, Any] = {}
    constants: tuple[Any, ...] = ()
    if kind == "masked_lm":
        params, optimizer = init_params(student, 0), make_optimizer(optimizer_config)
        step = make_train_step(masked_lm_loss(student), optimizer, accumulation_steps=parts)
    else:
        layers = student.num_hidden_layers
        teacher = Teacher(encoder, jax.device_put(init_params(encoder, 1)))
        phase = PhaseConfig(
            name="all",
            steps=1,
            optimizer=optimizer_config,
            ground_truth_ratio=GROUND_TRUTH,
            weights={
                "feature_map": FEATURE_MAP,
                "feature_mean": FEATURE_MEAN,
                "feature_variance": FEATURE_VARIANCE,
                "attention": 1.0,
                "masked_lm": 1.0,
            },
        )
        config = DistillConfig(phases=(phase,), copy_embeddings=False)
        objective = PhaseObjective.from_phases([phase])
        params = init_student(student, teacher, config, 0)
        trainer = TrainerConfig(gradient_accumulation_steps=parts, teacher_in_step=kind == "distill")
        step, optimizer = phase_program(student, encoder, config, objective, optimizer_config, trainer=trainer)
        settings = objective.settings(phase, np.full(layers, 1.0 / layers, np.float32))
        if kind == "distill":
            constants = ({KEY: teacher.params},)
        else:
            asked = [teacher_outputs(encoder, teacher.params, batch, objective.teacher_needs) for batch in batches]
            batches = list(zip(batches, asked, strict=True))

    state = init_state(params, optimizer)

    def run(number: int) -> float:
        nonlocal state
        state, metrics = step(state, batches[number % BATCHES], np.float32(RATE), settings, *constants)
        jax.block_until_ready(state)
        return float(metrics["loss"])

    return run


def micro_step(kind: str) -> Callable[[int], float]:
    """A step of the quickstart's teacher, or of its larger baseline with the teacher's outputs at hand."""
    import jax
    import jax.numpy as jnp

    from benchmark.cli.gin_loader import load_run_config
    from benchmark.distillation.distill import phase_program
    from benchmark.distillation.initial import init_student
    from benchmark.distillation.objectives import PhaseObjective
    from benchmark.distillation.outputs import teacher_outputs
    from benchmark.distillation.teacher_cache import Teacher
    from benchmark.training.masking import SpecialTokens, mask_tokens
    from benchmark.training.pretrain import init_params, pretrain_program
    from benchmark.training.state import init_state

    config: Any = load_run_config(["gin/quickstart.gin"])
    teacher, student = config.teacher.encoder, config.baselines[0].encoder
    special = SpecialTokens(teacher.vocab_size, pad_id=0, cls_id=2, sep_id=3, mask_id=4)
    size, length = config.distill.batch_size, config.data.pretrain_length
    ids = np.random.default_rng(0).integers(5, teacher.vocab_size, (BATCHES, size, length)).astype(np.int32)
    batches: list[Any] = [
        mask_tokens(jax.random.key(i), ids[i], special, config.distill.mask_rate) for i in range(BATCHES)
    ]
    settings: dict[str, Any] = {}
    if kind == "micro_teacher":
        params = init_params(teacher, 0)
        step, optimizer = pretrain_program(teacher, config.teacher.pretrain, next_sentence=False)
    else:
        taught = Teacher(teacher, jax.device_put(init_params(teacher, 1)))
        phases = config.distill.phases
        objective, phase = PhaseObjective.from_phases(phases), phases[-1]
        params = init_student(student, taught, config.distill, 0)
        step, optimizer = phase_program(student, teacher, config.distill, objective, phase.optimizer.without_schedule)
        layers = student.num_hidden_layers
        settings = objective.settings(phase, np.full(layers, 1.0 / layers, np.float32))
        asked = [teacher_outputs(teacher, taught.params, batch, objective.teacher_needs) for batch in batches]
        batches = list(zip(batches, asked, strict=True))
    state = init_state(jax.tree.map(jnp.array, params), optimizer)

    def run(number: int) -> float:
        nonlocal state
        state, metrics = step(state, batches[number % BATCHES], np.float32(RATE), settings)
        jax.block_until_ready(state)
        return float(metrics["loss"])

    return run


def torch_step(kind: str, rows: int) -> Callable[[int], float]:
    """The step as a PyTorch script writes it, eager; gives a function from the number of a step to its loss."""
    import torch
    import transformers
    from torch.nn import functional

    from baselines.catalogue import baselines
    from benchmark.models.hugging_face_config import encoder_to_json

    def build(name: str, attention: str) -> Any:
        encoder = baselines()[name].encoder
        assert encoder
        config = transformers.AutoConfig.for_model(**encoder_to_json(encoder))
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
        return transformers.AutoModelForMaskedLM.from_config(config, attn_implementation=attention)

    torch.manual_seed(0)
    transfer = kind != "masked_lm"
    # Attention maps are handed out by the eager implementation alone.
    student = build(STUDENT, "eager" if transfer else "sdpa").train()
    parameters = list(student.parameters())
    if transfer:
        teacher = build(TEACHER, "eager").eval()
        projection = torch.nn.Linear(student.config.hidden_size, teacher.config.hidden_size, bias=False)
        parameters += projection.parameters()
        layers = range(1, student.config.num_hidden_layers + 1)
        ratio = teacher.config.num_hidden_layers // student.config.num_hidden_layers
    optimizer = torch.optim.AdamW(parameters, lr=RATE, eps=EPSILON, weight_decay=DECAY, fused=True)
    batches = [{k: torch.from_numpy(v) for k, v in b.items()} for b in draw_batches(rows, student.config.vocab_size)]

    def apply(model: Any, batch: dict[str, Any]) -> tuple[Any, Any]:
        output = model.bert(
            batch["input_ids"],
            attention_mask=batch["attention_mask"],
            output_hidden_states=transfer,
            output_attentions=transfer,
        )
        index = batch["positions"][..., None].expand(-1, -1, model.config.hidden_size)
        return model.cls(output.last_hidden_state.gather(1, index)), output

    def transfer_loss(batch: dict[str, Any], own: Any, other: Any) -> Any:
        mask = batch["attention_mask"].float()
        total = mask.sum()
        loss = torch.zeros(())
        for layer in layers:
            states, target = projection(own.hidden_states[layer]), other.hidden_states[layer * ratio]
            width = target.shape[-1:]
            difference = functional.layer_norm(states, width, eps=1e-12) - functional.layer_norm(
                target, width, eps=1e-12
            )
            mean = (states.mean(-1) - target.mean(-1)).square()
            variance = (states.var(-1, correction=0) - target.var(-1, correction=0)).abs()
            by_token = FEATURE_MAP * difference.square().mean(-1) + FEATURE_MEAN * mean + FEATURE_VARIANCE * variance
            log_student = own.attentions[layer - 1].clamp_min(1e-30).log()
            by_token = by_token - (other.attentions[layer * ratio - 1] * log_student).sum(-1).mean(1)
            loss = loss + (by_token * mask).sum() / total
        return loss / len(layers)

    def run(number: int) -> float:
        batch = batches[number % BATCHES]
        logits, output = apply(student, batch)
        logits = logits.flatten(0, 1)
        hard = functional.cross_entropy(logits, batch["labels"].flatten())
        if transfer:
            with torch.no_grad():
                teacher_logits, other = apply(teacher, batch)
            soft = functional.cross_entropy(logits, teacher_logits.flatten(0, 1).softmax(-1))
            loss = GROUND_TRUTH * hard + (1.0 - GROUND_TRUTH) * soft + transfer_loss(batch, output, other)
        else:
            loss = hard
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        return float(loss.detach())

    return run


def main() -> None:
    """Builds the step named on the command line and serves orders until standard input ends."""
    framework, kind, rows, parts = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    if kind.startswith("micro"):
        run = micro_step(kind)
    else:
        run = jax_step(kind, rows, parts) if framework == "jax" else torch_step(kind, rows)
    loss = run(0)
    print(json.dumps({"loss": loss}), flush=True)
    number = 1
    for line in sys.stdin:
        wall, cpu = [], []
        for _ in range(int(line)):
            before, used = time.perf_counter(), time.process_time()
            loss = run(number)
            wall.append(time.perf_counter() - before)
            cpu.append(time.process_time() - used)
            number += 1
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert peak
        print(json.dumps({"wall": wall, "cpu": cpu, "loss": loss, "peak_kib": int(peak.group(1))}), flush=True)


if __name__ == "__main__":
    main()
