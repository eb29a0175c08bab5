"""Export of the model of a record: a Hugging Face directory with tokenizer, model card and ONNX files."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from benchmark.config import EncoderConfig, encoder_from_dict
from benchmark.config.distillation import replicate_name
from benchmark.export import checkpoint_files
from benchmark.export.model_card import FineTuned, label_names, model_card
from benchmark.export.onnx_export import export_onnx
from benchmark.export.onnx_precisions import PRECISIONS, write_copy
from benchmark.export.onnx_scores import DevelopmentSet, GraphFiles, graph_files
from benchmark.export.record_tasks import score_of_seed, task_of
from benchmark.models.heads import SequenceModel, SpanModel
from benchmark.models.hugging_face import CheckpointError
from benchmark.models.hugging_face_config import export_type
from benchmark.records.record import Record, RecordError, read
from benchmark.training import checkpoints
from benchmark.training.initial import shapes
from benchmark.training.pretrain import load_params
from tasks.arrays import token_arrays
from tasks.catalogue import TaskInfo, get_task
from tasks.encoding import tokenizer_files, vocabulary
from tasks.system.errors import DataError, nearest_match_hint
from tasks.system.folders import remove_folder


def folder_of_run(record: Record, path: Path) -> Path:
    """Returns the folder of a record's run, in which its file is `results/NAME.json`.

    Raises:
        RecordError: the file is not in the folder of its run, or another run has overwritten it.
    """
    workdir = path.resolve().parent.parent
    settings = workdir / "config.json"
    if not settings.is_file():
        raise RecordError(f"{path}: {settings} is missing; export from the folder of the run")
    found = _read(settings, "fingerprint")
    if record.provenance is None or found != record.provenance.config_fingerprint:
        raise RecordError(f"{path}: {workdir} holds a run of other settings than the record's")
    return workdir


def _read(path: Path, *members: str) -> Any:
    """Reads a JSON file of a run and returns the value at the members.

    Raises:
        RecordError: the file is missing or damaged.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        for name in members:
            value = value[name]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise RecordError(f"{path}: missing or damaged ({error!r}); export from the folder of a whole run") from None
    return value


def _folder_name(record: Record) -> str:
    """Names the folders of the model that is exported, the first of a student's distillations."""
    replicates = record.training.replicates if record.training is not None else []
    return replicate_name(record.system.name, replicates[0].seed if replicates else 0)


def pretrained(record: Record, path: Path) -> dict[str, Any]:
    """Reads encoder and pretraining heads of a record's model.

    Args:
        record: the record.
        path: its file, inside the folder of its run.

    Raises:
        RecordError: the parameters are missing, or of another architecture.
    """
    workdir = folder_of_run(record, path)
    directory = workdir / "teacher" if record.system.kind == "teacher" else workdir / "students" / _folder_name(record)
    encoder, source = encoder_of(record, path), directory / "params"
    return _restored(source, path, lambda: load_params(source, encoder))


def fine_tuned(record: Record, path: Path, task: str) -> tuple[dict[str, Any], FineTuned]:
    """Reads the model that predicted a task with the first seed.

    Args:
        record: the record.
        path: its file, inside the folder of its run.
        task: the name of the task.

    Returns:
        Parameters of encoder and head, and their task and seed.

    Raises:
        RecordError: the record lacks the task, or the run did not keep the parameters.
    """
    workdir = folder_of_run(record, path)
    known = [scored.task for scored in record.tasks] + [unscored.task for unscored in record.unscored]
    if task not in known:
        raise RecordError(f"{path}: has no task {task!r}: {nearest_match_hint(task, known)}")
    info = task_of(record, task)
    trained = get_task(info.trained_on) if info.trained_on else info
    directory = workdir / "evaluation" / _folder_name(record) / trained.name
    marker = directory / "parameters.json"
    if not marker.is_file():
        raise RecordError(
            f"{path}: no parameters at {directory / 'parameters'}, which are kept of found students alone; call the run"
            " again with --gin.FinetuneConfig.keep_parameters=True"
        )
    seed: int = _read(marker, "result", "seed")
    if _read(marker, "fingerprint") != _read(directory / f"seed{seed}.json", "fingerprint"):
        raise RecordError(f"{path}: the parameters at {directory / 'parameters'} are not those of its predictions")
    encoder = encoder_of(record, path)
    model = SpanModel(encoder) if trained.kind == "span" else SequenceModel(encoder, trained.num_labels)
    kept = directory / "parameters"
    length = _read(marker, "result").get("length")
    return _restored(kept, path, lambda: checkpoints.restore(kept, shapes(model, 3))), FineTuned(trained, seed, length)


def _restored(source: Path, path: Path, restore: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Reads parameters; errors are one line."""
    if not source.is_dir():
        raise RecordError(f"{path}: no parameters at {source}; export from the folder of the run")
    try:
        params = restore()
    except ValueError as error:
        reason = str(error).splitlines()[0].removeprefix(f"{source}: ")
        raise RecordError(f"{path}: the parameters at {source} are of another architecture: {reason}") from None
    return params


def encoder_of(record: Record, path: Path) -> EncoderConfig:
    """Returns the architecture of a record.

    Raises:
        RecordError: the record has none.
    """
    if record.system.encoder is None:
        raise RecordError(f"{path}: has no architecture; a reported system cannot be exported")
    return encoder_from_dict(record.system.encoder)


def write_tokenizer(kept: Path, max_length: int, directory: Path) -> None:
    """Writes the files of the tokenizer, as `AutoTokenizer` reads them.

    Args:
        kept: the file or folder that the data stage keeps.
        max_length: tokens that the model can take.
        directory: an existing folder.
    """
    if kept.is_dir():
        tokenizer_files.write(tokenizer_files.read(kept), directory, model_max_length=max_length)
        return
    from transformers import BertTokenizerFast

    shutil.copyfile(kept, directory / "vocab.txt")
    BertTokenizerFast(
        vocab=str(directory / "vocab.txt"), do_lower_case=True, model_max_length=max_length
    ).save_pretrained(directory)


def export_record(path: Path, directory: Path, *, onnx: tuple[str, ...] = ("float32",), task: str = "") -> list[str]:
    """Exports the model that a record describes; a failure leaves no half-written folder.

    Args:
        path: the record, inside the folder of its run.
        directory: the folder to write; it must be missing or empty.
        onnx: precisions of ONNX files (`onnx_precisions.PRECISIONS`), each run by ONNX Runtime and, with a task, scored
            on its development set. The float32 file is always among them, as the others are made of it; () writes none.
        task: the task whose fine-tuned model is exported; '' for the model before fine-tuning, with masked-LM head.

    Returns:
        Lines that describe the written files.

    Raises:
        RecordError: the record cannot be read, or its parameters are missing.
        CheckpointError: transformers has no class that computes the architecture, ONNX Runtime makes no such file, or
            the folder is not empty.
    """
    record = read(path)
    encoder = encoder_of(record, path)
    kind = export_type(encoder)
    params, tuned = fine_tuned(record, path, task) if task else (pretrained(record, path), None)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise CheckpointError(f"{directory}: holds files already; choose an empty folder")
    workdir = folder_of_run(record, path)
    kept, pad_id = _vocabulary(workdir, record)
    head = _head_settings(tuned.task) if tuned else {}
    what = f"fine-tuned on {tuned.task.title} with seed {tuned.seed}" if tuned else "with masked-LM head"
    lines = [f"{record.system.title}: {kind} {what}, {record.system.parameters:,} parameters, in {directory}"]
    graphs = None
    with _removed_on_failure(directory):
        checkpoint_files.write(directory, encoder, params, pad_token_id=pad_id, **head)
        write_tokenizer(kept, encoder.max_length, directory)
        if onnx:
            lines.append(export_onnx(directory))
            wanted = tuple(name for name in PRECISIONS if name in ("float32", *onnx))
            lines += [write_copy(directory, precision) for precision in wanted[1:]]
            graphs = _scored(directory, wanted, record, workdir, task, tuned, pad_id)
            lines += graphs.lines()
        (directory / "README.md").write_text(model_card(record, kind, tuned, graphs), encoding="utf-8")
    return lines


@contextmanager
def _removed_on_failure(directory: Path) -> Iterator[None]:
    """Removes what a block that fails has written into an empty or missing folder, so that the next try can begin.

    A request to end (SIGTERM) is such a failure, as an interrupt is.
    """
    existed = directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    except BaseException:
        for path in directory.iterdir():
            if path.is_dir():
                remove_folder(path)
            else:
                path.unlink()
        if not existed:
            directory.rmdir()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """Ends the process from within, so that what is open is closed; the exit code is a shell's after the signal."""
    del frame
    raise SystemExit(128 + number)


def _scored(
    directory: Path,
    precisions: tuple[str, ...],
    record: Record,
    workdir: Path,
    task: str,
    tuned: FineTuned | None,
    pad_id: int,
) -> GraphFiles:
    """Scores the graphs of a fine-tuned model on the rows that the run scored it on."""
    if tuned is None:
        return graph_files(directory, precisions, unscored="a model before fine-tuning answers no task")
    info = task_of(record, task)
    try:
        splits = _read(workdir / "data" / "data.json", "tasks", task)
        if "validation" not in splits:
            return graph_files(directory, precisions, unscored=f"{task} has no labelled development set")
        rows = token_arrays.load(workdir / "data" / splits["validation"])
    except (DataError, RecordError):
        return graph_files(directory, precisions, unscored=f"the run's folder has no usable arrays of {task}")
    recorded = score_of_seed(record, task, info.primary_metric, tuned.seed)
    data = DevelopmentSet(info, rows, pad_id, tuned.length or rows.features["input_ids"].shape[1])
    return graph_files(directory, precisions, data, recorded)


def _head_settings(task: TaskInfo) -> dict[str, Any]:
    """Returns the members of `config.json` that describe the outputs of a fine-tuned model."""
    if task.kind == "classification":
        labels = {str(number): name for number, name in enumerate(label_names(task))}
        return {"id2label": labels, "problem_type": "single_label_classification"}
    return {"problem_type": "regression"} if task.kind == "regression" else {}


def _vocabulary(workdir: Path, record: Record) -> tuple[Path, int]:
    """Returns the kept vocabulary of a run, checked against the record, and its id of padding."""
    index = workdir / "data" / "data.json"
    path = workdir / "data" / str(_read(index, "vocabulary", "path"))
    assert record.provenance is not None
    if _read(index, "vocabulary", "digest") != record.provenance.vocabulary_digest:
        raise RecordError(f"{path}: is not the vocabulary that the record was made with")
    return path, vocabulary.load(path).pad_id
