"""The front matter of a model card, as the Hugging Face hub reads it, and the command that publishes a folder."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.export.record_tasks import predicted_with, score_of_seed
from tasks.system.errors import InputError, shown

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

    from benchmark.records.record import Record
    from tasks.catalogue import TaskInfo

_PIPELINES = {
    "classification": "text-classification",
    "regression": "text-classification",
    "span": "question-answering",
}
# Repositories of the hub by the folder of a task in a copy of it.
_DATASETS = {"glue": "nyu-mll/glue", "squad": "rajpurkar/squad", "squad_v2": "rajpurkar/squad_v2"}
# The hub's names of metrics, where they are not ours.
_METRICS = {
    "macro_f1": "f1",
    "matthews": "matthews_correlation",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
}


def front_matter(record: Record, task: TaskInfo | None = None, seed: int = 0, onnx: bool = False) -> str:
    """Writes the front matter: licence, language, tags, data sets, metrics, and scores as a `model-index`.

    Args:
        record: a measured record.
        task: the task that the model was fine-tuned on, None for a model with masked-LM head.
        seed: the seed of the fine-tuning.
        onnx: the folder has graphs.

    Returns:
        YAML between two lines of `---`. Scores are those of the exported parameters, in percent: on every task that
        they predict, or masked-LM accuracy. Data sets of the hub are named only where the run used them, not its
        generated data.
    """
    from huggingface_hub import ModelCardData

    assert record.provenance is not None
    embedded = record.provenance.embedded_data
    tasks = predicted_with(record, task.name) if task is not None else []
    results = [
        _result(record, other, metric, value)
        for other in tasks
        for metric in other.metrics
        if (value := score_of_seed(record, other.name, metric, seed)) is not None
    ]
    if task is None and record.training is not None and record.training.masked_lm_accuracy is not None:
        results.append(_masked_lm_result(record.training.masked_lm_accuracy))
    data = ModelCardData(
        language="en",
        license="apache-2.0" if embedded else "other",
        library_name="transformers",
        pipeline_tag=_PIPELINES[task.kind] if task is not None else "fill-mask",
        tags=["distillation", "autodistill-bench", *(["onnx"] if onnx else [])],
        datasets=sorted({name for other in tasks if (name := _dataset(record, other))}) or None,
        metrics=sorted({result.metric_type for result in results}) or None,
        eval_results=results or None,
        # Without scores the name would be a member that the hub does not know.
        model_name=record.system.title if results else None,
    )
    return f"---\n{data.to_yaml()}\n---"


def _dataset(record: Record, task: TaskInfo) -> str:
    """Returns the repository of a task's data on the hub, '' for data of one's own and for generated data."""
    assert record.provenance is not None
    if task.hub is None or record.provenance.embedded_data:
        return ""
    return _DATASETS[task.hub.folder.partition("/")[0]]


def _result(record: Record, task: TaskInfo, metric: str, value: float) -> EvalResult:
    """Makes one entry of the `model-index`."""
    from huggingface_hub import EvalResult

    assert record.provenance is not None
    generated = record.provenance.embedded_data and task.own is None
    repository = _dataset(record, task)
    config = task.hub.folder.partition("/")[2] if repository and task.hub is not None else ""
    return EvalResult(
        task_type=_PIPELINES[task.kind],
        dataset_type=repository or task.name,
        dataset_name=f"{task.title} of a generated toy world" if generated else task.title,
        dataset_config=config or None,
        dataset_split=task.hub.split("validation") if repository and task.hub is not None else "validation",
        metric_type=_METRICS.get(metric, metric),
        metric_name=f"{metric} (percent)",
        metric_value=round(value, 2),
    )


def _masked_lm_result(accuracy: float) -> EvalResult:
    """Makes the entry of a model before fine-tuning."""
    from huggingface_hub import EvalResult

    return EvalResult(
        task_type="fill-mask",
        dataset_type="held-out-text",
        dataset_name="held-out text of the run",
        metric_type="accuracy",
        metric_name="masked-LM accuracy (percent)",
        metric_value=round(accuracy, 2),
    )


def check_repository(name: str) -> None:
    """Refuses a name that no repository of the hub can have.

    Raises:
        InputError: one line.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    expected = "expected ORG/NAME, the account or organization and the new model's name on the Hugging Face hub"
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise InputError(f"--push_to_hub={shown(name)!r}: {expected}; {error}") from None
    if name.count("/") != 1:
        raise InputError(f"--push_to_hub={shown(name)!r}: {expected}")


def upload_lines(name: str, directory: Path) -> list[str]:
    """Returns the command that publishes a folder, and what it needs; nothing is sent.

    Args:
        name: `ORG/NAME`.
        directory: the exported folder.
    """
    return [
        "nothing was sent; this publishes it, after `hf auth login`:",
        f"hf upload {shlex.quote(name)} {shlex.quote(str(directory))}",
    ]
