"""ONNX from an exported Hugging Face directory, checked with ONNX Runtime before it is kept."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.models.hugging_face import CheckpointError

FILE = "model.onnx"
OPSET = 18
# Largest difference between ONNX Runtime and PyTorch, relative to the largest logit.
TOLERANCE = 1e-4


def export_onnx(directory: Path) -> str:
    """Writes `model.onnx`: the masked LM of a directory, with free batch size and length.

    Args:
        directory: as `checkpoint_files.write` leaves it.

    Returns:
        One line that says what was written and how far ONNX Runtime is from PyTorch.

    Raises:
        CheckpointError: the exported graph computes something else than the model.
    """
    from transformers import AutoModelForMaskedLM

    model = AutoModelForMaskedLM.from_pretrained(directory, attn_implementation="eager").eval()
    target = directory / FILE
    export_graph(model, target, "logits")
    error = max(_difference(model, target, batch, length) for batch, length in ((1, 5), (3, 8)))
    if not error <= TOLERANCE:
        target.unlink()
        raise CheckpointError(f"{target}: differs from the model by {error:.1e}, more than {TOLERANCE:.0e}; not kept")
    return f"{FILE}: opset {OPSET}, within {error:.0e} of PyTorch"


def export_graph(model: Any, target: Path, output: str) -> None:
    """Writes a transformers model as an ONNX graph, with free batch size and length.

    Args:
        model: in evaluation mode, with eager attention.
        target: the file.
        output: the member of the model's output that the graph gives.
    """
    import torch

    example = _inputs(model.config, batch=2, length=min(8, model.config.max_position_embeddings))
    names = list(example)
    with _quiet():
        torch.onnx.export(
            _one_output(model, output),
            tuple(torch.from_numpy(example[name]) for name in names),
            str(target),
            input_names=names,
            output_names=[output],
            dynamic_axes={name: {0: "batch", 1: "length"} for name in (*names, output)},
            opset_version=OPSET,
            dynamo=False,
        )


def _inputs(config: Any, batch: int, length: int) -> dict[str, np.ndarray]:
    """Random token ids, the last row padded by one."""
    rng = np.random.default_rng(0)
    mask = np.ones((batch, length), np.int64)
    mask[-1, -1:] = 0
    inputs = {"input_ids": rng.integers(1, config.vocab_size, (batch, length)) * mask, "attention_mask": mask}
    if config.model_type != "distilbert":
        inputs["token_type_ids"] = np.zeros((batch, length), np.int64)
    return inputs


def _difference(model: Any, path: Path, batch: int, length: int) -> float:
    """Largest difference of the logits at tokens, relative to the largest logit."""
    import onnxruntime
    import torch

    inputs = _inputs(model.config, batch, min(length, model.config.max_position_embeddings))
    with torch.no_grad():
        expected = model(**{name: torch.from_numpy(value) for name, value in inputs.items()}).logits.numpy()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(["logits"], inputs)
    real = inputs["attention_mask"] > 0
    return float(np.abs(found - expected)[real].max() / max(1.0, np.abs(expected[real]).max()))


def _one_output(model: Any, output: str) -> Any:
    """The model with positional inputs and one output, which is what the exporter traces."""
    import torch

    class OneOutput(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Any:
            inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
            if token_type_ids is not None:
                inputs["token_type_ids"] = token_type_ids
            return self.model(**inputs)[output]

    return OneOutput().eval()


@contextlib.contextmanager
def _quiet() -> Any:
    """The exporter prints progress and warns of shapes that tracing fixes; the check above is what counts."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
