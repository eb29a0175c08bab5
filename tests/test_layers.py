"""Imports go one way, and each heavy package has its place (docs/architecture.md, section 2)."""

import ast
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("run_benchmark", "leaderboard", "baselines", "benchmark", "tasks")

# A module may import what begins with one of the listed names; the entry with the longest matching name counts.
ALLOWED: dict[str, tuple[str, ...]] = {
    "run_benchmark": ("leaderboard", "benchmark", "tasks"),
    "leaderboard": (
        "leaderboard",
        "benchmark.records",
        "benchmark.config",
        "benchmark.errors",
        # Claims that no chip could keep.
        "benchmark.hardware.chips",
        "benchmark.search.tables",
        "benchmark.spreadsheet",
        "benchmark.strict_json",
        # Which files of a folder are records.
        "benchmark.verification",
        "tasks.catalogue",
    ),
    "baselines": (
        "baselines",
        "benchmark.records",
        "benchmark.strict_json",
        "benchmark.config",
        "tasks.averages",
        "tasks.catalogue",
    ),
    # The commands that read and write models; they import what is heavy when they run.
    "baselines.__main__": ("baselines", "benchmark.models.formulas", "tasks.errors"),
    "baselines.checkpoint_files": ("benchmark.config", "benchmark.models"),
    "baselines.exporter": (
        "baselines",
        "benchmark.config",
        "benchmark.models",
        "benchmark.records",
        "benchmark.training",
        "tasks.catalogue",
        "tasks.errors",
    ),
    "baselines.importer": ("baselines", "benchmark.config", "benchmark.training.checkpoints"),
    "baselines.onnx_export": ("benchmark.models.hugging_face",),
    "benchmark": ("benchmark.config", "benchmark.records"),
    # Only inside a method that hands the data settings to the tasks.
    "benchmark.config": ("benchmark.config", "benchmark.settings", "tasks.request"),
    "benchmark.settings": (),
    "benchmark.records": ("benchmark.record_upgrades", "benchmark.strict_json"),
    "benchmark.record_upgrades": (),
    "benchmark.strict_json": (),
    "benchmark.numerics": (),
    "benchmark.digests": ("benchmark.config", "benchmark.records", "benchmark.verification"),
    "benchmark.verification": ("benchmark.records",),
    "benchmark.compare": ("benchmark.records", "benchmark.verification"),
    "benchmark.verify_request": ("benchmark.config", "benchmark.records", "benchmark.gin_data"),
    "benchmark.verify": ("benchmark",),
    "benchmark.parallel": (),
    "benchmark.spreadsheet": (),
    "benchmark.bars": (),
    "benchmark.errors": (),
    "benchmark.manifest": (),
    "benchmark.bindings": ("benchmark.config",),
    "benchmark.command_line": ("benchmark.bindings",),
    "benchmark.run_tree": ("benchmark.config", "benchmark.bindings", "tasks.catalogue", "tasks.errors"),
    "benchmark.gin_loader": ("benchmark.config", "benchmark.bindings", "benchmark.run_tree"),
    # Reads texts of strangers: never gin, which runs what they import.
    "benchmark.gin_data": ("benchmark.config", "benchmark.bindings", "benchmark.run_tree"),
    "benchmark.models": ("benchmark.config", "benchmark.models", "benchmark.settings"),
    "benchmark.hardware": (
        "benchmark.config",
        "benchmark.records",
        "benchmark.models",
        # Values of weights for a measurement, drawn without a compile.
        "benchmark.training.initial",
        # How libtpu is asked to compile for what is not there.
        "benchmark.training.ahead_of_time",
        "benchmark.errors",
        "benchmark.manifest",
        "benchmark.numerics",
        "benchmark.process",
        "benchmark.hardware",
    ),
    # Reads and tokenises the inputs of a measurement.
    "benchmark.hardware.latency_inputs": ("benchmark.hardware", "tasks"),
    # Command lines of their own.
    "benchmark.hardware.latency_command": (
        "benchmark.bindings",
        "benchmark.command_line",
        "benchmark.config",
        "benchmark.errors",
        "benchmark.gin_loader",
        "benchmark.hardware",
        "benchmark.records",
        "tasks.errors",
    ),
    "benchmark.hardware.calibrate": (
        "benchmark.bindings",
        "benchmark.command_line",
        "benchmark.config",
        "benchmark.errors",
        "benchmark.gin_loader",
        "benchmark.hardware",
        "benchmark.models",
        "benchmark.search.space",
        "benchmark.training.initial",
    ),
    # A process of its own, imported by nobody: exports graphs as `python -m baselines export` does.
    "benchmark.hardware.onnx_child": ("baselines", "benchmark.config", "benchmark.hardware", "benchmark.models"),
    "benchmark.training": ("benchmark.config", "benchmark.errors", "benchmark.models", "benchmark.training", "tasks"),
    "benchmark.distillation": (
        "benchmark.config",
        "benchmark.errors",
        "benchmark.models",
        "benchmark.training",
        "benchmark.distillation",
        "tasks",
    ),
    # Learns a task as fine-tuning does: its head, its batches.
    "benchmark.distillation.task": (
        "benchmark.config",
        "benchmark.training",
        "benchmark.distillation",
        "benchmark.evaluation.finetune",
        "tasks",
    ),
    "benchmark.evaluation": (
        "benchmark.config",
        "benchmark.records",
        "benchmark.models",
        "benchmark.training",
        "benchmark.evaluation",
        "tasks",
    ),
    "benchmark.search": (
        "benchmark.config",
        "benchmark.errors",
        "benchmark.numerics",
        "benchmark.parallel",
        "benchmark.records",
        "benchmark.models",
        "benchmark.training",
        "benchmark.distillation",
        "benchmark.hardware",
        "benchmark.search",
        "tasks",
    ),
    # The page writes the same files, so this imports nothing heavy.
    "benchmark.search.tables": ("benchmark.spreadsheet",),
    # A command line of its own.
    "benchmark.search.tabulate": (
        "benchmark.bindings",
        "benchmark.command_line",
        "benchmark.config",
        "benchmark.errors",
        "benchmark.gin_loader",
        "benchmark.hardware",
        "benchmark.models",
        "benchmark.records",
        "benchmark.search",
    ),
    "benchmark.workdir": ("benchmark.config", "benchmark.records", "benchmark.training.distributed"),
    "benchmark.stages": ("benchmark", "tasks"),
    "benchmark.searching": ("benchmark",),
    "benchmark.finetuning": ("benchmark", "tasks"),
    "benchmark.task_distillation": ("benchmark", "tasks"),
    "benchmark.pipeline": ("benchmark", "baselines.catalogue", "tasks"),
    "benchmark.programs": ("benchmark", "tasks.catalogue"),
    "benchmark.rehearsal": ("benchmark", "tasks.catalogue"),
    "benchmark.rehearsal_child": ("benchmark",),
    "tasks": ("tasks",),
    # The command line of the tasks reads a gin file, and is imported by nobody.
    "tasks.__main__": ("tasks", "benchmark.gin_loader", "benchmark.config"),
}

# The modules that build token arrays; none of them is imported by a trainer.
SEQIO = (
    "tasks.seqio_base",
    "tasks.seqio_tasks",
    "tasks.seqio_pretraining",
    "tasks.feature_converter",
    "tasks.sources.tfds",
)

# Package -> the modules that may import it.
HOMES: dict[str, tuple[str, ...]] = {
    "gin": ("benchmark.gin_loader",),
    "ray": ("benchmark.search.executors",),
    "ax": ("benchmark.search.ax_search", "benchmark.search.ax_storage", "benchmark.search.ax_analysis"),
    "pymoo": ("benchmark.search.nsga2",),
    "tensorflow": SEQIO,
    "tensorflow_datasets": ("tasks.sources.tfds",),
    "seqio": SEQIO,
    "t5": ("tasks.seqio_metrics",),
    # Ax computes with torch, and its threads are capped there.
    "torch": (
        "benchmark.search.ax_search",
        "benchmark.search.ax_analysis",
        "baselines.checkpoint_files",
        "baselines.onnx_export",
    ),
    "transformers": ("baselines.exporter", "baselines.onnx_export", "benchmark.hardware.onnx_child"),
    "onnxruntime": ("baselines.onnx_export", "benchmark.hardware.runtimes"),
    "pyarrow": ("tasks.sources.hugging_face",),
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources() -> dict[str, Path]:
    files = [ROOT / "run_benchmark.py"]
    for name in OURS[1:]:
        files += (ROOT / name).rglob("*.py")
    return {module_name(path): path for path in sorted(files)}


def imports(module: str, tree: ast.AST, is_package: bool) -> Iterator[tuple[int, str]]:
    """Every imported name, wherever in the file it stands: `from a.b import c` gives `a.b.c`, which may be a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            base = ".".join(parts[: len(parts) - node.level + is_package]) if node.level else ""
            source = ".".join(p for p in (base, node.module) if p)
            for alias in node.names:
                yield node.lineno, f"{source}.{alias.name}"


def within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def violations(module: str, tree: ast.AST, is_package: bool = False) -> list[str]:
    allowed = ALLOWED[max((k for k in ALLOWED if within(module, k)), key=len)]
    found = []
    for line, name in imports(module, tree, is_package):
        top = name.split(".")[0]
        if top in OURS and not any(within(name, prefix) for prefix in allowed):
            found.append(
                f"{module}:{line}: imports {name}; it may import only {', '.join(allowed) or 'nothing of ours'}"
            )
        if top in HOMES and not any(within(module, home) for home in HOMES[top]):
            found.append(f"{module}:{line}: imports {name}; only {', '.join(HOMES[top])} may")
    return found


def test_imports_go_one_way() -> None:
    found = []
    for module, path in sources().items():
        found += violations(module, ast.parse(path.read_text(encoding="utf-8")), path.name == "__init__.py")
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("tasks.readers", "import leaderboard"),
        ("tasks.readers", "def f():\n    from benchmark.config import RunConfig"),
        ("benchmark.models.encoder", "from benchmark import pipeline"),
        ("benchmark.models.encoder", "from ..training import fit"),
        ("benchmark.search.loop", "import leaderboard.build"),
        ("benchmark.records", "from benchmark.config import to_dict"),
        ("leaderboard.build", "from benchmark.models import formulas"),
        ("benchmark.training.fit", "import tensorflow as tf"),
        ("benchmark.pipeline", "import gin"),
        ("benchmark.search.loop", "from ax.api.client import Client"),
    ],
)
def test_a_planted_import_is_found(module: str, code: str) -> None:
    assert violations(module, ast.parse(code))


def test_an_allowed_import_is_not_reported() -> None:
    assert not violations("benchmark.pipeline", ast.parse("from benchmark.search import loop\nimport tasks.readers"))
    assert not violations("benchmark.models", ast.parse("from .encoder import Encoder"), is_package=True)


def test_no_python_under_gin() -> None:
    # An __init__.py there would turn the folder into a package that hides the one that is installed.
    assert [str(p) for p in (ROOT / "gin").rglob("*") if p.is_file() and p.suffix != ".gin"] == []


def test_packages_are_listed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    existing = {module_name(path) for path in sources().values() if path.name == "__init__.py"}
    assert set(listed) == existing
    assert not any(within(name, "gin") for name in listed)


LIGHT = [
    "benchmark.config",
    "benchmark.gin_data",
    "benchmark.gin_loader",
    "benchmark.manifest",
    "benchmark.records",
    "leaderboard.build",
    "tasks.catalogue",
    "tasks.readers",
    "tasks.sources.tfds",
]


def test_light_modules_stay_light() -> None:
    code = (
        f"import sys, {', '.join(LIGHT)}\n"
        "heavy = ('jax', 'flax', 'tensorflow', 'torch', 'seqio', 't5', 'ax', 'transformers', 'pyarrow')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, timeout=120
    )
    assert result.stdout.strip() == "[]"
