"""Export of a Hugging Face directory to ONNX, checked with ONNX Runtime."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.models.hugging_face import CheckpointError
from tasks.system.cores import usable_cores

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import onnxruntime

# The place that Optimum, sentence-transformers and transformers.js look in.
FILE = "onnx/model.onnx"
OPSET = 18
# Largest difference between ONNX Runtime and PyTorch, relative to the largest logit.
TOLERANCE = 1e-4


def export_onnx(directory: Path) -> str:
    """Writes `onnx/model.onnx`: the model of a directory with its head, with free batch size and length.

    Args:
        directory: as `checkpoint_files.write` writes it.

    Returns:
        One line with the file and the difference of ONNX Runtime from PyTorch.

    Raises:
        CheckpointError: the exported graph does not compute the same as the model.
    """
    import transformers

    (architecture,) = json.loads((directory / "config.json").read_text(encoding="utf-8"))["architectures"]
    with _quiet():
        model = getattr(transformers, architecture).from_pretrained(directory, attn_implementation="eager").eval()
    target = directory / FILE
    target.parent.mkdir(exist_ok=True)
    outputs = ("start_logits", "end_logits") if architecture.endswith("ForQuestionAnswering") else ("logits",)
    export_graph(model, target, outputs)
    error = max(_difference(model, target, outputs, batch, length) for batch, length in ((1, 5), (3, 8)))
    if not error <= TOLERANCE:
        target.unlink()
        raise CheckpointError(f"{FILE}: differs from the model by {error:.1e}, more than {TOLERANCE:.0e}; not kept")
    return f"{FILE}: opset {OPSET}, within {error:.0e} of PyTorch"


def _per_token(model: Any) -> bool:
    """Returns True where a model has an output for each token, and not only for each row."""
    return not type(model).__name__.endswith("ForSequenceClassification")


def export_graph(model: Any, target: Path, outputs: tuple[str, ...]) -> None:
    """Writes a transformers model as an ONNX graph, with free batch size and length.

    Args:
        model: in evaluation mode, with eager attention.
        target: the file.
        outputs: the members of the model's output that the graph returns.
    """
    import torch

    example = random_inputs(model.config, batch=2, length=8)
    names = list(example)
    axes = {name: {0: "batch", 1: "length"} for name in (*names, *(outputs if _per_token(model) else ()))}
    with _quiet():
        torch.onnx.export(
            _positional(model, outputs),
            tuple(torch.from_numpy(example[name]) for name in names),
            str(target),
            input_names=names,
            output_names=list(outputs),
            dynamic_axes={name: {0: "batch"} for name in outputs} | axes,
            opset_version=OPSET,
            dynamo=False,
        )


def random_inputs(config: Any, batch: int, length: int) -> dict[str, np.ndarray]:
    """Draws random token ids, as long as the model takes them; the last row is padded by one.

    A model with one token type has no input for it, as transformers' RoBERTa is used: it takes no other value than 0.
    """
    pad = config.pad_token_id
    # RoBERTa and MPNet count positions from the id of padding on.
    first = pad + 1 if config.model_type in ("roberta", "mpnet") else 0
    length = min(length, config.max_position_embeddings - first)
    rng = np.random.default_rng(0)
    mask = np.ones((batch, length), np.int64)
    mask[-1, -1:] = 0
    ids = rng.integers(0, config.vocab_size - 1, (batch, length))
    ids += ids >= pad
    inputs = {"input_ids": np.where(mask > 0, ids, pad), "attention_mask": mask}
    if getattr(config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = np.zeros((batch, length), np.int64)
    return inputs


def _difference(model: Any, path: Path, outputs: tuple[str, ...], batch: int, length: int) -> float:
    """Computes the largest difference of the outputs at real tokens or rows, relative to the largest value."""
    import torch

    inputs = random_inputs(model.config, batch, length)
    with torch.no_grad():
        answer = model(**{name: torch.from_numpy(value) for name, value in inputs.items()})
    session = open_graph(path)
    real = inputs["attention_mask"] > 0 if _per_token(model) else np.ones(batch, bool)
    found = session.run(list(outputs), inputs)
    return relative_difference([f[real] for f in found], [answer[name].numpy()[real] for name in outputs])


def relative_difference(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """Computes the largest difference of outputs, relative to the largest value of each; NaN where one is NaN."""
    pairs = zip(found, expected, strict=True)
    return float(np.max([np.abs(f - e).max() / max(1.0, np.abs(e).max()) for f, e in pairs]))


def open_graph(path: Path) -> onnxruntime.InferenceSession:
    """Opens a graph with ONNX Runtime, on the usable cores of this machine."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _positional(model: Any, outputs: tuple[str, ...]) -> Any:
    """Wraps the model with positional inputs and outputs, which the exporter can trace."""
    import torch

    class Positional(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Any:
            inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
            if token_type_ids is not None:
                inputs["token_type_ids"] = token_type_ids
            answer = self.model(**inputs)
            return tuple(answer[name] for name in outputs)

    return Positional().eval()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences progress and warnings about shapes that tracing fixes, which `_difference` checks."""
    from transformers.utils import logging as transformers_logging

    logger = logging.getLogger("torch.onnx")
    level, had_progress = logger.level, transformers_logging.is_progress_bar_enabled()
    logger.setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        if had_progress:
            transformers_logging.enable_progress_bar()
