"""The model card of an exported student: what it is, how it was made, what it scored, under which terms."""

from __future__ import annotations

from benchmark.records import LatencyBlock, Record
from tasks.catalogue import TASKS


def model_card(record: Record, model_type: str) -> str:
    """Writes the card as Markdown with the front matter that model hubs read.

    Args:
        record: a measured record.
        model_type: the class of transformers that computes it.
    """
    system, training, provenance = record.system, record.training, record.provenance
    assert system.encoder is not None
    assert training is not None
    assert provenance is not None
    embedded = provenance.embedded_data
    lines = [
        "---",
        "language: en",
        f"license: {'apache-2.0' if embedded else 'other'}",
        "library_name: transformers",
        "pipeline_tag: fill-mask",
        "tags: [distillation, autodistill-bench]",
        "---",
        "",
        f"# {system.title} ({record.track} {record.track_version})",
        "",
        f"An encoder of type `{model_type}` with masked-LM head, made by AutoDistill-Bench.",
    ]
    if embedded:
        lines += [
            "",
            "**Trained on a generated toy world**: it knows a thousand made-up word pieces and no real English.",
        ]
    lines += ["", "## Architecture", "", "| field | value |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in system.encoder.items()]
    lines += [f"| parameters (encoder) | {system.parameters:,} |"]
    lines += ["", "## Training", ""]
    lines += [f"- Recipe: {training.recipe}, {training.steps:,} steps, {training.tokens:,} tokens without padding."]
    lines += [f"- Teacher: {training.teacher}."] if training.teacher else []
    if training.masked_lm_accuracy is not None:
        lines.append(f"- Masked-LM accuracy on held-out text: {training.masked_lm_accuracy:.2f} %.")
    lines += [
        f"- Data: {name}, sha256 {digest}." for name, digest in provenance.data_digests.items() if "pretrain" in name
    ]
    lines += ["", "## Scores", "", "Development sets, fine-tuned by AutoDistill-Bench; percent.", ""]
    lines += ["| task | metric | value | seeds |", "|---|---|---|---|"]
    for task in record.tasks:
        title = TASKS[task.task].title if task.task in TASKS else task.task
        for name, score in task.metrics.items():
            lines.append(f"| {title} ({task.task}) | {name} | {score.value:.2f} | {len(task.seeds)} |")
    lines += [
        "",
        "## Latency",
        "",
        "| method | chip | batch | length | type | ms | speed-up |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_latency_row(block) for block in record.latency]
    lines += ["", "## Terms", ""]
    if embedded:
        lines.append("Code, generated data and these parameters: Apache License 2.0.")
    else:
        lines.append(
            "The program is under the Apache License 2.0. The parameters were learnt from texts that have terms of"
            " their own; the data are named above."
        )
    lines += ["", "## Reproduce", "", "```", provenance.command, "```", ""]
    lines += [f"Commit `{provenance.git_commit}`, settings `{provenance.config_fingerprint}`.", ""]
    return "\n".join(lines)


def _latency_row(block: LatencyBlock) -> str:
    speedup = f"{block.speedup:.2f} over {block.reference}" if block.speedup is not None else "-"
    where = f"{block.method} | {block.chip} | {block.batch_size} | {block.sequence_length} | {block.dtype}"
    return f"| {where} | {1e3 * block.latency_s:.3f} | {speedup} |"
