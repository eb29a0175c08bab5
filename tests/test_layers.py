"""Imports go one way, and each heavy package has its place (docs/architecture.md, section 2)."""

import ast
import os
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tasks.system.repository import REPOSITORY

OURS = ("run_benchmark", "leaderboard", "baselines", "benchmark", "tasks")

# Every module may import these, which need the standard library alone.
SYSTEM = "tasks.system"

# A module may import what begins with one of the listed names; the entry with the longest matching name counts.
ALLOWED: dict[str, tuple[str, ...]] = {
    "run_benchmark": ("leaderboard", "benchmark", "tasks"),
    # Of `hardware` only what refuses claims that no chip could keep, of `search` only what a front is, and the state of
    # a search that goes on.
    "leaderboard": (
        "leaderboard",
        "benchmark.config",
        "benchmark.hardware.chips",
        "benchmark.records",
        "benchmark.search.pareto",
        "benchmark.search.so_far",
        "benchmark.statistics",
        "tasks.catalogue",
        "tasks.scoring",
    ),
    "baselines": (
        "baselines",
        "benchmark.config",
        "benchmark.export",
        "benchmark.hardware",
        "benchmark.latency",
        "benchmark.models",
        "benchmark.process",
        "benchmark.records",
        "benchmark.training",
        "tasks",
    ),
    "benchmark": (),
    # Only inside a method that hands the data settings to the tasks.
    "benchmark.config": ("benchmark.config", "tasks.materialize.request"),
    "benchmark.cli": ("benchmark.config", "benchmark.cli", "tasks"),
    "benchmark.records": ("benchmark.config", "benchmark.records"),
    "benchmark.models": ("benchmark.config", "benchmark.models"),
    "benchmark.training": ("benchmark.config", "benchmark.models", "benchmark.training", "tasks"),
    "benchmark.distillation": (
        "benchmark.config",
        "benchmark.models",
        "benchmark.training",
        "benchmark.distillation",
        "tasks",
    ),
    "benchmark.evaluation": (
        "benchmark.config",
        "benchmark.models",
        "benchmark.records",
        "benchmark.statistics",
        "benchmark.training",
        "benchmark.evaluation",
        "tasks",
    ),
    # Exported graphs are scored as runs are.
    "benchmark.export": (
        "benchmark.config",
        "benchmark.evaluation",
        "benchmark.models",
        "benchmark.records",
        "benchmark.training",
        "benchmark.export",
        "tasks",
    ),
    "benchmark.hardware": (
        "benchmark.config",
        "benchmark.models",
        "benchmark.process",
        "benchmark.records",
        "benchmark.training",
        "benchmark.hardware",
    ),
    # Measured latency knows no estimates, and `hardware` no measurement.
    "benchmark.latency": (
        "benchmark.config",
        "benchmark.export",
        "benchmark.models",
        "benchmark.process",
        "benchmark.records",
        "benchmark.training",
        "benchmark.latency",
        "tasks",
    ),
    "benchmark.search": (
        "benchmark.config",
        "benchmark.hardware",
        "benchmark.models",
        "benchmark.process",
        "benchmark.records",
        "benchmark.search",
    ),
    "benchmark.process": ("benchmark.process",),
    "benchmark.statistics": ("benchmark.statistics",),
    "benchmark.dry_run": ("benchmark", "tasks"),
    "benchmark.pipeline": ("benchmark", "tasks"),
    "benchmark.commands": ("benchmark", "tasks"),
    "tasks": ("tasks",),
    "tasks.arrays": ("tasks.arrays",),
    "tasks.encoding": ("tasks.encoding",),
    "tasks.files": ("tasks.catalogue", "tasks.encoding", "tasks.files"),
    "tasks.microworld": ("tasks.microworld",),
    "tasks.scoring": ("tasks.catalogue", "tasks.scoring"),
    "tasks.sources": ("tasks.catalogue", "tasks.files", "tasks.sources"),
    SYSTEM: (),
}

# The modules that build token arrays; none of them is imported by a trainer.
SEQIO = ("tasks.seqio_tasks", "tasks.sources.tfds")

# Package -> the modules that may import it.
HOMES: dict[str, tuple[str, ...]] = {
    "gin": ("benchmark.cli.gin_loader",),
    "ray": ("benchmark.search.executors",),
    "ax": ("benchmark.search.ax_search", "benchmark.search.ax_storage", "benchmark.search.ax_analysis"),
    "pymoo": ("benchmark.search.nsga2",),
    "tensorflow": SEQIO,
    "tensorflow_datasets": ("tasks.sources.tfds",),
    "seqio": SEQIO,
    "t5": ("tasks.seqio_tasks.metrics",),
    # Ax computes with torch, and its threads are capped there.
    "torch": ("benchmark.search.ax_search", "benchmark.search.ax_analysis", "benchmark.export"),
    "transformers": ("benchmark.export", "benchmark.latency.onnx_child"),
    "onnxruntime": (
        "benchmark.export.onnx_export",
        "benchmark.export.onnx_precisions",
        "benchmark.latency.runtimes",
    ),
    "pyarrow": ("tasks.sources.hugging_face",),
}


def module_name(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources() -> dict[str, Path]:
    files = [REPOSITORY / "run_benchmark.py"]
    for name in OURS[1:]:
        files += (REPOSITORY / name).rglob("*.py")
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
    allowed = (SYSTEM, *ALLOWED[max((k for k in ALLOWED if within(module, k)), key=len)])
    found = []
    for line, name in imports(module, tree, is_package):
        top = name.split(".")[0]
        if top in OURS and not any(within(name, prefix) for prefix in allowed):
            found.append(f"{module}:{line}: imports {name}; it may import only {', '.join(allowed)}")
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
        ("tasks.files.readers", "import leaderboard"),
        ("tasks.files.readers", "def f():\n    from benchmark.config import RunConfig"),
        ("tasks.system.errors", "from tasks.catalogue import TASKS"),
        ("benchmark.models.encoder", "from benchmark.pipeline import runner"),
        ("benchmark.models.encoder", "from ..training import fit"),
        ("benchmark.search.loop", "import leaderboard.build"),
        ("benchmark.process.numerics", "from benchmark.config import to_dict"),
        ("leaderboard.build", "from benchmark.models import formulas"),
        ("benchmark.training.fit", "import tensorflow as tf"),
        ("benchmark.pipeline.runner", "import gin"),
        ("benchmark.search.loop", "from ax.api.client import Client"),
    ],
)
def test_a_planted_import_is_found(module: str, code: str) -> None:
    assert violations(module, ast.parse(code))


def test_no_import_goes_round() -> None:
    """Neither between modules nor between the folders of `benchmark` and `tasks`, also not inside functions."""
    modules: dict[str, set[str]] = defaultdict(set)
    folders: dict[str, set[str]] = defaultdict(set)
    known = sources()
    for module, path in known.items():
        for _, name in imports(module, ast.parse(path.read_text(encoding="utf-8")), path.name == "__init__.py"):
            target = name if name in known else name.rpartition(".")[0]
            if target in known and target != module:
                modules[module].add(target)
                if (own := folder(module)) != (other := folder(target)):
                    folders[own].add(other)
    for graph in (modules, folders):
        assert cycle(graph) == []


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """A circle of the graph, from a node to itself; nothing where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_a_planted_circle_is_found() -> None:
    assert set(cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}})) == {"a", "b", "c"}
    assert cycle({"a": {"b", "c"}, "b": {"c"}}) == []


def folder(module: str) -> str:
    """The folder of a module right below `benchmark` or `tasks`; elsewhere the top-level name."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] in ("benchmark", "tasks") else parts[0]


def test_an_allowed_import_is_not_reported() -> None:
    assert not violations(
        "benchmark.pipeline.runner", ast.parse("from benchmark.search import loop\nimport tasks.files.readers")
    )
    assert not violations("benchmark.models", ast.parse("from .encoder import Encoder"), is_package=True)


def test_no_python_under_gin() -> None:
    # An __init__.py there would turn the folder into a package that hides the one that is installed.
    assert [str(p) for p in (REPOSITORY / "gin").rglob("*") if p.is_file() and p.suffix != ".gin"] == []


def test_packages_are_listed() -> None:
    listed = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"][
        "packages"
    ]
    existing = {module_name(path) for path in sources().values() if path.name == "__init__.py"}
    assert set(listed) == existing
    assert not any(within(name, "gin") for name in listed)


LIGHT = [
    "benchmark.config",
    "benchmark.cli.gin_data",
    "benchmark.cli.gin_loader",
    "benchmark.records.manifest",
    "benchmark.records.record",
    "leaderboard.build",
    "leaderboard.watch",
    "tasks.catalogue",
    "tasks.files.readers",
    "tasks.sources.tfds",
]


def test_light_modules_stay_light() -> None:
    code = (
        f"import sys, {', '.join(LIGHT)}\n"
        "heavy = ('jax', 'flax', 'tensorflow', 'torch', 'seqio', 't5', 'ax', 'transformers', 'pyarrow')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, timeout=120
    )
    assert result.stdout.strip() == "[]"
