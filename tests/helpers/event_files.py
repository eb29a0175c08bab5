"""TensorBoard's event files, read back as it shows them: the framing (TFRecord) by hand, abandoned steps left out."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any


def _protos(path: Path) -> list[Any]:
    from tensorboardX.proto.event_pb2 import Event

    content, found = path.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        found.append(Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    return found


def scalars(directory: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of each scalar of a run; a session that starts at a step drops that step and those after it."""
    from tensorboardX.proto.event_pb2 import SessionLog

    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(directory.glob("events.out.tfevents.*")):
        for event in _protos(path):
            if event.session_log.status == SessionLog.START:
                found = {name: [pair for pair in pairs if pair[0] < event.step] for name, pairs in found.items()}
            for value in event.summary.value:
                if not value.tag.startswith("_hparams_/"):
                    found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return {name: pairs for name, pairs in found.items() if pairs}


def hyperparameters(directory: Path) -> dict[str, float]:
    """Numbers of a run on TensorBoard's page of hyperparameters."""
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    found: dict[str, float] = {}
    for path in sorted(directory.glob("events.out.tfevents.*")):
        for event in _protos(path):
            for value in event.summary.value:
                if value.tag == "_hparams_/session_start_info":
                    data = HParamsPluginData.FromString(value.metadata.plugin_data.content)
                    found |= {name: item.number_value for name, item in data.session_start_info.hparams.items()}
    return found


def runs(directory: Path) -> set[str]:
    """Names of the runs below a folder, as TensorBoard lists them."""
    return {str(path.parent.relative_to(directory)) for path in directory.rglob("events.out.tfevents.*")}
