"""Command line of the baselines: `python -m baselines list | import NAME --checkpoint=DIR | export RECORD --to=DIR`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from baselines.catalogue import baselines
from tasks.system.command_line import OneLineParser, check_output_folder
from tasks.system.errors import InputError, named_files, nearest_match_hint, run_command


def _list() -> int:
    """Prints one line for each baseline."""
    from benchmark.models.formulas import num_parameters

    row = "{:21} {:>6} {:>6} {:>5} {:>10} {:>8}  {:>16}  {:10}  {}".format
    print(row("name", "layers", "hidden", "intra", "published", "counted", "GLUE", "licence", "checkpoint"))
    for name, baseline in baselines().items():
        e = baseline.encoder
        shape = (e.num_hidden_layers, e.hidden_size, e.intra_size) if e else ("-", "-", "-")
        published = f"{baseline.published_parameters.value / 1e6:.1f}M" if baseline.published_parameters else "-"
        counted = f"{num_parameters(e) / 1e6:.2f}M" if e else "-"
        glue = f"{baseline.averages[0].value:g} {baseline.averages[0].average}" if baseline.averages else "-"
        checkpoint = baseline.checkpoint.name if baseline.checkpoint else "-"
        print(row(name, *shape, published, counted, glue, baseline.licence or "-", checkpoint))
    print("GLUE averages are as printed by their sources, on the split named there; see each baseline.json.")
    return 0


def _import(name: str, checkpoint: Path, to: Path | None, allow_pickle: bool) -> int:
    """Converts a checkpoint of a baseline to this project's format."""
    from baselines.importer import import_checkpoint

    known = baselines()
    if name not in known:
        raise InputError(f"unknown baseline {name!r}: {nearest_match_hint(name, known)}")
    target = to or Path("checkpoints") / name
    check_output_folder("--to", target)
    print(import_checkpoint(known[name], checkpoint, target, allow_pickle=allow_pickle))
    return 0


def _export(record: Path, to: Path, task: str, onnx: bool) -> int:
    """Writes the model of a record for use outside this project."""
    from benchmark.export.exporter import export_record

    check_output_folder("--to", to)
    for line in export_record(record, to, onnx=onnx, task=task):
        print(line)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: the command line after `python -m baselines`.

    Returns:
        The exit code of `tasks.system.errors.run_command`.
    """
    parser = OneLineParser(prog="python -m baselines", description="Published systems, and models in and out.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="print every baseline")
    imports = commands.add_parser("import", help="read a Hugging Face checkpoint of a baseline")
    imports.add_argument("name", metavar="NAME")
    files = "holds config.json and model.safetensors"
    imports.add_argument("--checkpoint", type=Path, required=True, metavar="DIR", help=files)
    imports.add_argument("--to", type=Path, metavar="DIR", help="default: checkpoints/NAME")
    imports.add_argument("--allow_pickle", action="store_true", help="read pytorch_model.bin, tensors only")
    exports = commands.add_parser("export", help="write the model of a result record as a Hugging Face directory")
    exports.add_argument("record", type=Path, metavar="RECORD", help="results/NAME.json inside its run's folder")
    exports.add_argument("--to", type=Path, required=True, metavar="DIR", help="the folder to write")
    exports.add_argument("--task", default="", metavar="TASK", help="the model fine-tuned on it, with its head")
    exports.add_argument("--no_onnx", action="store_true", help="leave out model.onnx")
    return run_command(lambda: _run(parser.parse_args(arguments)))


def _run(options: argparse.Namespace) -> int:
    with named_files():
        if options.command == "list":
            return _list()
        if options.command == "import":
            return _import(options.name, options.checkpoint, options.to, options.allow_pickle)
        return _export(options.record, options.to, options.task, not options.no_onnx)


if __name__ == "__main__":
    sys.exit(main())
