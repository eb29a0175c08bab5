"""The files that the servers of GLUE and SQuAD take, from a run's predictions.

`python -m benchmark.commands.server_files --workdir=RUN --system=NAME --to=DIR`
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmark.config import fingerprint
from benchmark.evaluation.server_files import (
    GLUE_FILES,
    SQUAD_FOLDERS,
    glue_table,
    glue_zip,
    missing_glue,
    squad_files,
)
from benchmark.pipeline.workdir import RunError, read_entry
from benchmark.records.record import Record, read
from benchmark.records.verification import record_files
from tasks.catalogue import TASKS
from tasks.system.atomic_write import write_bytes
from tasks.system.command_line import OneLineParser
from tasks.system.errors import InputError, named_files, nearest_match_hint, run_command

EPILOG = """\
Predictions on the official test sets are those of a run with FinetuneConfig.predict_test = True. DIR gets glue.zip, and
for SQuAD, whose test sets are not public, squad-v1.1/ and squad-v2.0/ with the predictions on the development sets.
"""


def make_parser() -> argparse.ArgumentParser:
    """Makes the parser of the flags."""
    parser = OneLineParser(
        prog="python -m benchmark.commands.server_files",
        description=(__doc__ or "").partition("\n")[0],
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--workdir", type=Path, required=True, metavar="RUN", help="the folder of the run")
    add("--system", required=True, metavar="NAME", help="the name of a system, as that of its record in RUN/results")
    add("--seed", type=int, metavar="N", help="the seed of fine-tuning (default: the first of the record)")
    add("--to", type=Path, required=True, metavar="DIR", help="the folder for the files; it is created")
    add("--incomplete", action="store_true", help="write glue.zip even where test sets are missing")
    return parser


def find_record(workdir: Path, system: str) -> Record:
    """Reads the record of a system.

    Raises:
        InputError: the run has none of this system.
        RecordError: it cannot be read.
    """
    known = {path.stem: path for path in record_files(workdir / "results")}
    if system not in known:
        hint = nearest_match_hint(system, known) if known else f"{workdir / 'results'} has no record"
        raise InputError(f"--system={system}: expected a system of the run; {hint}")
    return read(known[system])


def glue_tables(workdir: Path, record: Record, seed: int) -> dict[str, str]:
    """Writes the table of every GLUE task whose test set was predicted.

    Returns:
        Task -> text.

    Raises:
        InputError: predictions are missing, or do not fit the official file.
    """
    tables = {}
    for entry in record.unscored:
        if entry.task in GLUE_FILES and entry.split == "test":
            result = _result(workdir, entry.task, entry.split, entry.seeds, entry.predictions, seed)
            tables[entry.task] = glue_table(TASKS[entry.task], result["predictions"])
    return tables


def squad_texts(workdir: Path, record: Record, seed: int) -> dict[str, str]:
    """Writes the files of SQuAD.

    Returns:
        Path below the target folder -> text.

    Raises:
        InputError: predictions are missing, are not those of the record, or do not fit the official file.
    """
    texts = {}
    for entry in record.tasks:
        if entry.task in SQUAD_FOLDERS and entry.split == "validation":
            result = _result(workdir, entry.task, entry.split, entry.seeds, entry.predictions, seed)
            digests = entry.predictions_sha256
            if digests and fingerprint(result["predictions"]) != digests[entry.seeds.index(seed)]:
                raise InputError(f"{entry.task}: the predictions of seed {seed} are not those of the record")
            for name, text in squad_files(TASKS[entry.task], result).items():
                texts[f"{SQUAD_FOLDERS[entry.task]}/{name}"] = text
    return texts


def _result(
    workdir: Path, task: str, split: str, seeds: Sequence[int], predictions: Sequence[str], seed: int
) -> dict[str, Any]:
    """Reads the predictions of one seed on a split."""
    if seed not in seeds or len(predictions) != len(seeds):
        raise InputError(f"--seed={seed}: expected a seed of {task} in the record: {', '.join(map(str, seeds))}")
    path = workdir / predictions[seeds.index(seed)]
    if not path.resolve().is_relative_to(workdir.resolve()):
        raise InputError(f"{path}: expected predictions in the folder of the run")
    result: dict[str, Any] = read_entry(path, "result")
    if "predictions" not in result or result.get("split") != split:
        raise RunError(f"{path}: predictions on the split {result.get('split')!r}; expected {split!r}")
    return result


def _other_training(record: Record) -> Iterator[str]:
    """Names the tasks that were not trained on the official file."""
    for task in record.tasks:
        if task.training_file is not None:
            yield f"note: {task.task} was trained on {task.training_file.words}"


def _work(flags: argparse.Namespace) -> int:
    with named_files():
        record = find_record(flags.workdir, flags.system)
        seeds = [s for e in record.unscored for s in e.seeds] or [s for e in record.tasks for s in e.seeds]
        if not seeds:
            raise InputError(f"--system={flags.system}: expected a system with predictions; its record has none")
        seed = seeds[0] if flags.seed is None else flags.seed
        tables, texts = glue_tables(flags.workdir, record, seed), squad_texts(flags.workdir, record, seed)
        missing = missing_glue(tables)
        asked = bool(tables) or any(task.task in GLUE_FILES for task in record.tasks)
        if asked and missing and not flags.incomplete:
            raise InputError(
                f"glue.zip: no predictions on the test split of {', '.join(missing)}; GLUE's server takes all"
                f" {len(GLUE_FILES)} files: expected a run of these tasks with FinetuneConfig.predict_test = True, or"
                " --incomplete"
            )
        if not tables and not texts:
            raise InputError(f"--system={flags.system}: expected predictions of GLUE's test sets or of SQuAD")
        files = {name: text.encode() for name, text in texts.items()}
        if tables:
            files["glue.zip"] = glue_zip(tables)
        for name, content in files.items():
            (flags.to / name).parent.mkdir(parents=True, exist_ok=True)
            write_bytes(flags.to / name, content)
            print(f"{flags.to / name}: {flags.system}, seed {seed}, {len(content):,} bytes")
        if tables and missing:
            print(f"note: glue.zip lacks {', '.join(missing)}")
        for line in _other_training(record):
            print(line)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: the command line after `python -m benchmark.commands.server_files`.

    Returns:
        The exit code: 0, or 2 for input that cannot be used.
    """
    return run_command(lambda: _work(make_parser().parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
