"""The command line: flags, exit codes, one line on standard error, nothing written for bad input."""

import os
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest

import run_benchmark
from benchmark.cli.command_line import parse_flags
from benchmark.cli.gin_loader import load
from benchmark.config import STAGES, ConfigError, fingerprint
from tasks.system.errors import BAD_INPUT, FAILED, INTERRUPTED, InputError
from tasks.system.repository import REPOSITORY
from tests.benchmark.cli.test_gin_loader import RUN
from tests.conftest import NUMERICS_FLAG

# As deep as the students of the default space, of one vocabulary, and a chip with figures, so that the run could start.
DEEP_TEACHER = """
DataConfig.vocabulary_size = 30522
EncoderConfig.num_hidden_layers = 24
ChipConfig.peak_flops = 1e12
ChipConfig.memory_bandwidth = 1e11
"""
HEAVY = ("jax", "flax", "tensorflow", "torch", "seqio", "t5", "ax", "pandas", "transformers", "orbax")


def call(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    script = [sys.executable, str(REPOSITORY / "run_benchmark.py"), *words]
    return subprocess.run(script, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run.gin").write_text(RUN.replace("\nEncoderConfig.num_hidden_layers = 2\n", DEEP_TEACHER))
    return tmp_path


def test_help_is_quick_and_complete(folder: Path) -> None:
    start = time.process_time()
    result = call("--help", cwd=folder)
    assert result.returncode == 0
    for flag in ("--gin_file", "--gin.NAME", "--gin_search_paths", "--workdir", "--stages", "--dry_run", "examples:"):
        assert flag in result.stdout
    assert time.process_time() - start < 5


def test_dry_run_shows_tree_fingerprint_and_stages_and_writes_nothing(folder: Path) -> None:
    result = call("--gin_file=run.gin", "--gin.SEED=5", "--stages=latency,data", "--dry_run", cwd=folder)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "RunConfig"
    assert "  seed = 5" in lines
    assert "    encoder: EncoderConfig" in lines
    assert "  baselines[1]: BaselineConfig" in lines
    expected = fingerprint(load([str(folder / "run.gin")], ["SEED=5"]).config)
    place = lines.index(f"fingerprint: {expected}")
    assert lines[place + 1 : place + 3] == [f"workdir: {Path('runs/test')}", "stages: data, latency"]
    assert [line.partition(":")[0] for line in lines[place + 3 :]] == ["data", "data", *["machine"] * 3]
    assert [p.name for p in folder.iterdir()] == ["run.gin"]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ["--gin_file"]),
        (["--gin_file=none.gin"], ["none.gin", "no such file"]),
        (["--gin_file=run.gin", "--gin.SEED=-1"], ["--gin.SEED", "expected int >= 0"]),
        (["--gin_file=run.gin", "--gin.SED=1"], ["unused macro", "did you mean 'SEED'?"]),
        (["--gin_file=run.gin", "--gin.EncoderConfig.hidden_size='a b'"], ["expected int >= 1"]),
        (["--gin_file=run.gin", "--stages=data,serch"], ["'serch'", "did you mean 'search'?"]),
        (["--gin_file=run.gin", "--stages=,"], ["at least one"]),
        (["--gin_file=run.gin", "--work_dir=x"], ["'--work_dir=x'", "did you mean '--workdir'?"]),
        (["--gin_file=run.gin", "--gin_fil=x"], ["did you mean '--gin_file'?"]),
        (["--gin_file=run.gin", "extra"], ["unknown argument 'extra'"]),
        (["--gin_file"], ["--gin_file", "expected one argument"]),
        (["--gin_file=run.gin", "--cache_limit=20"], ["--cache_limit", "a number with its unit", "found '20'"]),
        (["--gin_file=run.gin", "--cache_dir=gs://b"], ["--cache_dir", "found the address 'gs://b'"]),
        (["--gin_file=run.gin", "--workdir=run.gin/deep"], ["run.gin is not a folder"]),
        (["--gin_file=run.gin", "--gin.PhaseConfig.weights={'hiden': 1.0}"], ["did you mean 'hidden'?"]),
        (["--gin_file=run.gin", "--gin.PhaseConfig.weights={'hiden': 1.0}", "--dry_run"], ["did you mean 'hidden'?"]),
        (["--gin_file=run.gin", "--gin.RunConfig.track='../up'"], ["RunConfig.track", "'../up'", "str matching"]),
        (
            ["--gin_file=run.gin", "--gin.DataConfig.max_query_length=93"],
            ["--gin.DataConfig.max_query_length", "93", "expected less than span_length - 3 = 93"],
        ),
        (
            ["--gin_file=run.gin", "--gin.DataConfig.pretrain_validation=''", "--gin.DataConfig.validation_rows=0"],
            ["--gin.DataConfig.validation_rows", "expected an integer >= 1", "pretrain_validation"],
        ),
        (["--gin_file=run.gin", "--gin.DataConfig.tasks=('glue_sst2',)"], ["did you mean glue_sst2_v1"]),
        (["--gin_file=run.gin", f"--workdir=new/{'a' * 300}"], ["--workdir=new/aaa", "cannot be written", "too long"]),
        (["--gin_file=run.gin", "--gin.SEED=2147483648"], ["--gin.SEED", "2147483648", "<= 2147483647"]),
        (
            ["--gin_file=run.gin", "--gin.SearchSpace.num_attention_heads=(7,)"],
            ["--gin.SearchSpace.num_attention_heads", "(7,)", "divisor"],
        ),
        (
            ["--gin_file=run.gin", "--gin.DataConfig.source='files'", "--gin.DataConfig.directory='/none'"],
            ["DataConfig.directory = '/none'", "the folder of the data"],
        ),
        (
            ["--gin_file=run.gin", "--gin.DataConfig.vocabulary='/none/v.txt'"],
            ["DataConfig.vocabulary", "'/none/v.txt'"],
        ),
    ],
)
@pytest.mark.parametrize("more", [[], ["--dry_run"]])
def test_bad_input_in_process(
    folder: Path,
    words: list[str],
    parts: list[str],
    more: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    assert run_benchmark.main([*more, *words]) == BAD_INPUT
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    for part in parts:
        assert part in err
    assert [p.name for p in folder.iterdir()] == ["run.gin"]


def test_all_rows_of_a_validation_file_may_be_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    words = ["--gin_file=run.gin", "--gin.DataConfig.validation_rows=0", "--stages=data", "--dry_run"]
    assert run_benchmark.main(words) == 0
    assert "    validation_rows = 0" in capsys.readouterr().out.splitlines()


def test_a_folder_in_an_unset_variable_is_found_before_anything_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("NO_SUCH_DATA", raising=False)
    words = ["--gin_file=run.gin", "--gin.DataConfig.source='files'", "--gin.DataConfig.directory='$NO_SUCH_DATA'"]
    # Shapes and settings can be looked at on a machine without the data.
    assert run_benchmark.main([*words, "--stages=data", "--dry_run"]) == 0
    capsys.readouterr()
    assert run_benchmark.main(words) == BAD_INPUT
    error = (
        "error: DataConfig.directory = '$NO_SUCH_DATA': expected a folder; the environment variable NO_SUCH_DATA in it"
    )
    assert capsys.readouterr().err.strip() == f"{error} is not set"
    # Empty, the folder would be the current one.
    monkeypatch.setenv("NO_SUCH_DATA", "")
    assert run_benchmark.main(words) == BAD_INPUT
    assert capsys.readouterr().err.strip() == f"{error} is empty"
    assert [p.name for p in folder.iterdir()] == ["run.gin"]


def test_arrays_of_another_machine_need_no_folder_of_the_data(
    folder: Path, pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    words = ["--gin_file=run.gin", "--gin.DataConfig.source='files'", "--gin.DataConfig.directory='/none'"]
    words += ["--workdir=out", NUMERICS_FLAG]
    (folder / "out").mkdir()
    assert run_benchmark.main(words) == BAD_INPUT
    (folder / "out" / "data").mkdir()
    (folder / "out" / "data" / "data.json").write_text("{}")
    assert run_benchmark.main(words) == 0
    assert len(pipeline.calls) == 1


def test_a_folder_without_permission_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    # Root may write everywhere, so the answer is made up.
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    assert run_benchmark.main(["--gin_file=run.gin", "--workdir=out"]) == BAD_INPUT
    error = capsys.readouterr().err
    assert error == "error: --workdir=out: cannot be written: no permission in .; choose another folder\n"
    assert run_benchmark.main(["--gin_file=run.gin", "--workdir=out", "--stages=data", "--dry_run"]) == 0


@pytest.mark.parametrize("words", [["--gin_file=none.gin"], ["--gin_file=run.gin", "--gin.SEED='x'"], ["--stage=a"]])
def test_bad_input_from_the_shell(folder: Path, words: list[str]) -> None:
    result = call(*words, "--workdir=out", cwd=folder)
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert [p.name for p in folder.iterdir()] == ["run.gin"]


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A stand-in for benchmark.pipeline.runner that notes how it was called."""
    module = types.ModuleType("benchmark.pipeline.runner")
    module.calls = []  # type: ignore[attr-defined]
    module.outcome = 0  # type: ignore[attr-defined]

    class RunError(InputError):
        pass

    module.caches = []  # type: ignore[attr-defined]

    def run(request: Any, stages: tuple[str, ...], *, publish: Any) -> int:
        module.caches.append(request.cache)
        module.calls.append((request.config, request.workdir, stages, request.gin_text, request.command))
        if isinstance(module.outcome, BaseException):
            raise module.outcome
        return module.outcome

    module.RunError, module.run = RunError, run  # type: ignore[attr-defined]
    import benchmark.pipeline

    monkeypatch.setitem(sys.modules, "benchmark.pipeline.runner", module)
    monkeypatch.setattr(benchmark.pipeline, "runner", module, raising=False)
    return module


def test_pipeline_gets_what_was_asked_for(
    folder: Path, pipeline: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    words = ["--gin_file=run.gin", "--gin.RunConfig.track='two_words'", "--workdir=out", "--stages=search,data"]
    words.append(NUMERICS_FLAG)
    assert run_benchmark.main(words) == 0
    ((config, workdir, stages, gin_text, command),) = pipeline.calls
    assert (config.track, workdir, stages) == ("two_words", Path("out"), ("data", "search"))
    assert "RunConfig.track = 'two_words'" in gin_text
    assert command.startswith("python run_benchmark.py --gin_file=run.gin '--gin.RunConfig.track=")
    assert "page:" not in capsys.readouterr().out


def test_the_cache_of_a_run(
    folder: Path, pipeline: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    words = ["--gin_file=run.gin", "--workdir=out", NUMERICS_FLAG]
    monkeypatch.setenv("AUTODISTILL_CACHE", str(folder / "mine"))
    for flags in ([], ["--cache_dir=other", "--cache_limit=1GB"], ["--cache_dir=none"], ["--cache_dir="]):
        assert run_benchmark.main([*words, *flags]) == 0
    first, second, *others = pipeline.caches
    assert (first.folder, first.limit) == (folder / "mine", 20 * 10**9)
    assert (second.folder, second.limit) == (folder / "other", 10**9)
    assert others == [None, None]
    assert first.code.keys() == {"benchmark", "tasks"} and "jax" in first.versions
    capsys.readouterr()
    # A cache is a help: without it the run goes on, unless somebody asked for this one.
    (folder / "file").touch()
    monkeypatch.setenv("AUTODISTILL_CACHE", str(folder / "file"))
    assert run_benchmark.main(words) == 0
    assert pipeline.caches[-1] is None
    note = f"cache: {folder / 'file'} cannot be used (File exists); going on without it\n"
    assert note in capsys.readouterr().out
    assert run_benchmark.main([*words, "--cache_dir=file"]) == BAD_INPUT
    error = capsys.readouterr().err
    assert error.startswith("error: --cache_dir=file: cannot be used: ") and error.count("\n") == 1
    assert len(pipeline.caches) == 5


def test_stages_without_shared_results_and_dry_runs_open_no_cache(
    folder: Path, pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    words = ["--gin_file=run.gin", "--cache_dir=cache", NUMERICS_FLAG]
    assert run_benchmark.main([*words, "--stages=latency,record"]) == 0
    assert run_benchmark.main([*words, "--stages=data", "--dry_run"]) == 0
    assert pipeline.caches == [None] and not (folder / "cache").exists()


def test_exit_codes_of_the_pipeline(
    folder: Path, pipeline: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tasks.system.errors import DataError

    monkeypatch.chdir(folder)
    words = ["--gin_file=run.gin", "--stages=data", NUMERICS_FLAG]
    for error in (pipeline.RunError("one\ntwo"), ConfigError("A.b", 1, "2"), DataError("no file")):
        pipeline.outcome = error
        assert run_benchmark.main(words) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    pipeline.outcome = 1
    assert run_benchmark.main(words) == 1
    pipeline.outcome = KeyboardInterrupt()
    assert run_benchmark.main(words) == 130
    assert "the same command continues: python run_benchmark.py --gin_file=run.gin" in capsys.readouterr().err
    pipeline.outcome = ValueError("a bug is shown with its traceback")
    with pytest.raises(ValueError, match="bug"):
        run_benchmark.main(words)


def test_publishing_alone_needs_no_pipeline(
    folder: Path, pipeline: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert run_benchmark.main(["--gin_file=run.gin", "--stages=publish"]) == 2
    results = Path("runs/test/results")
    assert capsys.readouterr().err == f"error: {results}: missing; run the stage 'record' first (--stages)\n"
    assert [p.name for p in folder.iterdir()] == ["run.gin"]
    assert pipeline.calls == []
    (folder / "out").mkdir()
    (folder / "out" / "site").write_text("")
    assert run_benchmark.main(["--gin_file=run.gin", "--stages=publish", "--workdir=out"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {Path('out/site')}: not a folder")


def test_default_is_every_stage() -> None:
    flags, bindings = parse_flags(run_benchmark.make_parser(), ["--gin.A=1", "--gin_file=x", "--gin.B.c=' --d'"])
    assert run_benchmark.parse_stages(flags.stages) == STAGES
    assert bindings == ["A=1", "B.c=' --d'"]


@pytest.mark.parametrize(
    "module", ["run_benchmark", "benchmark.cli.gin_loader", "benchmark.records.manifest", "benchmark.records.record"]
)
def test_front_end_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(sorted(set(sys.modules) & set({HEAVY!r})))"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, timeout=120
    )
    assert result.stdout.strip() == "[]"


def test_more_devices_than_there_are_are_refused_before_the_data_are_made(folder: Path) -> None:
    mesh = (
        "--gin.RunConfig.trainer=@TrainerConfig()",
        "--gin.TrainerConfig.mesh=@MeshConfig()",
        "--gin.MeshConfig.data=64",
    )
    done = call("--gin_file=run.gin", "--workdir=out", NUMERICS_FLAG, *mesh, cwd=folder)
    assert done.returncode == FAILED
    assert done.stderr.splitlines()[-1].startswith(
        "error: MeshConfig.data = 64, MeshConfig.model = 1: expected at most "
    )
    assert not (folder / "out" / "data").exists()


def test_an_interrupted_command_does_not_wait_for_its_threads() -> None:
    code = (
        "import sys, threading, time\n"
        "from benchmark.training.distributed import leave\n"
        "threading.Thread(target=time.sleep, args=(300,)).start()\n"
        "print('done')\n"
        "leave(int(sys.argv[1]))\n"
    )
    command = [sys.executable, "-c", code, str(INTERRUPTED)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (INTERRUPTED, "done\n")
