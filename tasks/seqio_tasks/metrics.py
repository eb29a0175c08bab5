"""T5's metric functions for the SeqIO tasks; imports TensorFlow through T5, so the trainer must not import it.

The project's own scores (`tasks.scoring.metrics`) need NumPy alone; a test holds the two equal to 1e-9.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from t5.evaluation import metrics as t5_metrics

if TYPE_CHECKING:
    from tasks.catalogue import TaskInfo

MetricFn = Callable[[Sequence[Any], Sequence[Any]], Mapping[str, float]]

# The wrapper and its arguments are those of T5's own CoLA task.
_FUNCTIONS: Mapping[str, MetricFn] = MappingProxyType(
    {
        "accuracy": t5_metrics.accuracy,
        "f1": t5_metrics.f1_score_with_invalid,
        "matthews": t5_metrics.sklearn_metrics_wrapper(
            "matthews_corrcoef", metric_post_process_fn=lambda value: 100 * value
        ),
        "pearson": t5_metrics.pearson_corrcoef,
        "spearman": t5_metrics.spearman_corrcoef,
    }
)


def metric_fns(info: TaskInfo) -> list[MetricFn]:
    """Returns T5's functions for the metrics of a task.

    Returns:
        Functions of targets and predictions, for SeqIO's `metric_fns`, in the order of the task's metrics. Span tasks
        get one that gives `em` and `f1` for lists of reference answers and for answers; SQuAD v2.0 gets none, because
        T5's function needs an answer to every question.
    """
    if info.kind == "span":
        return [] if info.has_no_answer_option else [t5_metrics.squad]
    return [_FUNCTIONS[name] for name in info.metrics if name in _FUNCTIONS]
