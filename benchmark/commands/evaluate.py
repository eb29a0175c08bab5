"""One checkpoint on a few tasks: the short form of a run with `gin/evaluate.gin`.

It fine-tunes, scores and measures the model in a Hugging Face directory, and makes its record and page.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from tasks.system.cache_folder import DEFAULT_LIMIT, add_flags, size
from tasks.system.command_line import OneLineParser
from tasks.system.errors import InputError, run_command
from tasks.system.repository import REPOSITORY

EXAMPLES = """\
examples:
  python -m benchmark.commands.evaluate models/minilm --tasks=glue_mrpc_v1,glue_rte_v1
  python -m benchmark.commands.evaluate models/minilm --seeds=0,1,2,3,4 --gin.FinetuneConfig.epochs="(2.0,)"

It prints the command of run_benchmark.py that it stands for, and becomes that command: flags, exit codes and resuming
are those of run_benchmark.py.
"""
_NAME_LENGTH = 60
# Names that a run gives to systems of its own.
_TAKEN = ("teacher", "untrained")


def make_parser() -> argparse.ArgumentParser:
    """Makes the parser of the flags; `--gin.NAME=VALUE` is taken out of the command line first."""
    parser = OneLineParser(
        prog="python -m benchmark.commands.evaluate",
        description=(__doc__ or "").partition("\n")[0],
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("directory", type=Path, metavar="DIR", help="a Hugging Face directory: config.json, weights, tokenizer")
    add("--tasks", metavar="LIST", help="comma-separated task names (default: those of gin/evaluate.gin)")
    add("--seeds", metavar="LIST", help="comma-separated seeds of fine-tuning (default: those of gin/evaluate.gin)")
    add("--data", metavar="DIR", help="the data root (default: $AUTODISTILL_DATA)")
    add("--gin_file", action="append", default=[], metavar="FILE", help="further gin file, after gin/evaluate.gin")
    add("--workdir", type=Path, metavar="DIR", help="folder of the run (default: runs/evaluate_NAME-DIGEST)")
    add_flags(parser)
    add("--dry_run", action="store_true", help="print settings, files, shapes and a forecast")
    # Never parsed here; it stands for the help text.
    add("--gin.NAME", metavar="VALUE", help="set a macro or Class.field after all gin files", dest="_")
    return parser


def name_of(directory: Path) -> str:
    """Makes the name of a system of the name of its folder: small letters, digits, `.`, `_` and `-`.

    Raises:
        InputError: nothing is left of the name.
    """
    name = re.sub(r"[^a-z0-9_.-]+", "-", directory.resolve().name.lower()).lstrip("-_.")[:_NAME_LENGTH]
    if not name:
        raise InputError(f"{directory}: expected a folder whose name has letters or digits; they name the system")
    return f"{name}-model" if name in _TAKEN else name


def default_workdir(directory: Path) -> Path:
    """Names the folder of a run after the model's folder, and after a digest of its path: many are called `model`."""
    place = hashlib.sha256(str(directory.resolve()).encode("utf-8", "surrogateescape")).hexdigest()
    return Path("runs") / f"evaluate_{name_of(directory)}-{place[:6]}"


def command_line(arguments: Sequence[str]) -> list[str]:
    """Translates the arguments of this command into those of `run_benchmark.py`.

    Raises:
        InputError: a flag does not exist, or a value cannot be used.
    """
    bindings = [word for word in arguments if word.startswith("--gin.")]
    flags = make_parser().parse_args([word for word in arguments if not word.startswith("--gin.")])
    if not flags.directory.is_dir():
        raise InputError(f"{flags.directory}: expected a Hugging Face directory; there is no such folder")
    name = name_of(flags.directory)
    result = ["--gin_file=gin/evaluate.gin", *(f"--gin_file={file}" for file in flags.gin_file)]
    given = {"CHECKPOINT": str(flags.directory), "NAME": name, "TITLE": flags.directory.resolve().name[:80]}
    if flags.data is not None:
        given["DataConfig.directory"] = flags.data
    values = {field: repr(value) for field, value in given.items()}
    if flags.tasks is not None:
        values["DataConfig.tasks"] = repr(tuple(_words("--tasks", flags.tasks)))
    if flags.seeds is not None:
        values["FinetuneConfig.seeds"] = f"({', '.join(_seeds(flags.seeds))},)"
    result += [f"--gin.{field}={value}" for field, value in values.items()]
    result += [*bindings, f"--workdir={flags.workdir or default_workdir(flags.directory)}"]
    if flags.cache_dir is not None:
        result.append(f"--cache_dir={flags.cache_dir}")
    if flags.cache_limit != size(DEFAULT_LIMIT):
        result.append(f"--cache_limit={flags.cache_limit}B")
    return [*result, "--dry_run"] if flags.dry_run else result


def _words(flag: str, text: str) -> list[str]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise InputError(f"{flag}={text}: expected at least one name, several separated by commas")
    return words


def _seeds(text: str) -> list[str]:
    seeds = _words("--seeds", text)
    if not all(seed.isascii() and seed.isdecimal() for seed in seeds):
        raise InputError(f"--seeds={text}: expected integers >= 0, separated by commas")
    return [str(int(seed)) for seed in seeds]


def run(arguments: Sequence[str]) -> int:
    """Prints the command of `run_benchmark.py` and becomes it; never returns where the arguments are good."""
    words = command_line(arguments)
    script = REPOSITORY / "run_benchmark.py"
    print(f"python run_benchmark.py {shlex.join(words)}", flush=True)
    os.execv(sys.executable, [sys.executable, str(script), *words])


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; exit codes are those of `run_benchmark.py`."""
    return run_command(lambda: run(list(sys.argv[1:] if arguments is None else arguments)))


if __name__ == "__main__":
    sys.exit(main())
