"""Import of published checkpoints: Hugging Face directory in, parameters of this project out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.config import to_dict
from benchmark.export import checkpoint_files
from benchmark.export.start import differences
from benchmark.training import checkpoints
from tasks.system.errors import InputError

if TYPE_CHECKING:
    from baselines.catalogue import Baseline


def import_checkpoint(baseline: Baseline, directory: Path, target: Path, *, allow_pickle: bool = False) -> str:
    """Reads a checkpoint, compares it with its baseline and saves it.

    Args:
        baseline: the system that the checkpoint should be.
        directory: Hugging Face directory.
        target: folder for `encoder.json` and `params`, which `benchmark.training.checkpoints.restore` reads.
        allow_pickle: see `checkpoint_files.read`.

    Returns:
        One line about the checkpoint that was read.

    Raises:
        InputError: the baseline has no architecture, or the checkpoint has another one.
        CheckpointError: see `checkpoint_files.read`.
    """
    if baseline.encoder is None:
        raise InputError(f"{baseline.name}: has no architecture of this project's family; only its scores are known")
    checkpoint = checkpoint_files.read(directory, allow_pickle=allow_pickle)
    if found := differences(checkpoint.encoder, baseline.encoder):
        raise InputError(f"{directory}: is no {baseline.title}: {', '.join(found)} (expected in brackets)")
    checkpoints.save(target / "params", checkpoint.params)
    values = {
        "encoder": to_dict(checkpoint.encoder),
        "heads": list(checkpoint.heads),
        "model_type": checkpoint.model_type,
    }
    (target / "encoder.json").write_text(json.dumps(values, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    heads = ", ".join(checkpoint.heads) or "no head"
    return f"{baseline.name}: {checkpoint.num_tensors} tensors read from {directory} ({heads}), kept in {target}"
