"""A process that fine-tunes MiniLM-L6 on MRPC, in either framework, a few steps at a time (`test_finetuning.py`).

Ours takes the rows, orders and lengths that the trainer takes. The peer's is a PyTorch script as transformers documents
it: rows in random order, each batch padded to its longest row; or, as `group_by_length` does, rows of similar length.
Both have no dropout. Orders come on standard input, the number of steps to take; an answer is one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tasks.catalogue import get_task
from tasks.encoding import vocabulary
from tasks.files.readers import read_examples

SYSTEM, TASK, ROWS, LENGTH, STEPS = "minilm_l6_h384", "glue_mrpc_v1", 32, 128, 460
RATE, DECAY, CLIP = 5e-5, 0.01, 1.0


def encoded() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids and types of MRPC's training rows, `[rows, 128]` each, and their labels."""
    root = Path(os.environ["AUTODISTILL_DATA"])
    tokenizer = vocabulary.tokenizer(root / "vocab" / "bert-base-uncased.txt")
    cls_id, sep_id = (tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]"))
    ids, types, labels = [], [], []
    for row in read_examples(get_task(TASK), root, "train"):
        first, second = (
            tokenizer.encode(row[name], add_special_tokens=False).ids for name in ("sentence1", "sentence2")
        )
        whole = [cls_id, *first, sep_id, *second, sep_id][:LENGTH]
        ids.append([*whole, *[0] * (LENGTH - len(whole))])
        types.append((np.arange(LENGTH) >= len(first) + 2) & (np.arange(LENGTH) < len(whole)))
        labels.append(row["label"])
    return np.array(ids), np.array(types, np.uint8), np.array(labels)


def ours() -> Callable[[int], float]:
    """Our fine-tuning step on the batches of `benchmark.training.finetune`."""
    from benchmark.process.setup import keep_freed_memory

    keep_freed_memory()
    import jax

    from baselines.catalogue import baselines
    from benchmark.config import FinetuneConfig, OptimizerConfig, TrainerConfig
    from benchmark.training.batches import GroupedOrder, batch_lengths, make_batch, row_lengths
    from benchmark.training.finetune import initial_params, label_bias, task_head, train_step
    from benchmark.training.pretrain import init_params
    from benchmark.training.state import init_state
    from tasks.arrays.token_arrays import TokenArrays

    encoder, task = baselines()[SYSTEM].encoder, get_task(TASK)
    assert encoder
    ids, types, labels = encoded()
    rows = TokenArrays(Path(), {"input_ids": ids, "token_type_ids": types, "label": labels}, {"rows": len(ids)})
    config = FinetuneConfig(
        batch_size=ROWS, optimizer=OptimizerConfig(learning_rate=RATE, weight_decay=DECAY, clip_norm=CLIP)
    )
    step, optimizer = train_step(encoder, task_head(task), config, TrainerConfig())
    state = init_state(initial_params(encoder, init_params(encoder, 0), task, 0), optimizer)
    lengths, settings = row_lengths(rows, 0), {"label_bias": label_bias(task)}
    order, widths = GroupedOrder(lengths, ROWS, STEPS, 0), batch_lengths(lengths, ROWS)

    def run(number: int) -> float:
        nonlocal state
        indices = order.indices(number)
        width = int(widths[np.searchsorted(widths, lengths[indices].max())])
        state, metrics = step(state, make_batch(rows, indices, width, 0), np.float32(RATE), settings)
        jax.block_until_ready(state)
        return float(metrics["loss"])

    return run


def peer(grouped: bool) -> Callable[[int], float]:
    """The step of a PyTorch script with transformers' model."""
    import torch
    import transformers

    from baselines.catalogue import baselines
    from benchmark.models.hugging_face_config import encoder_to_json
    from benchmark.training.batches import GroupedOrder
    from tasks.arrays.token_arrays import batch_indices

    encoder = baselines()[SYSTEM].encoder
    assert encoder
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(**encoder_to_json(encoder), num_labels=2)
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    model = transformers.AutoModelForSequenceClassification.from_config(config, attn_implementation="sdpa").train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY, fused=True)
    ids, types, labels = encoded()
    lengths = (ids != 0).sum(1)
    order = GroupedOrder(lengths, ROWS, STEPS, 0)

    def run(number: int) -> float:
        indices = order.indices(number) if grouped else batch_indices(len(ids), ROWS, number, 0)
        longest = int(lengths[indices].max())
        given = torch.from_numpy(ids[indices, :longest])
        loss = model(
            input_ids=given,
            attention_mask=(given != 0).long(),
            token_type_ids=torch.from_numpy(types[indices, :longest].astype(np.int64)),
            labels=torch.from_numpy(labels[indices]),
        ).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        return float(loss.detach())

    return run


def main() -> None:
    """Builds the step named on the command line (`jax`, `torch` or `torch_grouped`) and serves orders."""
    framework = sys.argv[1]
    run = ours() if framework == "jax" else peer(framework == "torch_grouped")
    number = 0
    print("{}", flush=True)
    for line in sys.stdin:
        wall = []
        for _ in range(int(line)):
            before = time.perf_counter()
            loss = run(number % STEPS)
            wall.append(time.perf_counter() - before)
            number += 1
        print(json.dumps({"wall": wall, "loss": loss}), flush=True)


if __name__ == "__main__":
    main()
