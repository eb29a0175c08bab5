"""Portable numerics: what is put into force, for whom, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmark.latency import children
from benchmark.process import numerics
from tasks.materialize import start_child
from tasks.system.cores import usable_cores
from tasks.system.errors import InputError
from tasks.system.repository import REPOSITORY
from tests.conftest import NUMERICS

PLAIN = {"PATH": "/bin", "NPROC": "8", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
needs_avx2 = pytest.mark.skipif(bool(numerics.missing_features()), reason="this processor has no AVX2 or no FMA")


@needs_avx2
def test_an_environment_is_made_portable_and_native_again() -> None:
    portable = numerics.portable_environment(PLAIN, 3)
    assert portable["NPROC"] == portable["PJRT_NPROC"] == "3"
    flags = portable["XLA_FLAGS"].split()
    assert flags[0] == PLAIN["XLA_FLAGS"] and "--xla_cpu_max_isa=AVX2" in flags
    assert numerics.in_force(portable) == "portable" and numerics.threads_in_force(portable) == 3
    assert numerics.native_environment(portable) == PLAIN
    assert numerics.in_force(PLAIN) == "native" and numerics.threads_in_force(PLAIN) is None
    # All that it changes is handed on to a machine that has another environment.
    changed = numerics.changed_variables(portable)
    assert {**PLAIN, **changed} == portable
    assert not numerics.changed_variables(PLAIN)


@needs_avx2
@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("XLA_FLAGS", "--xla_cpu_enable_fast_math=true", "--xla_cpu_enable_fast_math=true may change"),
        ("XLA_FLAGS", "--xla_cpu_max_isa=AVX512", "--xla_cpu_max_isa=AVX512 may change"),
        ("JAX_ENABLE_X64", "1", "JAX_ENABLE_X64=1 changes what jax computes"),
    ],
)
def test_an_environment_that_changes_numbers_is_refused(name: str, value: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        numerics.portable_environment(PLAIN | {name: value}, 2)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert "--gin.RunConfig.numerics=\"'native'\"" in str(caught.value)


def test_processors_without_avx2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    cpuinfo.write_text("processor : 0\nflags\t\t: fpu sse2 avx fma\n")
    assert numerics.missing_features(cpuinfo) == ["AVX2"]
    cpuinfo.write_text("processor : 0\nflags\t\t: fpu avx2 fma\n")
    assert not numerics.missing_features(cpuinfo)
    # Where nobody tells, nothing is refused.
    assert not numerics.missing_features(tmp_path / "none")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert numerics.missing_features(cpuinfo) == ("x86-64 instructions",)
    with pytest.raises(InputError, match=r"aarch64\) has no x86-64 instructions; expected x86-64 with AVX2"):
        numerics.portable_environment({}, 2)


def plain_environment() -> dict[str, str]:
    """The environment of the tests with native numerics and without flags that somebody set for them."""
    return {name: value for name, value in numerics.native_environment(os.environ).items() if name != "XLA_FLAGS"}


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a process that has native numerics and what is given."""
    environment = {**plain_environment(), "PYTHONPATH": str(REPOSITORY), **variables}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120, check=False
    )


@needs_avx2
def test_it_is_never_too_late_unnoticed() -> None:
    code = "import numpy\nfrom benchmark.process import numerics\nnumerics.enforce('portable', 2)"
    done = python(code)
    message = done.stderr.strip().splitlines()[-1]
    assert "RunConfig.numerics = 'portable': too late in this process, which has loaded numpy with native" in message
    # Put into force a second time, and in a child, it is what it was; another number of threads is another thing.
    code = (
        "import subprocess, sys\nfrom benchmark.process import numerics\nnumerics.enforce('portable', 2)\n"
        "import numpy\nnumerics.enforce('portable', 2)\n"
        "inner = 'import numpy; from benchmark.process import numerics; numerics.enforce(\"portable\", 2)'\n"
        "subprocess.run([sys.executable, '-c', inner], check=True)\n"
        "numerics.enforce('portable', 3)"
    )
    done = python(code)
    assert "has loaded numpy with portable numerics" in done.stderr.strip().splitlines()[-1]


@needs_avx2
def test_native_numerics_follow_portable_ones_in_a_fresh_child() -> None:
    code = (
        "import os\nfrom benchmark.process import numerics\nnumerics.enforce('portable', 2)\n"
        "numerics.enforce('native', 2)\n"
        "print(os.environ.get('NPROC'), 'XLA_FLAGS' in os.environ, numerics.in_force(os.environ))"
    )
    assert python(code, NPROC="5").stdout.split() == ["5", "False", "native"]


@needs_avx2
def test_the_command_line_says_in_one_line_what_cannot_be(tmp_path: Path) -> None:
    command = [sys.executable, "run_benchmark.py", "--gin_file=tests/e2e/tiny.gin", f"--workdir={tmp_path / 'run'}"]
    environment = {**plain_environment(), "XLA_FLAGS": "--xla_cpu_enable_fast_math=true"}
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, env=environment, timeout=120, check=False
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "RunConfig.numerics = 'portable': XLA_FLAGS=--xla_cpu_enable_fast_math=true" in done.stderr
    assert not (tmp_path / "run").exists()


def test_measured_latency_has_all_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def watched(command: list[str], **options: Any) -> Any:
        seen.update(options["env"])
        return original([sys.executable, "-c", ""], **options)

    original = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", watched)
    if not numerics.missing_features():
        portable = numerics.portable_environment(plain_environment(), 2)
        monkeypatch.setattr(os, "environ", portable)
    children.run_child("nothing", "", 1.0, "measuring")
    native = numerics.native_environment(os.environ)
    assert numerics.in_force(seen) == "native"
    for name in ("XLA_FLAGS", "PJRT_NPROC", "ONEDNN_MAX_CPU_ISA", "OMP_NUM_THREADS", "MKL_CBWR"):
        assert seen.get(name) == native.get(name)
    # XLA knows nothing of the quota of a container.
    assert seen["NPROC"] == native.get("NPROC", str(usable_cores()))


def test_the_data_child_computes_as_its_parent() -> None:
    environment = start_child.environment(2)
    assert numerics.in_force(environment) == numerics.in_force(os.environ) == NUMERICS


@needs_avx2
def test_xlas_threads_are_as_many_as_the_run_says() -> None:
    """Whatever the machine and its environment have."""
    code = (
        "import sys\nfrom benchmark.process import numerics\nnumerics.enforce('portable', 3)\n"
        "import jax, os\njax.numpy.ones(3).sum().block_until_ready()\n"
        "print([open(f'/proc/self/task/{t}/comm').read().strip() for t in os.listdir('/proc/self/task')])"
    )
    names = json.loads(python(code, NPROC="7").stdout.replace("'", '"'))
    # The pool in which XLA runs a program's parts.
    assert sum("tf_XLAEigen" in name for name in names) == 3, names
