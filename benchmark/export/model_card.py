"""The model card of an exported student: architecture, training, scores, latency, terms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.export.card_metadata import front_matter
from tasks.catalogue import TASKS, TaskInfo

if TYPE_CHECKING:
    from benchmark.export.onnx_scores import GraphFiles
    from benchmark.records.record import LatencyBlock, Record

# The labels of tasks whose files have numbers for them, as the data sets on the Hugging Face hub name them.
_LABELS = {
    "glue_cola": ("unacceptable", "acceptable"),
    "glue_sst2": ("negative", "positive"),
    "glue_mrpc": ("not_equivalent", "equivalent"),
    "glue_qqp": ("not_duplicate", "duplicate"),
    "glue_wnli": ("not_entailment", "entailment"),
}


@dataclass(frozen=True)
class FineTuned:
    """The task and the seed with which an exported model was fine-tuned.

    Attributes:
        task: the task.
        seed: the seed.
        length: tokens of the rows, with padding, that it predicted in its run; None where the run does not say.
    """

    task: TaskInfo
    seed: int
    length: int | None = None


def label_names(task: TaskInfo) -> tuple[str, ...]:
    """Returns the names of a task's labels: words where its files have numbers."""
    return _LABELS.get(task.name.rpartition("_v")[0], task.label_names)


def model_card(
    record: Record, model_type: str, tuned: FineTuned | None = None, graphs: GraphFiles | None = None
) -> str:
    """Writes the card as Markdown with the front matter that model hubs read.

    Args:
        record: a measured record.
        model_type: the class of transformers that computes it.
        tuned: task and seed of the fine-tuned model; None for the model before fine-tuning.
        graphs: the ONNX files beside it; None for none.
    """
    system, training, provenance = record.system, record.training, record.provenance
    assert system.encoder is not None
    assert training is not None
    assert provenance is not None
    embedded = provenance.embedded_data
    trained, seed = (tuned.task, tuned.seed) if tuned else (None, 0)
    lines = [
        front_matter(record, trained, seed, onnx=graphs is not None),
        "",
        f"# {system.title} ({record.track} {record.track_version})",
        "",
        f"An encoder of type `{model_type}` with {_head(tuned)}, made by AutoDistill-Bench.",
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
    lines += [f"- Tasks: learned from the fine-tuned teacher, {training.task_recipe}."] if training.task_recipe else []
    if training.masked_lm_accuracy is not None:
        lines.append(f"- Masked-LM accuracy on held-out text: {training.masked_lm_accuracy:.2f} %.")
    lines += [
        f"- Data: {name}, sha256 {digest}." for name, digest in provenance.data_digests.items() if "pretrain" in name
    ]
    lines += ["", "## Scores", "", "Development sets, fine-tuned by AutoDistill-Bench; percent.", ""]
    lines += ["| task | metric | value | seeds |", "|---|---|---|---|"]
    for task in record.tasks:
        title = (
            TASKS[task.task].title if task.task in TASKS else task.definition.title if task.definition else task.task
        )
        start = f", started from {task.recipe.start}" if task.recipe is not None and task.recipe.start else ""
        diverged = f", {len(task.diverged)} diverged" if task.diverged else ""
        for name, score in task.metrics.items():
            lines.append(f"| {title} ({task.task}){start} | {name} | {score.value:.2f} | {len(task.seeds)}{diverged} |")
    lines += [] if graphs is None else ["", *_graph_lines(graphs)]
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


def _head(tuned: FineTuned | None) -> str:
    """Describes the head, its inputs and its answers."""
    if tuned is None:
        return "masked-LM head"
    task = tuned.task
    reads = " and ".join(f"`{column}`" for column in task.text_columns)
    answers = {
        "classification": f"answers one of {', '.join(label_names(task))}",
        "regression": "answers a number",
        "span": "answers with a span of the second",
    }
    head = f"a head fine-tuned on {task.title} (`{task.name}`, seed {tuned.seed})"
    return f"{head} that reads {reads} and {answers[task.kind]}"


def _graph_lines(graphs: GraphFiles) -> list[str]:
    """Describes the ONNX files with their sizes and scores."""
    head = ["## ONNX files", ""]
    if graphs.unscored:
        rows = [f"| {file.name} | {file.precision} | {file.mebibytes} |" for file in graphs.files]
        return [*head, "| file | precision | MiB |", "|---|---|---|", *rows, "", f"Not scored: {graphs.unscored}."]
    run = "" if graphs.recorded is None else f" The run scored {graphs.recorded:.2f} with the same parameters."
    return [
        *head,
        f"Development set of {graphs.task}, {graphs.num_examples:,} examples, each alone, through ONNX Runtime;"
        f" {graphs.metric} in percent.{run}",
        "",
        f"| file | precision | MiB | {graphs.metric} | difference to float32 |",
        "|---|---|---|---|---|",
        *(
            f"| {file.name} | {file.precision} | {file.mebibytes} | {file.scores[graphs.metric]:.2f} |"
            f" {'-' if file is graphs.files[0] else format(graphs.difference(file), '+.2f')} |"
            for file in graphs.files
        ),
        *(f"\n{line}" for line in graphs.losses()),
    ]


def _latency_row(block: LatencyBlock) -> str:
    speedup = f"{block.speedup:.2f} over {block.reference}" if block.speedup is not None else "-"
    method = f"{block.method}, {block.runtime}" if block.runtime else block.method
    where = f"{method} | {block.chip} | {block.batch_size} | {block.sequence_length} | {block.dtype}"
    return f"| {where} | {1e3 * block.latency_s:.3f} | {speedup} |"
