"""Exports the model of a record: a Hugging Face directory with tokenizer, model card and ONNX file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from baselines import checkpoint_files
from baselines.model_card import model_card
from benchmark.config import EncoderConfig, encoder_from_dict
from benchmark.models.hugging_face import CheckpointError
from benchmark.models.hugging_face_config import export_type
from benchmark.records import Record, RecordError, read


def parameters_of(record: Record, path: Path) -> Path:
    """Where the parameters of a record lie: in the folder of its run, from where `results/NAME.json` was read.

    Args:
        record: the record.
        path: its file.

    Raises:
        RecordError: the file does not lie in the folder of its run, or the run has been overwritten by another.
    """
    workdir = path.resolve().parent.parent
    name = record.system.name
    directory = workdir / "teacher" if record.system.kind == "teacher" else workdir / "students" / name
    settings = workdir / "config.json"
    if not settings.is_file() or not (directory / "params").is_dir():
        raise RecordError(f"{path}: no parameters at {directory / 'params'}; export from the folder of the run")
    found = json.loads(settings.read_text(encoding="utf-8")).get("fingerprint")
    if record.provenance is None or found != record.provenance.config_fingerprint:
        raise RecordError(f"{path}: {workdir} holds a run of other settings than the record's")
    return directory / "params"


def load_parameters(encoder: EncoderConfig, path: Path) -> Any:
    """Encoder and pretraining heads of a checkpoint of this project."""
    from benchmark.training import pretrain

    return pretrain.load_params(path, encoder)


def write_tokenizer(vocabulary: Path, max_length: int, directory: Path) -> None:
    """Writes `vocab.txt`, `tokenizer.json` and `tokenizer_config.json`, as `AutoTokenizer` reads them.

    Args:
        vocabulary: one token per line.
        max_length: tokens that the model can take.
        directory: an existing folder.
    """
    from transformers import BertTokenizerFast

    shutil.copyfile(vocabulary, directory / "vocab.txt")
    BertTokenizerFast(
        vocab=str(directory / "vocab.txt"), do_lower_case=True, model_max_length=max_length
    ).save_pretrained(directory)


def export_record(path: Path, directory: Path, *, onnx: bool = True) -> list[str]:
    """Exports the model that a record describes.

    Args:
        path: the record, inside the folder of its run.
        directory: the folder to write; it must not exist or be empty.
        onnx: whether to write `model.onnx` too and check it with ONNX Runtime.

    Returns:
        Lines that say what was written.

    Raises:
        RecordError: the record cannot be read, or its parameters are not there.
        CheckpointError: transformers has no class that computes the architecture, or the folder holds something.
    """
    record = read(path)
    if record.system.encoder is None:
        raise RecordError(f"{path}: has no architecture; a reported system cannot be exported")
    encoder = encoder_from_dict(record.system.encoder)
    kind = export_type(encoder)
    source = parameters_of(record, path)
    if directory.exists() and any(directory.iterdir()):
        raise CheckpointError(f"{directory}: holds files already; choose an empty folder")
    params = load_parameters(encoder, source)
    checkpoint_files.write(directory, encoder, {"encoder": params["encoder"], "masked_lm": params["masked_lm"]})
    index = json.loads((source.parents[2 if record.system.kind != "teacher" else 1] / "data" / "data.json").read_text())
    write_tokenizer(_vocabulary(index, source, record), encoder.max_position_embeddings, directory)
    (directory / "README.md").write_text(model_card(record, kind), encoding="utf-8")
    lines = [
        f"{record.system.title}: {kind} with masked-LM head, {record.system.parameters:,} parameters, in {directory}"
    ]
    if onnx:
        from baselines.onnx_export import export_onnx

        lines.append(export_onnx(directory))
    return lines


def _vocabulary(index: Mapping[str, Any], source: Path, record: Record) -> Path:
    """The vocabulary file of a run, checked against the record."""
    workdir = source.parents[1 if record.system.kind == "teacher" else 2]
    path = workdir / "data" / index["vocabulary"]["path"]
    assert record.provenance is not None
    if index["vocabulary"]["digest"] != record.provenance.vocabulary_digest:
        raise RecordError(f"{path}: is not the vocabulary that the record was made with")
    return path
