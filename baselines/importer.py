"""Import of published checkpoints: compared with their baseline, and written as a run reads them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.export import checkpoint_files
from benchmark.export.start import differences
from tasks.encoding import tokenizer_files
from tasks.system.errors import InputError

if TYPE_CHECKING:
    from baselines.catalogue import Baseline

# Members of `config.json` that describe the use of a model and not its architecture; they are kept as they came.
_KEPT = ("pad_token_id", "id2label", "label2id")


def import_checkpoint(baseline: Baseline, directory: Path, target: Path, *, allow_pickle: bool = False) -> str:
    """Reads a checkpoint, compares it with its baseline and writes it as `CheckpointConfig` reads it.

    Pickles, shards and old names of tensors become one `model.safetensors`; the tokenizer's files are copied.

    Args:
        baseline: the system that the checkpoint should be.
        directory: Hugging Face directory.
        target: folder for the result, another one than `directory`.
        allow_pickle: see `checkpoint_files.read`.

    Returns:
        A line about the checkpoint that was read, after one for each kind of tensors that was left out.

    Raises:
        InputError: the baseline has no architecture, or the checkpoint has another one, or both folders are one.
        CheckpointError: see `checkpoint_files.read` and `checkpoint_files.write`.
    """
    if baseline.encoder is None:
        raise InputError(f"{baseline.name}: has no architecture of this project's family; only its scores are known")
    if target.resolve() == directory.resolve():
        raise InputError(f"--to={target}: is the folder of the checkpoint; expected another one")
    checkpoint = checkpoint_files.read(directory, allow_pickle=allow_pickle)
    if found := differences(checkpoint.encoder, baseline.encoder):
        raise InputError(f"{directory}: is no {baseline.title}: {', '.join(found)} (expected in brackets)")
    given = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    kept = {name: given[name] for name in _KEPT if name in given}
    checkpoint_files.write(target, checkpoint.encoder, checkpoint.params, **kept)
    for path in tokenizer_files.present(directory):
        shutil.copyfile(path, target / path.name)
    heads = ", ".join(checkpoint.heads) or "no head"
    done = f"{baseline.name}: {checkpoint.num_tensors} tensors read from {directory} ({heads}), written to {target}"
    return "\n".join([*(f"{baseline.name}: {note}" for note in checkpoint.notes), done])
