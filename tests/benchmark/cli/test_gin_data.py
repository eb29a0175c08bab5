"""Gin texts of records, read as data: the same runs as gin builds, and one line for everything else."""

import builtins
import importlib.util  # noqa: F401  gin 0.5.0 uses it without importing it.
import json
import os
import pprint
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import gin
import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.cli.gin_data import MAX_CHARACTERS, MAX_STRING, read_gin_text
from benchmark.cli.gin_loader import load
from benchmark.cli.gin_statements import GinError
from benchmark.config import RunConfig, fingerprint
from benchmark.config.losses import LOSSES
from tasks.system.repository import REPOSITORY
from tests.benchmark.cli.test_gin_loader import BAD_LINES, RUN

FILES = [
    *(REPOSITORY / "gin").glob("*.gin"),
    *(REPOSITORY / "gin" / "tracks").glob("*.gin"),
    REPOSITORY / "tests" / "e2e" / "tiny.gin",
]
FILES += [REPOSITORY / "gin" / "search" / "flash_table.gin"]
RECORDS = sorted((REPOSITORY / "tests" / "data" / "quickstart").glob("*.json"))


def built_by_gin(text: str) -> RunConfig:
    """What gin itself makes of a text, which has to be one of ours: an answer that none of our code took part in."""
    gin.clear_config()
    try:
        gin.parse_config(text)
        run = gin.get_configurable("RunConfig")()
    finally:
        gin.clear_config()
    assert isinstance(run, RunConfig)
    return run


def assert_same_run(text: str, run: RunConfig) -> None:
    """Our reader and gin make the same run of a text."""
    read = read_gin_text(text, "record")
    assert type(read) is RunConfig
    assert read == run == built_by_gin(text)
    assert fingerprint(read) == fingerprint(run)


def refused(text: str) -> str:
    began = time.process_time()
    with pytest.raises(GinError) as caught:
        read_gin_text(text, "record")
    message = str(caught.value)
    assert message.startswith("record:")
    assert message.isprintable()
    assert len(message) <= 1000
    assert time.process_time() - began < 10
    return message


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("plain") / "run.gin"
    path.write_text(RUN)
    return load([str(path)]).text


@pytest.mark.parametrize("path", sorted(FILES), ids=lambda p: p.relative_to(REPOSITORY).as_posix())
@pytest.mark.parametrize("bindings", [(), ("RunConfig.seed=7", "OptimizerConfig.epsilon=1e-9")], ids=["", "overrides"])
def test_every_run_of_the_repository(path: Path, bindings: tuple[str, ...]) -> None:
    loaded = load([str(path)], bindings)
    assert_same_run(loaded.text, loaded.config)


def test_a_search_space_added_to_a_run() -> None:
    for name in ("mobilebert_576", "mobilebert_large", "mobilebert_layers"):
        loaded = load(["gin/tracks/paper.gin", f"gin/search/{name}.gin"])
        assert_same_run(loaded.text, loaded.config)


def test_there_are_records() -> None:
    assert len(RECORDS) == 6


@pytest.mark.parametrize("path", RECORDS, ids=lambda p: p.name)
def test_the_text_of_every_record(path: Path) -> None:
    text = json.loads(path.read_text(encoding="utf-8"))["provenance"]["gin_text"]
    assert_same_run(text, built_by_gin(text))


NAMES = ("", "teacher/", "deep/", "wide/", "transfer/", "finetune/", "ENCODER/", "a/b/", "a/", "a/b/c/")
SCOPES = st.sampled_from(NAMES)
TEXT = st.text(max_size=300) | st.text(alphabet="ab \\'\"é\n\t%@#,()", max_size=300)
FLOATS = st.floats(min_value=0, max_value=1, allow_nan=False)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "EncoderConfig.num_hidden_layers": st.integers(1, 10**30),
    "EncoderConfig.layer_norm_eps": FLOATS | st.integers(0, 10**18),
    "EncoderConfig.trigram_input": st.booleans(),
    "EncoderConfig.hidden_act": st.sampled_from(["relu", "gelu", "sigmoid"]),
    "OptimizerConfig.learning_rate": FLOATS,
    "OptimizerConfig.warmup_fraction": FLOATS,
    "PhaseConfig.weights": st.dictionaries(st.sampled_from(list(LOSSES)), FLOATS, min_size=1),
    "BaselineConfig.title": TEXT,
    "DataConfig.directory": TEXT,
    "DataConfig.pretrain_corpora": st.lists(TEXT, min_size=1, max_size=1) | st.tuples(TEXT),
    "LatencyConfig.reference_name": TEXT,
    "LatencyConfig.sequence_lengths": st.lists(st.integers(2, 512), min_size=1, max_size=60, unique=True),
    "FinetuneConfig.seeds": st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=40, unique=True).map(tuple),
    "SearchConfig.storage_url": TEXT,
}
OBJECTS = [
    ("LatencyConfig.reference", "EncoderConfig"),
    ("TeacherConfig.encoder", "EncoderConfig"),
    ("BaselineConfig.encoder", "EncoderConfig"),
    ("PretrainConfig.optimizer", "OptimizerConfig"),
    ("PhaseConfig.optimizer", "OptimizerConfig"),
]


# A statement that a later one replaces counts as used with all that it refers to, so nothing is refused as unused.
CLASSES = sorted({name.partition(".")[0] for name in [*VALUES, *(field for field, _ in OBJECTS)]})
USED = f"RunConfig.trainer = [{', '.join(f'@{scope}{name}()' for scope in NAMES for name in CLASSES)}]\n"


@st.composite
def changes(draw: st.DrawFn) -> str:
    """Statements about scopes, macros and literals; most sets of them make sense together."""
    lines = []
    for number in range(draw(st.integers(1, 5))):
        scope = draw(SCOPES)
        field = draw(st.sampled_from(sorted(VALUES)))
        value = pprint.pformat(draw(VALUES[field]))
        if draw(st.booleans()):
            lines.append(f"M{number} = \\\n  {value}\nRunConfig.trainer = %M{number}")
            value = f"%M{number}"
        lines.append(f"{scope}{field} = ({value})")
    for number in range(draw(st.integers(0, 3))):
        field, name = draw(st.sampled_from(OBJECTS))
        value = f"@{draw(SCOPES)}{name}()"
        macro = draw(st.sampled_from(["", "ENCODER", f"a/N{number}"]))
        if macro:
            lines.append(f"{macro} = {value}\nRunConfig.trainer = %{macro}")
            value = f"%{macro}"
        lines.append(f"{draw(SCOPES)}{field} = {value}")
    return "\n".join(lines) + "\n"


@given(added=changes())
@hypothesis.settings(max_examples=50, deadline=None)
def test_any_run_is_read_as_gin_builds_it(added: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.gin"
    path.write_text(RUN + USED + added + "RunConfig.trainer = @TrainerConfig()\n", encoding="utf-8", newline="\n")
    try:
        loaded = load([str(path)])
    except GinError:
        hypothesis.reject()
    assert_same_run(loaded.text, loaded.config)


@given(
    at=st.integers(0, 10**4),
    cut=st.integers(0, 12),
    added=st.text(alphabet="\n \t'\"()[]{}@%/.=:#,\\$-1eaZé\0", max_size=6)
    | st.sampled_from(["%SEED", "@DataConfig()", "{1: 2}", "1e400", "(((1)))", "\\\n"]),
)
@hypothesis.settings(max_examples=200, deadline=None)
def test_any_damage_gives_a_run_or_one_line(at: int, cut: int, added: str, plain: str) -> None:
    at %= len(plain)
    text = plain[:at] + added + plain[at + cut :]
    try:
        run = read_gin_text(text, "record")
    except GinError as error:
        assert str(error).isprintable()
        assert str(error).startswith("record:")
    else:
        # gin knows blocks, and what comes before a run is checked: no more than that may differ.
        assert run == built_by_gin(text)


def test_what_gin_writes_in_several_lines() -> None:
    text = load(["gin/quickstart.gin"], [f"LatencyConfig.reference_name={'word ' * 100!r}"]).text
    assert " = \\\n    (" in text
    assert read_gin_text(text, "record").latency.reference_name == "word " * 100


def test_comments_spaces_and_numbers(plain: str) -> None:
    changed = plain.replace("SEED = 3", "# One\n\n  SEED\t=   3  # three")
    assert changed != plain
    changed += "DataConfig.microworld_scale = \\\n  5.e-1  # half\nDataConfig.tasks = [ # one\n\n'glue_' 'cola_v1',\n]"
    assert_same_run(changed, read_gin_text(changed, "record"))
    data = read_gin_text(changed, "record").data
    assert (data.microworld_scale, data.tasks) == (0.5, ("glue_cola_v1",))


# What is added to the text of a run, and what the message has to say.
HOSTILE = [
    ("import os", "no import"),
    ("import os.path\nos.system.command = 'touch X'", "no import"),
    ("from os import system", "no from"),
    ("from __gin__ import dynamic_registration", "no from"),
    ("include 'gin/quickstart.gin'", "no include"),
    ("include '/etc/passwd'", "no include"),
    ("RunConfig:\n    seed = 1", "expected '='"),
    ("os.system.command = 'ls'", "unknown class 'os.system'"),
    ("RunConfig.parallel_systems = @os.system()", "unknown class 'os.system'"),
    ("RunConfig.parallel_systems = @os.system", "unknown class 'os.system'"),
    ("RunConfig.parallel_systems = @os.system('ls')", "expected ')'"),
    ("RunConfig.trainer = @TrainerConfig", "accepted: @TrainerConfig()"),
    ("RunConfig.parallel_systems = @gin.singleton()", "unknown class 'gin.singleton'"),
    ("x/gin.singleton.constructor = @TrainerConfig()", "unknown class 'gin.singleton'"),
    ("gin.macro.value = 3", "unknown class 'gin.macro'"),
    ("RunConfig.parallel_systems = %gin.REQUIRED", "is required"),
    ("RunConfig.__class__ = 1", "no field '__class__'"),
    ("RunConfig.parallel_systems = __import__('os')", "neither a number nor a known word"),
    ("RunConfig.parallel_systems = open('X', 'w')", "neither a number nor a known word"),
    ("RunConfig.parallel_systems = f'{1}'", "neither a number nor a known word"),
    ("RunConfig.parallel_systems = b'1'", "neither a number nor a known word"),
    ("RunConfig.parallel_systems = lambda: 1", "neither a number nor a known word"),
    ("RunConfig.parallel_systems = (x := 1)", "neither a number nor a known word"),
    ("RunConfig.parallel_systems := 1", "expected '='"),
    ("RunConfig.parallel_systems = [1 for x in (1,)]", "expected ','"),
    ("RunConfig.parallel_systems = 1 if True else 2", "expected the end of the line"),
    ("RunConfig.parallel_systems = 1 + 1", "unexpected '+'"),
    ("RunConfig.parallel_systems = 2**9**9", "unexpected '*'"),
    ("RunConfig.parallel_systems = (1).real", "unexpected '.'"),
    ("RunConfig.parallel_systems = 0x10", "unexpected '0'"),
    ("RunConfig.parallel_systems = 1j", "unexpected '1'"),
    ("RunConfig.parallel_systems = 007", "unexpected '0'"),
    ("RunConfig.parallel_systems = 1; import os", "unexpected ';'"),
    ("RunConfig.parallel_systems = {1, 2}", "expected ':'"),
    ("RunConfig.parallel_systems = {[1]: 2}", "unhashable"),
    ("RunConfig.parallel_systems = {'a': %SEED}", "expected int >= 1"),
    ("RunConfig.parallel_systems = (,)", "expected a value"),
    ("RunConfig.parallel_systems = (1,", "expected a value"),
    ("RunConfig.parallel_systems = 1)", "expected the end of the line"),
    ("RunConfig.parallel_systems = '", 'unexpected "\'"'),
    ("RunConfig.parallel_systems = '\\x'", "truncated"),
    ("RunConfig.parallel_systems =", "not the end of the line"),
    ("RunConfig.parallel_systems", "expected '='"),
    ("= 1", "expected a name"),
    ("a.b/EncoderConfig.hidden_size = 256", "without dots"),
    ("ChipConfig.peak_flops = NaN", "neither a number nor a known word"),
    ("ChipConfig.peak_flops = inf", "neither a number nor a known word"),
    ("ChipConfig.peak_flops = Infinity", "neither a number nor a known word"),
    ("ChipConfig.peak_flops = 1e999", "expected a finite number"),
    ("ChipConfig.peak_flops = -1e999", "expected a finite number"),
    ("ChipConfig.peak_flops = " + "9" * 399, "at most 1000 bits"),
    ("ChipConfig.peak_flops = " + "9" * 10_000, "a number of more than 400 characters"),
    ("ChipConfig.name = '" + "x" * (MAX_STRING + 1) + "'", "a string of more than"),
    ("ChipConfig.name = " + "'x' " * (MAX_STRING + 1), "a string of more than"),
    ("ChipConfig.name = '" + "x" * 100_000 + "'", "a string of more than"),
    ("x" * 1000 + " = 1", "a name of more than"),
    ("RunConfig.parallel_systems = " + "[" * 10_000 + "]" * 10_000, "brackets inside one another"),
    ("RunConfig.parallel_systems = " + "(" * 10_000, "brackets inside one another"),
    ("RunConfig.parallel_systems = " + "{1: " * 10_000, "brackets inside one another"),
    ("SEED = 4", "given before, at record:2"),
    ("RunConfig.parallel_systems = 1\nRunConfig.parallel_systems = 1", "given before, at record:"),
    ("UNUSED = 4", "unused macro"),
    ("a/EncoderConfig.hidden_size = 256", "unused"),
    ("ChipConfig.name = 'a\0b'", "'\\x00'"),
    ("ChipConfig.name = 'a\x1b[2Jb'", "'\\x1b'"),
    ("ChipConfig.name = 'a'\r", "'\\r'"),
    ("ChipConfig.name = 'a\u202eb'", "'\\u202e'"),
    ("ChipConfig.name = 'ab' # \u2066", "'\\u2066'"),
    ("ChipConfig.name\u2028 = 'ab'", "'\\u2028'"),
    ("Chi\u200bpConfig.name = 'ab'", "'\\u200b'"),
    ("\ufeffChipConfig.name = 'ab'", "'\\ufeff'"),
    ("\u0421hipConfig.name = 'ab'", "unexpected"),
    ("SearchSpace.conditions = ('" + "1+" * 2000 + "1 < 2',)", "SearchSpace"),
    ("SearchSpace.conditions = ('__import__(0) < 2',)", "a relation such as"),
]


@pytest.mark.parametrize(("added", "part"), HOSTILE, ids=[ascii(h[0][:50]) for h in HOSTILE])
def test_hostile_statements_are_refused(
    added: str, part: str, plain: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def never(*args: object, **keywords: object) -> None:
        raise AssertionError("something was executed or opened")

    def evaluate(code: object, *rest: Any, evaluate: Any = eval) -> Any:
        # Python evaluates the annotations of our own classes, which were compiled before.
        assert isinstance(code, types.CodeType)
        return evaluate(code, *rest)

    monkeypatch.setattr(builtins, "eval", evaluate)
    for owner, name in (
        (builtins, "exec"),
        (builtins, "open"),
        (os, "system"),
        (gin, "parse_config"),
    ):
        monkeypatch.setattr(owner, name, never)
    modules = set(sys.modules)
    assert part in refused(plain + added)
    assert part in refused(plain + added + "\n")
    assert set(sys.modules) == modules
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("added", "line", "parts"), BAD_LINES, ids=[b[0][:40] for b in BAD_LINES])
def test_mistakes_that_files_have_are_refused(added: str, line: int, parts: list[str], plain: str) -> None:
    message = refused(plain + added + "\n")
    # A text has each key once, and no statements but bindings: what a file may hold is refused for that already.
    stricter = "given before, at record:" in message or ": syntax error: " in message
    assert stricter or all(part in message for part in parts), message


def test_messages_are_those_of_a_file(plain: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for old, new in [
        ("SEED = 3", "SEED = -3"),
        ("hidden_size = %HIDDEN", "hiden_size = %HIDDEN"),
        ("RunConfig.seed = %SEED", "RunConfig.seed = %SED"),
        ("RunConfig.data = @DataConfig()\n", ""),
        ("RunConfig.track = 'test'", "RunConfig.track = 'Test'"),
        ("RunConfig.track = 'test'", "RunConfig.track = test"),
        ("deep/EncoderConfig.num_hidden_layers = 4", "deep/EncoderConfig.num_attention_heads = 3"),
        ("RunConfig.data = @DataConfig()", "RunConfig.data = @DataConfig()\nDataConfig.tasks = ('glue_sst3_v1',)"),
    ]:
        changed = plain.replace(old, new)
        assert changed != plain
        Path("record").write_text(changed)
        with pytest.raises(GinError) as caught:
            load(["record"])
        assert refused(changed) == str(caught.value)


def doubled(last: str, times: int = 60) -> str:
    lines = [f"M{i} = (%M{i + 1}, %M{i + 1})" for i in range(times)]
    return "\n".join([*lines, f"M{times} = {last}", "FinetuneConfig.seeds = %M0"])


@pytest.mark.parametrize("last", ["1", "()", "'x'", "@EncoderConfig()"])
def test_macros_that_double_are_refused(last: str, plain: str) -> None:
    assert "expected at most" in refused(plain + doubled(last, times=20))
    assert "expected at most" in refused(plain + doubled(last, times=60))


def test_chains_of_macros_and_objects_are_refused(plain: str) -> None:
    chain = "".join(f"M{i} = %M{i + 1}\n" for i in range(5000)) + "M5000 = 1\nRunConfig.parallel_systems = %M0\n"
    assert "inside one another" in refused(plain + chain)
    nested = (
        "".join(f"M{i} = {'[' * 30}%M{i + 1}{']' * 30}\n" for i in range(40)) + "M40 = 1\nRunConfig.trainer = %M0\n"
    )
    assert "inside one another" in refused(plain + nested)
    objects = "".join(f"s{i}/LatencyConfig.reference = @s{i + 1}/LatencyConfig()\n" for i in range(3000))
    rest = objects + "s3000/LatencyConfig.reference = 1\nRunConfig.trainer = @s0/LatencyConfig()\n"
    assert "inside one another" in refused(plain + rest)


def test_long_texts_take_seconds_at_most(plain: str) -> None:
    def filled(start: str, item: str, end: str) -> str:
        return plain + start + item * ((MAX_CHARACTERS - len(plain) - len(start) - len(end)) // len(item)) + end

    refused("#" * (MAX_CHARACTERS + 1))
    for start, item, end in [
        ("RunConfig.trainer = (", "(),", ")"),
        ("RunConfig.trainer = (", "1,", ")"),
        ("RunConfig.trainer = (", "%SEED,", ")"),
        ("RunConfig.trainer = (", "@EncoderConfig(),", ")"),
        ("RunConfig.trainer = (", "%SED,", ")"),
        ("RunConfig.trainer = ", "1", ""),
        ("RunConfig.trainer = ", "a.", ""),
        ("RunConfig.trainer = ", "a/", ""),
        ("RunConfig.trainer = '", "\\", ""),
        ("RunConfig.trainer = '", "\\a", ""),
        ("RunConfig.trainer =", " ", "?"),
        ("RunConfig.trainer =", "\\\n", "?"),
        ("", "\n", "?"),
    ]:
        refused(filled(start, item, end))
    many = "".join(f"N{i} = {i}\n" for i in range(15_000))
    assert "unused macro" in refused(plain + many)
    assert "undefined macro" in refused(plain + many + "RunConfig.trainer = (%N, %M)\n")
    scopes = "".join(f"@s{i}/BaselineConfig(), " for i in range(2000))
    shadowed = "".join(f"s{i}/BaselineConfig.encoder = %E\n" for i in range(2000))
    text = (
        f"E = 1\nBaselineConfig.encoder = ({'@EncoderConfig(),' * 2000})\n{shadowed}RunConfig.baselines = [{scopes}]\n"
    )
    dropped = ("RunConfig.baselines", "BaselineConfig.encoder", "    (@", "deep/", "wide/")
    kept = "".join(f"{line}\n" for line in plain.splitlines() if not line.startswith(dropped))
    assert "BaselineConfig.name is missing" in refused(kept + text)


def test_it_is_imported_fast_and_without_gin() -> None:
    code = (
        "import sys, time, benchmark.cli.gin_data\n"
        "from pathlib import Path\n"
        "print([m for m in ('gin', 'numpy', 'jax', 'pydantic') if m in sys.modules], time.process_time() < 1.0)"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, timeout=60
    )
    assert result.stdout.strip() == "[] True"
    assert result.stderr == ""
