"""Time spent on compiling, by thread, and how often garbage is collected."""

from __future__ import annotations

import gc
import importlib.util
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from benchmark.process.setup import collect_less_often, compile_seconds, expect_no_tpu
from tasks.system.repository import REPOSITORY


def test_only_this_threads_compiling_counts() -> None:
    x = jnp.arange(4.0)
    program, other = jax.jit(lambda x: x * 3.5 - 1.25), jax.jit(lambda x: x * 7.5 - 1.75)
    with compile_seconds() as first:
        program(x)
        after_first = list(first)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(other, x).result()
    assert sum(after_first) > 0.0
    assert first == after_first
    with compile_seconds() as again:
        program(x)
        other(x)
    assert again == []
    # What is compiled afterwards is nobody's.
    jax.jit(lambda x: x * 9.5)(x)
    assert again == []


def test_collections_become_rare() -> None:
    class Cycle:
        def __init__(self) -> None:
            self.itself = self

    def collections(number: int) -> int:
        before = sum(generation["collections"] for generation in gc.get_stats())
        for _ in range(number):
            Cycle()
        return sum(generation["collections"] for generation in gc.get_stats()) - before

    threshold = gc.get_threshold()
    # Other tests of this process may have made them rare before.
    gc.set_threshold(700, 10, 10)
    often = collections(100_000)
    try:
        collect_less_often()
        assert 0 < collections(100_000) < often / 10
    finally:
        gc.set_threshold(*threshold)
        gc.unfreeze()


@pytest.mark.parametrize(
    ("vendor", "given", "expected"),
    [("0x10de", {}, "localhost"), ("", {}, "localhost"), ("0x1ae0", {}, None), ("0x10de", {"HOSTNAMES": "a"}, "a")],
)
def test_libtpu_is_told_of_a_missing_tpu_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vendor: str, given: dict[str, str], expected: str | None
) -> None:
    monkeypatch.delitem(sys.modules, "jax")
    # Set first, so that the end of the test restores them.
    for name in ("HOSTNAMES", "ID"):
        monkeypatch.setenv(f"TPU_WORKER_{name}", given.get(name, ""))
        if name not in given:
            monkeypatch.delenv(f"TPU_WORKER_{name}")
    monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")
    monkeypatch.setenv("TPU_ACCELERATOR_TYPE", "mine")
    if vendor:
        (tmp_path / "0000:00:04.0").mkdir()
        (tmp_path / "0000:00:04.0" / "vendor").write_text(f"{vendor}\n")
    expect_no_tpu(tmp_path)
    assert os.environ.get("TPU_WORKER_HOSTNAMES") == expected
    assert os.environ["TPU_ACCELERATOR_TYPE"] == "mine"


@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed; pip install -e '.[tpu]'"
)
def test_libtpu_prints_no_error_where_there_is_no_tpu() -> None:
    code = "from benchmark.process.setup import expect_no_tpu as f\nf()\nimport jax\njax.devices()"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TPU_", "JAX_"))}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0
    assert "INVALID_ARGUMENT" not in done.stderr and "host bounds" not in done.stderr
