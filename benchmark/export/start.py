"""The checkpoints that a run starts from: their places in the settings, architectures, digests and parameters.

A Hugging Face directory says what its model is, so that nothing has to be spelt out twice: `completed` fills the
settings of a run in with it. What is spelt out all the same must agree.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from benchmark.config import ConfigError, EncoderConfig
from benchmark.export.checkpoint_files import check, read, read_config
from benchmark.export.weight_files import require_weights, weight_names
from tasks.encoding import tokenizer_files, vocabulary
from tasks.system.compression import existing_file

if TYPE_CHECKING:
    from benchmark.config import BaselineConfig, CheckpointConfig, DataConfig, RunConfig, TeacherConfig
    from benchmark.export.checkpoint_files import Checkpoint

Settings = TypeVar("Settings", "TeacherConfig", "BaselineConfig")

# Start values do not change the outputs of a trained model, and the pooler belongs to a head.
_IRRELEVANT = ("initializer_range", "position_initializer", "pooler")


def differences(found: EncoderConfig, expected: EncoderConfig) -> list[str]:
    """Lists the fields that make two architectures compute different results, as `name found (expected)`."""
    return [
        f"{field.name} {getattr(found, field.name)} ({getattr(expected, field.name)})"
        for field in dataclasses.fields(EncoderConfig)
        if field.name not in _IRRELEVANT and getattr(found, field.name) != getattr(expected, field.name)
    ]


def checkpoints_of(config: RunConfig) -> dict[str, CheckpointConfig]:
    """Lists the checkpoints of a run by what starts from them: `teacher`, `students`, or the name of a baseline."""
    found = {"teacher": config.teacher.checkpoint} if config.teacher is not None else {}
    found |= {"students": config.distill.start_checkpoint} if config.distill is not None else {}
    found |= {baseline.name: baseline.checkpoint for baseline in config.baselines}
    return {name: checkpoint for name, checkpoint in found.items() if checkpoint is not None}


def file_digests(checkpoint: CheckpointConfig) -> dict[str, str]:
    """Computes the SHA-256 of each file that a run reads: configuration, weights and tokenizer.

    Raises:
        ConfigError: there is no such folder.
        CheckpointError: its index of shards is damaged.
    """
    directory = checkpoint.path()
    found = {}
    for name in sorted({"config.json", *weight_names(directory), *tokenizer_files.NAMES}):
        if (directory / name).is_file():
            with (directory / name).open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def digest_of(digests: dict[str, str]) -> str:
    """Computes the one digest of a checkpoint, `CheckpointConfig.sha256`, from those of its files."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def completed(config: RunConfig) -> RunConfig:
    """Fills the settings of a run in with what its checkpoints say: architectures, digests, vocabulary.

    Raises:
        ConfigError: a checkpoint is missing, is not the one that was named, or does not go together with the run.
        CheckpointError: a checkpoint cannot be read.
        DataError: a tokenizer cannot be read.
    """
    if not checkpoints_of(config):
        if config.data.vocabulary == "checkpoint" and config.data.checkpoint is None:
            config.data.refuse("vocabulary", "'train' or a path; the run has no checkpoint")
        if config.data.checkpoint is None:
            return config
    teacher, distill = config.teacher, config.distill
    if teacher is not None and teacher.checkpoint is not None:
        teacher = _with_architecture(teacher, teacher.checkpoint)
    if distill is not None and distill.start_checkpoint is not None:
        distill = dataclasses.replace(distill, start_checkpoint=_identified(distill.start_checkpoint))
    baselines = tuple(b if b.checkpoint is None else _with_architecture(b, b.checkpoint) for b in config.baselines)
    filled = dataclasses.replace(config, teacher=teacher, distill=distill, baselines=baselines)
    return dataclasses.replace(filled, data=_with_vocabulary(filled))


def _identified(checkpoint: CheckpointConfig) -> CheckpointConfig:
    """Adds the digest of the files, once there are weights among them."""
    require_weights(checkpoint.path(), checkpoint.allow_pickle)
    found = digest_of(file_digests(checkpoint))
    if checkpoint.sha256 not in ("", found):
        checkpoint.refuse("sha256", f"the digest of the files in {checkpoint.path()}, which is '{found}'")
    return dataclasses.replace(checkpoint, sha256=found)


def _with_architecture(settings: Settings, checkpoint: CheckpointConfig) -> Settings:
    """Adds the architecture and the digest of a checkpoint."""
    found, _ = read_config(checkpoint.path())
    if settings.encoder is not None and (different := differences(settings.encoder, found)):
        raise ConfigError(
            f"{type(settings).__name__}.encoder",
            ", ".join(different),
            f"the architecture of {checkpoint.path() / 'config.json'} (in brackets), or None to take it",
        )
    return dataclasses.replace(settings, encoder=settings.encoder or found, checkpoint=_identified(checkpoint))


def _with_vocabulary(config: RunConfig) -> DataConfig:
    """Chooses the vocabulary of the run and compares it with those of its checkpoints."""
    data, checkpoints = config.data, checkpoints_of(config)
    if data.vocabulary == "train":
        data.refuse("vocabulary", "'checkpoint' or a path; a checkpoint knows no other vocabulary than its own")
    if data.vocabulary == "checkpoint":
        chosen = _identified(data.checkpoint or next(iter(checkpoints.values())))
        size = vocabulary.load(chosen.path()).size
        data = dataclasses.replace(data, checkpoint=chosen, vocabulary_size=size)
    path = data.vocabulary_path()
    if not path.is_dir() and existing_file(path) is None:
        return data
    chosen_vocabulary = vocabulary.load(path)
    expected, size = chosen_vocabulary.digest, chosen_vocabulary.size
    owners = {"teacher": config.teacher} | {baseline.name: baseline for baseline in config.baselines}
    for name, owner in owners.items():
        encoder = owner.encoder if owner is not None else None
        if name in checkpoints and encoder is not None and encoder.vocab_size < size:
            raise ConfigError(
                "DataConfig.vocabulary",
                config.data.vocabulary,
                f"a vocabulary of at most {encoder.vocab_size} tokens, the vocab_size of the checkpoint of {name} in"
                f" {checkpoints[name].path()}; {path} has {size}",
            )
    for place, encoder in config.encoders.items():
        of_checkpoint = place.removeprefix("baseline ").strip("'") in checkpoints or place == "the teacher"
        if not of_checkpoint and encoder.vocab_size != size:
            encoder.refuse("vocab_size", f"{size} for {place}, the number of tokens in {path}")
    for name, checkpoint in checkpoints.items():
        folder = checkpoint.path()
        if tokenizer_files.present(folder) and vocabulary.load(folder).digest != expected:
            raise ConfigError(
                "DataConfig.vocabulary",
                config.data.vocabulary,
                f"one vocabulary for teacher and students; the checkpoint of {name} in {folder} has another one than"
                f" {path}",
            )
    return data


def checkpoint_notes(config: RunConfig) -> list[str]:
    """Compares the weights of the checkpoints of a run with their configurations, by names and shapes.

    Returns:
        Lines about what a reader of the log should know: tensors that are left out, and a checkpoint whose vocabulary
        could not be compared with that of the run.

    Raises:
        CheckpointError: weights are damaged or contradict their configuration.
    """
    notes = []
    for name, checkpoint in checkpoints_of(config).items():
        folder = checkpoint.path()
        found = check(folder, allow_pickle=checkpoint.allow_pickle)
        notes += [f"checkpoint of {name}: {note}" for note in found]
        if not tokenizer_files.present(folder):
            notes.append(
                f"checkpoint of {name}: no tokenizer in {folder}, so that only the size of its vocabulary was compared"
                f" with {config.data.vocabulary_path()}"
            )
    return notes


def read_start(checkpoint: CheckpointConfig) -> Checkpoint:
    """Reads the parameters of a checkpoint.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    return read(checkpoint.path(), allow_pickle=checkpoint.allow_pickle)


def provenance(config: RunConfig) -> dict[str, Any]:
    """Describes the checkpoints of a run for its records: folder name, revision, digest and files of each."""
    return {
        name: {
            "directory": Path(checkpoint.directory).name,
            "revision": checkpoint.revision,
            "sha256": checkpoint.sha256,
            "files": file_digests(checkpoint),
        }
        for name, checkpoint in checkpoints_of(config).items()
    }
