"""Graphs for ONNX Runtime: encoders exported in a child process, so that torch never enters this one."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmark.config import EncoderConfig, fingerprint, to_dict
from benchmark.latency.children import run_child

_NEEDED = ("onnxruntime", "onnx", "torch", "transformers", "safetensors")


@dataclass(frozen=True)
class Graphs:
    """Exported encoders.

    Attributes:
        files: path of the graph by the encoder's name.
        refused: reason why an encoder has none, by name.
    """

    files: dict[str, str]
    refused: dict[str, str]


def missing_package() -> str | None:
    """Returns the first missing package that exporting or running a graph needs."""
    return next((name for name in _NEEDED if importlib.util.find_spec(name) is None), None)


def graph_file(folder: Path, encoder: EncoderConfig) -> Path:
    """Returns the file of an encoder's graph."""
    return folder / f"{fingerprint(encoder)[:16]}.onnx"


def export_graphs(encoders: Mapping[str, EncoderConfig], folder: Path, timeout_s: float) -> Graphs:
    """Exports encoders, except those whose graph exists already.

    Args:
        encoders: by name.
        folder: destination of the graphs; it is made.
        timeout_s: limit of the child process.

    Raises:
        LatencyError: the child died or took too long.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: graph_file(folder, encoder) for name, encoder in encoders.items()}
    missing = {name: path for name, path in files.items() if not path.exists()}
    refused: dict[str, str] = {}
    if missing:
        wanted = {n: {"encoder": to_dict(encoders[n]), "file": str(path.resolve())} for n, path in missing.items()}
        answer = run_child("benchmark.latency.onnx_child", json.dumps(wanted), timeout_s, "exporting")
        refused = json.loads(answer.splitlines()[-1])
    return Graphs({n: str(p.resolve()) for n, p in files.items() if n not in refused}, refused)
