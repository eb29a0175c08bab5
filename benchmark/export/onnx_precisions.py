"""Smaller copies of an exported graph: int8 by ONNX Runtime's quantiser, float16 by its converter.

The names are those that Optimum and transformers.js give them (`q8` and `fp16` there).
"""

from __future__ import annotations

import contextlib
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmark.export.onnx_export import FILE, open_graph, random_inputs, relative_difference
from benchmark.models.hugging_face import CheckpointError
from tasks.system.errors import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

# By precision; the first is the graph that the others are made of.
FILES = {"float32": FILE, "int8": "onnx/model_quantized.onnx", "float16": "onnx/model_fp16.onnx"}
PRECISIONS = tuple(FILES)


def write_copy(directory: Path, precision: str) -> str:
    """Writes a smaller copy of the graph in a directory, and runs it.

    Inputs stay int64 and outputs float32.

    Args:
        directory: with `config.json` and `FILE`.
        precision: `int8` or `float16`.

    Returns:
        One line with the file and its difference from the float32 graph on random ids.

    Raises:
        CheckpointError: ONNX Runtime cannot make or run it, or it computes values that are not finite.
    """
    name, source = FILES[precision], directory / FILE
    target = directory / name
    try:
        with _quiet():
            (_quantize if precision == "int8" else _convert)(source, target)
        difference = _difference(directory, target)
    # Errors of the quantiser, the converter and the runtime have no common class.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise CheckpointError(
            f"{name}: ONNX Runtime makes no {precision} graph of this model: {shown(reason, 300)}; export without"
            f" {precision}"
        ) from error
    if not np.isfinite(difference):
        raise CheckpointError(
            f"{name}: computes values that are not finite, as this model exceeds the range of {precision}; export"
            f" without {precision}"
        )
    return f"{name}: {precision}, within {difference:.0e} of float32"


def _quantize(source: Path, target: Path) -> None:
    """Quantises weights, one scale for each column; activations are quantised at each call.

    Weights have 7 bits, so that sums of products do not saturate in the 16 bits of processors without VNNI: scores are
    those of any processor.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(source, target, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)


def _convert(source: Path, target: Path) -> None:
    """Converts weights and activations; larger values than float16 has are cut."""
    import onnx

    # The package puts its own folder on the path, with modules of common names such as `benchmark`.
    path = list(sys.path)
    try:
        from onnxruntime.transformers.float16 import convert_float_to_float16
    finally:
        sys.path[:] = path
    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


def _difference(directory: Path, path: Path) -> float:
    """Computes the largest difference from the float32 graph at real tokens or rows, relative to the largest value."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(directory)
    graphs = [open_graph(file) for file in (path, directory / FILE)]
    names = [output.name for output in graphs[0].get_outputs()]
    differences = []
    for batch, length in ((1, 5), (3, 8)):
        inputs = random_inputs(config, batch, length)
        answers = []
        for graph in graphs:
            values = zip(graph.run(names, inputs), graph.get_outputs(), strict=True)
            answers.append([v[inputs["attention_mask"] > 0] if "length" in o.shape else v for v, o in values])
        differences.append(relative_difference(*answers))
    return float(np.max(differences))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the quantiser's advice on graphs of other kinds, which it writes to the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
