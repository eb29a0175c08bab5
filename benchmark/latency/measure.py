"""Measured latency of encoders on this machine, against a frozen reference that is interleaved with each of them.

Fresh processes, one after the other, each compile candidate and reference for every shape of the grid, warm both up,
and time them in the order candidate, reference, reference, candidate (ABBA), with a fresh input for every pair. All
samples are kept. In the same way the reference is timed against itself (A/A), which gives the noise floor. Each process
writes one file when it is done, so a killed measurement resumes with the missing processes.

`python -m benchmark.commands.measure_latency` is the command line.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmark.config import EncoderConfig, LatencyConfig, fingerprint, to_dict
from benchmark.latency import onnx_graphs
from benchmark.latency.children import run_child
from benchmark.latency.inputs import Rows, choose_rows, embedded_rows, write_rows
from benchmark.latency.results import PROTOCOL_VERSION, Results, file_name, read_results, shape_name
from benchmark.latency.timing import LatencyError

__all__ = ["PROTOCOL_VERSION", "LatencyError", "Results", "choose_rows", "measure"]

CHILD = "benchmark.latency.child"


def measure(
    candidates: Mapping[str, EncoderConfig],
    config: LatencyConfig,
    progress: Callable[[str], None],
    *,
    rows: Mapping[int, Rows] | None = None,
    folder: Path | None = None,
    graphs: Path | None = None,
) -> Results:
    """Measures candidates against the reference in fresh processes, as many as `config` asks for.

    Args:
        candidates: architectures by name; the key `""` is taken by the reference against itself.
        config: reference, grid, number of pairs, limits.
        progress: receives progress lines.
        rows: inputs for each of `config.sequence_lengths`; None takes the embedded data.
        folder: holds inputs, graphs and the files of the processes; those of the same settings are reused. None takes a
            temporary one.
        graphs: folder of the ONNX graphs, which several measurements may share; None takes one inside `folder`.

    Returns:
        All samples and circumstances.

    Raises:
        LatencyError: an architecture cannot take the inputs, a process died or took too long, or the first cell is
            refused.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="latency-") as temporary:
            return measure(candidates, config, progress, rows=rows, folder=Path(temporary), graphs=graphs)
    encoders = {"": config.reference, **candidates}
    if rows is None:
        size = min(encoder.vocab_size for encoder in encoders.values())
        rows = embedded_rows(config.sequence_lengths, size, config.seed, folder)
    check_inputs(encoders, config, rows)
    digest = write_rows(folder / "inputs.npz", rows)
    identity = fingerprint(PROTOCOL_VERSION, config, {n: to_dict(e) for n, e in encoders.items()}, digest)
    files: dict[str, list[Path]] = {}
    absent: dict[str, str] = {}
    requests: dict[str, dict[str, Any]] = {}
    for runtime in config.runtimes:
        request = _request(runtime, encoders, config, folder, graphs or folder / "graphs", absent)
        if request is not None:
            requests[runtime], files[runtime] = request | {"fingerprint": identity}, []
    for name, reason in absent.items():
        progress(f"latency: without {name}: {reason}")
    if not files:
        raise LatencyError(f"latency: no runtime to measure with: {'; '.join(absent.values())}")
    for process in range(config.max_processes):
        for runtime, request in requests.items():
            if process < config.processes:
                first = _finished(files[runtime][0], identity) if files[runtime] else None
                wanted = {"systems": list(request["encoders"]), "skip": {} if first is None else _skipped(first)}
            else:
                wide = read_results({runtime: files[runtime]}, {}).too_wide(config)
                wanted = {"systems": wide, "skip": dict.fromkeys(_shapes(config)[1:], "not the headline")}
            if wanted["systems"]:
                path = folder / file_name(runtime, process)
                _run_process(request | wanted, process, path, config, progress)
                files[runtime].append(path)
    results = read_results(files, absent)
    _report_refusals(results, config, files, progress)
    return results


def check_inputs(encoders: Mapping[str, EncoderConfig], config: LatencyConfig, rows: Mapping[int, Rows]) -> None:
    """Refuses shapes and token ids that an architecture cannot take.

    Raises:
        LatencyError: names the architecture, the value and the limit.
    """
    for name, encoder in encoders.items():
        who = f"latency: {name or config.reference_name}"
        longest = max(config.sequence_lengths)
        if longest > encoder.max_length:
            limit = encoder.max_length_text
            raise LatencyError(f"{who}: LatencyConfig.sequence_lengths: {longest} is more than its {limit}")
        for length in config.sequence_lengths:
            if (largest := rows[length].largest_id) >= encoder.vocab_size:
                raise LatencyError(
                    f"{who}: token id {largest} of {rows[length].source}: expected ids below its vocab_size ="
                    f" {encoder.vocab_size}"
                )


def _request(
    runtime: str,
    encoders: dict[str, EncoderConfig],
    config: LatencyConfig,
    folder: Path,
    graphs_folder: Path,
    absent: dict[str, str],
) -> dict[str, Any] | None:
    """Builds the request to a runtime's processes; None where it cannot be measured, with the reason in `absent`."""
    request: dict[str, Any] = {
        "runtime": runtime,
        "config": to_dict(config),
        "rows": str((folder / "inputs.npz").resolve()),
        "graphs": {},
    }
    chosen = encoders
    if runtime == "onnxruntime":
        if (package := onnx_graphs.missing_package()) is not None:
            absent[runtime] = f"{package} is not installed"
            return None
        graphs = onnx_graphs.export_graphs(encoders, graphs_folder, config.timeout_s)
        if "" in graphs.refused:
            absent[runtime] = f"the reference {config.reference_name} cannot be exported: {graphs.refused['']}"
            return None
        absent |= {f"{runtime}/{name}": reason for name, reason in graphs.refused.items()}
        chosen = {name: encoder for name, encoder in encoders.items() if name in graphs.files}
        request["graphs"] = graphs.files
    return request | {"encoders": {name: to_dict(encoder) for name, encoder in chosen.items()}}


def _run_process(
    request: dict[str, Any], process: int, path: Path, config: LatencyConfig, progress: Callable[[str], None]
) -> None:
    """Runs one measuring process, unless its file exists."""
    least, most = config.processes, config.max_processes
    count = f"{process + 1}/{least}" if process < least else f"{process + 1} of at most {most}"
    label = f"latency: {request['runtime']}, process {count}"
    if _finished(path, request["fingerprint"]) is not None:
        progress(f"{label}: reused")
        return
    asked = request | {"process": process, "output": str(path.resolve())}
    answer = run_child(CHILD, json.dumps(asked), config.timeout_s, "measuring")
    if answer.strip():
        raise LatencyError(_error(answer))
    file = _finished(path, request["fingerprint"])
    if file is None:
        raise LatencyError("latency: the measuring process gave no samples")
    others = file["others"]
    line = f"{label} in {file['seconds']:.1f} s"
    if others["cores"] is not None and others["cores"] > 0.25:
        line += f"; other processes took {others['cores']:.2f} cores meanwhile ({others['busiest'] or 'none seen'})"
    progress(line)


def _error(answer: str) -> str:
    try:
        return str(json.loads(answer.splitlines()[-1])["error"])
    except (ValueError, KeyError, TypeError):
        return f"latency: the measuring process said {answer.strip().splitlines()[-1][:200]!r}"


def _finished(path: Path, identity: str) -> dict[str, Any] | None:
    """Returns the content of a process's file if it is whole and of the same settings."""
    try:
        file: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return file if file["fingerprint"] == identity else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _shapes(config: LatencyConfig) -> list[str]:
    """Returns the names of the shapes of the grid in order, the headline first."""
    return [shape_name(batch_size, length) for batch_size in config.batch_sizes for length in config.sequence_lengths]


def _skipped(file: dict[str, Any]) -> dict[str, str]:
    """Returns the cells that the first process left out, which the others need not try."""
    return {shape_name(c["batch_size"], c["sequence_length"]): c["skipped"] for c in file["cells"] if "skipped" in c}


def _report_refusals(
    results: Results, config: LatencyConfig, files: dict[str, list[Path]], progress: Callable[[str], None]
) -> None:
    """Reports cells without a number; where a runtime's first is among them, deletes its files and raises."""
    told = set()
    for cell in results.cells:
        reason = results.refused(cell, config)
        if reason is None:
            told.add(cell.runtime)
            continue
        if cell.runtime not in told:
            for path in files[cell.runtime]:
                path.unlink(missing_ok=True)
            raise LatencyError(f"latency: refused: {cell}: {reason}")
        progress(f"latency: left out: {cell}: {reason}")
