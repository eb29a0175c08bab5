"""Command line of the baselines: `python -m baselines list | measure | import | export`."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from baselines.catalogue import FOLDER, baselines
from tasks.system.command_line import OneLineParser, at_least, check_output_folder
from tasks.system.errors import InputError, named_files, nearest_match_hint, run_command, shown

# Those of `benchmark.export.onnx_precisions`, which is imported late.
_PRECISIONS = ("float32", "int8", "float16")


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


def _measure(options: argparse.Namespace, words: Sequence[str]) -> int:
    """Measures the published architectures here, and writes a record of each with its published scores."""
    check_output_folder("--to", options.to)
    # Imported late: a mistyped flag is answered at once.
    from baselines.measure import choose, choose_reference, latency_config, measure_published
    from baselines.measured_latency import Request

    if not options.catalogue.is_dir():
        raise InputError(f"--catalogue={options.catalogue}: expected a folder with one folder for each baseline")
    known = baselines(options.catalogue)
    if not known:
        raise InputError(f"--catalogue={options.catalogue}: expected folders with a baseline.json, found none")
    chosen = choose(known, options.systems)
    latency = latency_config(
        options.reference,
        choose_reference(known, options.reference),
        runtimes=options.runtimes,
        batch_size=options.batch_size,
        sequence_length=options.sequence_length,
        processes=options.processes,
        seconds=options.seconds,
    )
    command = shlex.join(["python", "-m", "baselines", *words])
    request = Request(latency=latency, chips=options.chips, folder=options.to, command=command)
    paths = measure_published(chosen, request, lambda line: print(line, file=sys.stderr, flush=True))
    print(f"{len(paths)} records -> {options.to / 'results'}")
    return 0


def _import(name: str, checkpoint: Path, to: Path | None, allow_pickle: bool) -> int:
    """Compares a checkpoint with its baseline and writes it as a run reads it."""
    from baselines.importer import import_checkpoint

    known = baselines()
    if name not in known:
        raise InputError(f"unknown baseline {name!r}: {nearest_match_hint(name, known)}")
    target = to or Path("checkpoints") / name
    check_output_folder("--to", target)
    print(import_checkpoint(known[name], checkpoint, target, allow_pickle=allow_pickle))
    return 0


def _export(options: argparse.Namespace) -> int:
    """Writes the model of a record for use outside this project."""
    if options.no_onnx and options.onnx is not None:
        raise InputError(f"--no_onnx, --onnx={','.join(options.onnx)}: expected one of the two")
    onnx = () if options.no_onnx else _PRECISIONS[:1] if options.onnx is None else options.onnx
    if unknown := [name for name in onnx if name not in _PRECISIONS]:
        raise InputError(f"--onnx={shown(unknown[0])}: {nearest_match_hint(unknown[0], _PRECISIONS)}")
    if not onnx and not options.no_onnx:
        raise InputError(f"--onnx: expected some of {', '.join(_PRECISIONS)}, or --no_onnx")
    check_output_folder("--to", options.to)
    from benchmark.export import card_metadata

    if options.push_to_hub is not None:
        card_metadata.check_repository(options.push_to_hub)
    from benchmark.export.exporter import export_record

    for line in export_record(options.record, options.to, onnx=onnx, task=options.task):
        print(line)
    if options.push_to_hub is not None:
        for line in card_metadata.upload_lines(options.push_to_hub, options.to):
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
    _add_measure(commands.add_parser("measure", help="measure and compile every architecture here, without training"))
    files = "holds config.json and model.safetensors"
    imports.add_argument("--checkpoint", type=Path, required=True, metavar="DIR", help=files)
    imports.add_argument("--to", type=Path, metavar="DIR", help="default: checkpoints/NAME")
    imports.add_argument("--allow_pickle", action="store_true", help="read pytorch_model.bin, tensors only")
    exports = commands.add_parser("export", help="write the model of a result record as a Hugging Face directory")
    exports.add_argument("record", type=Path, metavar="RECORD", help="results/NAME.json inside its run's folder")
    exports.add_argument("--to", type=Path, required=True, metavar="DIR", help="the folder to write")
    exports.add_argument("--task", default="", metavar="TASK", help="the model fine-tuned on it, with its head")
    onnx = f"ONNX files to write, with commas, of {','.join(_PRECISIONS)} (default: {_PRECISIONS[0]})"
    exports.add_argument("--onnx", type=_names, metavar="NAMES", help=onnx)
    exports.add_argument("--no_onnx", action="store_true", help="write no ONNX file")
    hub = "print the command that publishes the folder on the Hugging Face hub; nothing is sent"
    exports.add_argument("--push_to_hub", metavar="ORG/NAME", help=hub)
    words = list(sys.argv[1:] if arguments is None else arguments)
    return run_command(
        lambda: _run(parser.parse_args(words), words), interrupted="interrupted; the same command continues"
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _add_measure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--to", type=Path, required=True, metavar="DIR", help="receives the records; the same command continues in it")
    add("--systems", type=_names, default=(), metavar="NAMES", help="baselines, with commas (default: all)")
    add("--reference", default="bert_base", metavar="NAME", help="what speed-ups are over (default: bert_base)")
    add("--runtimes", type=_names, default=("xla", "onnxruntime"), metavar="NAMES", help="default: xla,onnxruntime")
    chips = "TPUs to compile for, where libtpu is installed; '' for none (default: tpu_v4_core)"
    add("--chips", type=_names, default=("tpu_v4_core",), metavar="NAMES", help=chips)
    add("--batch_size", type=at_least(1), default=1, metavar="N", help="sequences of a call (default: 1)")
    add("--sequence_length", type=at_least(2), default=128, metavar="N", help="tokens of a sequence (default: 128)")
    add("--processes", type=at_least(1), default=2, metavar="N", help="fresh processes for each group (default: 2)")
    seconds = "time of a system in each process, next to the reference (default: 1.5)"
    add("--seconds", type=float, default=1.5, metavar="S", help=seconds)
    add("--catalogue", type=Path, default=FOLDER, metavar="DIR", help="the baselines (default: those of this checkout)")


def _run(options: argparse.Namespace, words: Sequence[str]) -> int:
    with named_files():
        if options.command == "list":
            return _list()
        from benchmark.process import setup

        setup.expect_no_tpu()
        if options.command == "measure":
            return _measure(options, words)
        if options.command == "import":
            return _import(options.name, options.checkpoint, options.to, options.allow_pickle)
        return _export(options)


if __name__ == "__main__":
    sys.exit(main())
