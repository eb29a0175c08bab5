"""The scores of the peer in docs/performance.md: a checkpoint fine-tuned on MRPC by transformers with torch.

python -m tests.performance.finetuning_peer DIR --seeds=0,1,2

needs `AUTODISTILL_DATA`. One line of JSON for each seed: accuracy, F1 and seconds. Settings are those of
`gin/evaluate.gin`: four epochs of 32 rows, AdamW with a learning rate of 5e-5, 10 % warm-up, linear decay, weight decay
0.01 except on biases and norms, gradients clipped at a norm of 1.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

TASK, EPOCHS, ROWS, LENGTH = "glue_mrpc_v1", 4, 32, 128


def main(arguments: Sequence[str] | None = None) -> int:
    """Fine-tunes and scores once for each seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="a Hugging Face directory")
    parser.add_argument("--seeds", default="0", help="comma-separated")
    options = parser.parse_args(arguments)
    for seed in map(int, options.seeds.split(",")):
        print(json.dumps({"seed": seed, **scores(options.directory, seed)}), flush=True)
    return 0


def scores(directory: Path, seed: int) -> dict[str, float]:
    """Fine-tunes a checkpoint with one seed, for dropout, head and order of rows, and scores the development set."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup

    from tasks.catalogue import get_task
    from tasks.files.readers import read_examples
    from tasks.scoring import metrics

    started, info, tokenizer = time.perf_counter(), get_task(TASK), AutoTokenizer.from_pretrained(directory)
    rows = {s: list(read_examples(info, Path(os.environ["AUTODISTILL_DATA"]), s)) for s in ("train", "validation")}
    encoded = {
        split: [tokenizer(row["sentence1"], row["sentence2"], truncation=True, max_length=LENGTH) for row in examples]
        for split, examples in rows.items()
    }

    def batch(split: str, chosen: Sequence[int]) -> Any:
        return tokenizer.pad([encoded[split][i] for i in chosen], return_tensors="pt")

    torch.manual_seed(seed)
    order = np.random.default_rng(seed)
    model = AutoModelForSequenceClassification.from_pretrained(directory, num_labels=info.num_labels).train()
    plain = [p for name, p in model.named_parameters() if "bias" in name or "LayerNorm" in name]
    decayed = [p for name, p in model.named_parameters() if not ("bias" in name or "LayerNorm" in name)]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
    optimizer, count = torch.optim.AdamW(groups, lr=5e-5), len(rows["train"])
    steps = EPOCHS * -(-count // ROWS)
    schedule = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    for _ in range(EPOCHS):
        shuffled = order.permutation(count)
        for start in range(0, count, ROWS):
            chosen = shuffled[start : start + ROWS].tolist()
            labels = torch.tensor([rows["train"][i]["label"] for i in chosen])
            model(**batch("train", chosen), labels=labels).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    model.eval()
    predictions: list[int] = []
    with torch.no_grad():
        for start in range(0, len(rows["validation"]), 2 * ROWS):
            chosen = range(start, min(start + 2 * ROWS, len(rows["validation"])))
            predictions += model(**batch("validation", chosen)).logits.argmax(-1).tolist()
    found = metrics.score(TASK, predictions, [row["label"] for row in rows["validation"]])
    return {**found, "seconds": time.perf_counter() - started}


if __name__ == "__main__":
    sys.exit(main())
