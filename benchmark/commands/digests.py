"""Digests of the results of a run, stage by stage and step by step, and the first difference of two runs.

`python -m benchmark.commands.digests DIR` lists them in the order in which they were computed; with a second folder it
names the first difference. Steps of pretraining and distillation are among them where the run kept their digests:
`--gin.TrainerConfig.log_digests=True`, after every `TrainerConfig.log_every` steps.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.config import fingerprint
from benchmark.pipeline.workdir import RunError
from benchmark.records.record import comparable, read
from benchmark.records.verification import record_files
from tasks.system.command_line import OneLineParser
from tasks.system.errors import InputError, named_files, run_command

# Fields of the search's journal that depend on the clock.
_CLOCK = ("seconds", "suggest_seconds", "compile_seconds")


class Computed(NamedTuple):
    """One result of a run: its stage, its name, and its digest."""

    stage: str
    name: str
    digest: str


def run_digests(workdir: Path) -> Iterator[Computed]:
    """Yields the results in a run's folder that its settings determine, by stage; missing ones are left out."""
    yield from _data(workdir / "data")
    yield from _system("teacher", "teacher", workdir / "teacher")
    yield from _search(workdir / "search")
    for folder in _folders(workdir / "students"):
        yield from _system("distill", folder.name, folder)
    for path in sorted((workdir / "evaluation").glob("*/*/seed*.json")):
        name = " ".join(path.relative_to(workdir / "evaluation").with_suffix("").parts)
        with _whole(path):
            yield Computed("finetune", name, fingerprint(_json(path)["result"]))
    for path in record_files(workdir / "results"):
        yield Computed("record", path.stem, fingerprint(comparable(read(path))))


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Refuses a file of a run that cannot be read as its stage wrote it."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path}: damaged ({error!r}); remove it and continue the run") from None


def _folders(parent: Path) -> list[Path]:
    return sorted(entry for entry in parent.iterdir() if entry.is_dir()) if parent.is_dir() else []


def _data(folder: Path) -> Iterator[Computed]:
    index = folder / "data.json"
    if not index.exists():
        return
    with _whole(index):
        data = _json(index)
        for name, file in sorted(data["source_files"].items()):
            yield Computed("data", f"file {name}", file["sha256"])
        yield Computed("data", "vocabulary", data["vocabulary"]["digest"])
    for entry in _folders(folder):
        if (meta := entry / "meta.json").exists():
            with _whole(meta):
                for name, file in sorted(_json(meta).get("files", {}).items()):
                    yield Computed("data", f"arrays {entry.name}/{name}", file["sha256"])


def _steps(stage: str, name: str, folder: Path) -> Iterator[Computed]:
    """Yields the steps of the fits below a folder whose digests were kept, the fit that ended first in front."""
    files = sorted(folder.rglob("digests.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    for path in files:
        part = " ".join((name, *path.parent.relative_to(folder).parts))
        with _whole(path):
            for line in path.read_text(encoding="utf-8").splitlines():
                entry = json.loads(line)
                yield Computed(stage, f"{part} step {entry['step']}", entry["parameters_sha256"])


def _system(stage: str, name: str, folder: Path) -> Iterator[Computed]:
    """Yields the steps of a system's training, its parameters and its masked-LM scores."""
    yield from _steps(stage, name, folder)
    if (marker := folder / "stage.json").exists():
        with _whole(marker):
            result = _json(marker)["result"]
            yield Computed(stage, f"{name} parameters", result["parameters_sha256"])
            yield Computed(stage, f"{name} masked LM", fingerprint(result["masked_lm"]))


def _search(folder: Path) -> Iterator[Computed]:
    """Yields the events of the journal, without their times."""
    journal = folder / "journal.jsonl"
    if not journal.exists():
        return
    with _whole(journal):
        for line in journal.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            result = {k: v for k, v in entry.get("result", {}).items() if k not in _CLOCK}
            name = f"trial {entry['trial']} {entry['event']}"
            yield Computed("search", name, fingerprint({**entry, "result": result}))


def first_difference(one: Sequence[Computed], two: Sequence[Computed]) -> str | None:
    """Names the first difference of two runs in one line; None where they are equal."""
    for number, pair in enumerate(zip(one, two, strict=False)):
        if pair[0] != pair[1]:
            (stage, name, digest), (other_stage, other_name, other_digest) = pair
            if (stage, name) != (other_stage, other_name):
                names = f"{stage}: {name} in the first run, {other_stage}: {other_name} in the second"
                return f"{names}; {number} before it are equal"
            return f"{stage}: {name}: {digest[:16]} and {other_digest[:16]}; {number} before it are equal"
    if len(one) != len(two):
        longer, which = (one, "first") if len(one) > len(two) else (two, "second")
        extra = longer[min(len(one), len(two))]
        return f"{extra.stage}: {extra.name}: in the {which} run alone; {min(len(one), len(two))} before it are equal"
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Lists the digests of one run, or compares two.

    Returns:
        The exit code: 1 where two runs differ, 2 where a folder holds no run.
    """
    parser = OneLineParser(prog="python -m benchmark.commands.digests", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("workdirs", nargs="+", type=Path, metavar="DIR", help="folder of a run, or of two to compare")
    return run_command(lambda: _compare(parser.parse_args(arguments).workdirs))


def _compare(folders: Sequence[Path]) -> int:
    if len(folders) > 2:
        raise InputError(f"DIR: expected one folder or two, found {len(folders)}")
    with named_files():
        runs = [list(run_digests(folder)) for folder in folders]
    for folder, run in zip(folders, runs, strict=True):
        if not run:
            raise InputError(f"{folder}: expected the folder of a run; nothing in it was computed by one")
    if len(runs) == 1:
        for stage, name, digest in runs[0]:
            print(f"{stage:<9} {digest[:16]} {name}")
        return 0
    difference = first_difference(*runs)
    print(f"equal: {len(runs[0])} digests" if difference is None else f"first difference: {difference}")
    return int(difference is not None)


if __name__ == "__main__":
    sys.exit(main())
