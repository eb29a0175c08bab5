"""Gin files to configuration: what is built, and one line with the place for everything that is wrong."""

from pathlib import Path
from typing import Any

import gin
import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark import config
from benchmark.cli.gin_loader import GinError, gin_text, load, load_run_config
from benchmark.cli.gin_statements import CLASSES, Binding, Macro, Reference
from benchmark.config.losses import LOSSES
from tasks.system.repository import REPOSITORY

RUN = """\
# A complete run, as small as gin allows.
SEED = 3
HIDDEN = 128
RunConfig:
    track = 'test'
    seed = %SEED
    data = @DataConfig()
    teacher = @TeacherConfig()
    search = @SearchConfig()
    distill = @DistillConfig()
    finetune = @FinetuneConfig()
    latency = @LatencyConfig()
    baselines = (
        @wide/BaselineConfig(),
        @deep/BaselineConfig(),
    )
EncoderConfig.num_hidden_layers = 2
TeacherConfig.encoder = @teacher/EncoderConfig()
teacher/EncoderConfig.hidden_size = %HIDDEN
TeacherConfig.pretrain = @PretrainConfig()
PretrainConfig.optimizer = @OptimizerConfig()
SearchConfig.space = @SearchSpace()
SearchSpace.base = @EncoderConfig()
SearchConfig.chip = @ChipConfig()
DistillConfig.phases = (@transfer/PhaseConfig(), @PhaseConfig())
PhaseConfig.name = 'distillation'
PhaseConfig.steps = 10
PhaseConfig.weights = {'masked_lm': 1.0}
PhaseConfig.optimizer = @OptimizerConfig()
transfer/PhaseConfig.name = 'transfer'
transfer/PhaseConfig.weights = {'masked_lm': 1.0, 'hidden': 2.0}
FinetuneConfig.optimizer = @finetune/OptimizerConfig()
finetune/OptimizerConfig.learning_rate = 3e-5
LatencyConfig.reference = @EncoderConfig()
wide/BaselineConfig.name = 'wide'
deep/BaselineConfig.name = 'deep'
BaselineConfig.title = 'A baseline'
BaselineConfig.encoder = @EncoderConfig()
deep/EncoderConfig.num_hidden_layers = 4
"""


def line_of(start: str, text: str = RUN) -> int:
    return next(i for i, line in enumerate(text.splitlines(), 1) if line.strip().startswith(start))


@pytest.fixture
def run_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "run.gin"
    path.write_text(RUN)
    return path


def refused(files: list[str], bindings: tuple[str, ...] = (), search_paths: tuple[str, ...] = ()) -> str:
    with pytest.raises(GinError) as caught:
        load(files, bindings, search_paths)
    message = str(caught.value)
    assert message
    assert len(message.splitlines()) == 1
    return message


def test_scopes_macros_and_nesting(run_file: Path) -> None:
    run: Any = load_run_config(["run.gin"])
    assert type(run).__name__ == "RunConfig"
    assert type(run.teacher.encoder) is config.EncoderConfig
    assert (run.seed, run.teacher.encoder.hidden_size, run.teacher.encoder.num_hidden_layers) == (3, 128, 2)
    assert run.finetune.optimizer.learning_rate == 3e-5
    assert [phase.weights for phase in run.distill.phases] == [{"hidden": 2.0, "masked_lm": 1.0}, {"masked_lm": 1.0}]
    assert run.distill.phases[1].optimizer == config.OptimizerConfig()
    assert [(b.name, b.encoder.num_hidden_layers) for b in run.baselines] == [("wide", 2), ("deep", 4)]
    assert run.baselines[0].encoder == config.EncoderConfig(num_hidden_layers=2)


def test_weights_are_a_dictionary_that_may_hold_macros(run_file: Path) -> None:
    run_file.write_text(RUN + "HALF = 0.5\nPhaseConfig.weights = {\n  'hidden': %HALF,\n  'masked_lm': %SEED\n}\n")
    loaded: Any = load(["run.gin"])
    assert loaded.config.distill.phases[1].weights == {"hidden": 0.5, "masked_lm": 3.0}
    Path("again.gin").write_text(loaded.text)
    assert load(["again.gin"]) == loaded


def test_text_gives_the_same_run_without_noise(run_file: Path) -> None:
    loaded = load(["run.gin"], ["SEED=7", "RunConfig.baselines=()", f"LatencyConfig.reference_name={'x' * 200!r}"])
    Path("again.gin").write_text(loaded.text)
    assert load(["again.gin"]) == loaded
    assert "#" not in loaded.text
    assert "\n\n" not in loaded.text
    assert "SEED = 7\n" in loaded.text
    # What the override left without use is gone, or the text could not be loaded.
    assert "BaselineConfig" not in loaded.text
    assert gin_text(["again.gin"]) == loaded.text


def test_loading_leaves_no_state(run_file: Path) -> None:
    first = load(["run.gin"], ["SEED=1"])
    refused(["run.gin"], ("SEED='x'",))
    refused(["run.gin"], ("SEED=(",))
    assert gin.config_str() == ""
    assert config.EncoderConfig().num_hidden_layers == 24
    assert load(["run.gin"], ["SEED=1"]) == first


def test_a_byte_order_mark_is_no_part_of_a_file(run_file: Path) -> None:
    expected = load_run_config(["run.gin"])
    run_file.write_bytes(b"\xef\xbb\xbf" + run_file.read_bytes())
    (run_file.parent / "outer.gin").write_bytes(b"\xef\xbb\xbfinclude 'run.gin'\n")
    assert load_run_config(["run.gin"]) == load_run_config(["outer.gin"]) == expected


def test_later_files_and_overrides_win(run_file: Path) -> None:
    Path("change.gin").write_text("SEED = 5\nteacher/EncoderConfig.hidden_size = 256\n")
    assert load_run_config(["run.gin", "change.gin"]).seed == 5
    run: Any = load_run_config(["run.gin", "change.gin"], ["SEED=9", "OptimizerConfig.weight_decay=0.5"])
    assert (run.seed, run.teacher.encoder.hidden_size, run.finetune.optimizer.weight_decay) == (9, 256, 0.5)


def test_files_are_found_from_any_directory(run_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away = tmp_path / "away"
    away.mkdir()
    (tmp_path / "outer.gin").write_text("include 'run.gin'\nSEED = 4\n")
    monkeypatch.chdir(away)
    assert load_run_config([str(run_file)]).seed == 3
    assert load_run_config(["outer.gin"], search_paths=[str(tmp_path)]).seed == 4
    assert load_run_config(["outer.gin"], search_paths=[".."]).seed == 4
    message = refused(["outer.gin"])
    assert "no such file" in message
    assert str(away) in message


def test_names_that_are_no_files_and_folders_that_cannot_be_looked_at(run_file: Path, tmp_path: Path) -> None:
    assert refused([str(tmp_path)]) == f"--gin_file={tmp_path}: {tmp_path} is a folder; expected a file"
    assert refused(["/dev/null"]) == "--gin_file=/dev/null: /dev/null is no regular file; expected a file"
    assert "no such file" in refused(["none.gin"], search_paths=("a" * 300,))


def test_repository_files_are_found_from_any_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("benchmark.cli.gin_loader.REPOSITORY", tmp_path / "repository")
    (tmp_path / "repository" / "gin").mkdir(parents=True)
    (tmp_path / "repository" / "gin" / "quick.gin").write_text(RUN)
    assert load_run_config(["gin/quick.gin"]).track == "test"
    assert "did you mean 'gin/quick.gin'?" in refused(["gin/qiuck.gin"])


def test_missing_and_unreadable_files(run_file: Path) -> None:
    assert "at least one gin file" in refused([])
    assert refused(["x" * 5000]).startswith("--gin_file=")
    Path("binary.gin").write_bytes(b"\xff\xfe")
    assert refused(["binary.gin"]).startswith("binary.gin: cannot be read")
    Path("outer.gin").write_text("\ninclude 'nothing.gin'\n")
    assert refused(["outer.gin"]).startswith("outer.gin:2: include 'nothing.gin': no such file")
    Path("self.gin").write_text("include 'other.gin'\n")
    Path("other.gin").write_text("SEED = 1\ninclude 'self.gin'\n")
    assert refused(["self.gin"]).startswith("other.gin:2: include 'self.gin': the file includes itself")


# What is added to RUN, the line of it that is to blame, what the message has to say.
BAD_LINES = [
    ("RunConfig.seed == 1", 1, ["syntax error", "accepted: Class.field = VALUE"]),
    ("RunConfig.track = micro", 1, ["syntax error", "'micro'", "a string needs quotes"]),
    ("RunConfig.seed = (1,\n", 1, ["syntax error"]),
    ("RunConfig.seed = {[1]: 2}", 1, ["syntax error"]),
    ("RunConfig:\n    seed = 1\n   track = 'x'", 3, ["syntax error"]),
    ("RunConfig.seed = " + "[" * 300 + "]" * 300, 1, []),
    ("import os", 1, ["imports are refused"]),
    ("from __gin__ import dynamic_registration", 1, ["imports are refused"]),
    ("EncodrConfig.hidden_size = 1", 1, ["unknown class 'EncodrConfig'", "did you mean 'EncoderConfig'?"]),
    ("EncodrConfig:\n    hidden_size = 1", 1, ["EncodrConfig", "did you mean 'EncoderConfig'?"]),
    ("RunConfig.data = @DataConf()", 1, ["unknown class 'DataConf'", "did you mean 'DataConfig'?"]),
    ("os.system.command = 'ls'", 1, ["unknown class 'os.system'"]),
    ("RunConfig.data = @os.getcwd()", 1, ["unknown class 'os.getcwd'"]),
    ("EncoderConfig.hiden_size = 1", 1, ["no field 'hiden_size'", "did you mean 'hidden_size'?"]),
    ("RunConfig = 3", 1, ["RunConfig is a class"]),
    ("RunConfig.data = @DataConfig", 1, ["accepted: @DataConfig()"]),
    ("RunConfig.seed = %SEDE", 1, ["undefined macro %SEDE", "did you mean 'SEED'?"]),
    ("RunConfig.seed = %gin.SEED", 1, ["undefined macro"]),
    ("SEDE = 1", 1, ["unused macro 'SEDE'", "did you mean 'SEED'?"]),
    ("\n\nteaher/EncoderConfig.hidden_size = 1", 3, ["unused", "did you mean 'teacher'?"]),
    ("x/RunConfig.seed = 1", 1, ["unused"]),
    ("SEED = %SEED", 1, ["contains itself"]),
    ("TeacherConfig.encoder = @other/TeacherConfig()", 1, ["contains itself"]),
    ("RunConfig.seed = -1", 1, ["RunConfig.seed = -1", "expected int >= 0"]),
    ("RunConfig.seed = 1e999", 1, ["finite"]),
    ("RunConfig.seed = None", 1, ["RunConfig.seed = None", "expected int >= 0"]),
    ("SEED = 'three'", 1, ["SEED = 'three' (for RunConfig.seed, run.gin:6)", "expected int >= 0"]),
    ("RunConfig.seed = %gin.REQUIRED", 1, ["RunConfig.seed is required", "--gin.RunConfig.seed=VALUE"]),
    ("SEED = %gin.REQUIRED", 1, ["SEED is required", "--gin.SEED=VALUE"]),
    ("LatencyConfig.reference = @deep/BaselineConfig()", 1, ["expected @EncoderConfig()"]),
    ("EncoderConfig.hidden_act = 'rellu'", 1, ["expected str in {relu, gelu, gelu_new}", "did you mean 'relu'?"]),
    ("deep/EncoderConfig.num_attention_heads = 3", 1, ["deep/EncoderConfig.num_attention_heads = 3", "a divisor"]),
    ("DataConfig.task_length = 1000", 1, ["at most max_position_embeddings = 512"]),
    ("DataConfig.tasks = ('glue_sst3_v1',)", 1, ["'glue_sst3_v1'", "glue_sst2_v1"]),
    ("PhaseConfig.weights = {'maskd_lm': 1.0}", 1, ["in {feature_map, feature_mean,", "did you mean 'masked_lm'?"]),
    ("transfer/PhaseConfig.weights = {'hidden': 1, 'x': 1}", 1, ["to float >= 0.0, without 'x'", "masked_lm, soft_"]),
    (
        "PhaseConfig.weights = {'hidden': -1.0}",
        1,
        ["PhaseConfig.weights['hidden'] = -1.0: expected a finite float >= 0.0"],
    ),
    ("PhaseConfig.weights = {'hidden': 1e999}", 1, ["finite"]),
    (
        "PhaseConfig.weights = {'hidden': '1'}",
        1,
        ["PhaseConfig.weights['hidden'] = '1': expected a finite float >= 0.0"],
    ),
    ("PhaseConfig.weights = {'hidden': {'hidden': 1}}", 1, ["PhaseConfig.weights['hidden'] = {'hidden': 1}: expected"]),
    (
        "PhaseConfig.weights = {%SEED: 1.0}",
        1,
        [
            "PhaseConfig.weights = {%SEED: 1.0}: expected a mapping from str in {",
            "without %SEED; a macro cannot be a key",
        ],
    ),
    (
        "PhaseConfig.weights = {'masked_lm': %W}\nW = -1.5",
        2,
        [f"W = -1.5 (for PhaseConfig.weights['masked_lm'], run.gin:{len(RUN.splitlines()) + 1}): expected a finite"],
    ),
    (
        "PhaseConfig.weights = %ALL\nALL = {'masked_lm': 1.0, 'hidden': -1.5}",
        2,
        ["ALL['hidden'] = -1.5 (for PhaseConfig.weights['hidden'], run.gin:", "expected a finite float >= 0.0"],
    ),
    ("PhaseConfig.weights = {'hidden': 1.0, 'hidden': 2.0}", 1, ["syntax error: the key 'hidden' is given twice"]),
    ("PhaseConfig.weights = {'hidden': [{1: 2}], 'x': {'hidden': 1}, 'x': 2}", 1, ["the key 'x' is given twice"]),
    ("PhaseConfig.foo_weight = 1.0", 1, ["PhaseConfig has no field 'foo_weight'"]),
    ("PhaseConfig.hidden_weight = 'x'", 1, ["accepted: PhaseConfig.weights = {'hidden': NUMBER, ...}"]),
    ("OptimizerConfig.weights_weight = 1.0", 1, ["OptimizerConfig has no field"]),
    ("PhaseConfig.weights = {1: 1.0}", 1, ["expected a mapping from str in {"]),
    ("PhaseConfig.weights = {'hidden': 0.0}", 1, ["expected a phase with a loss"]),
    (
        "PhaseConfig.hidden_weight = 2.0",
        1,
        ["replaced by PhaseConfig.weights; accepted: PhaseConfig.weights = {'hidden': 2.0, ...}"],
    ),
    ("SearchSpace.hidden_size = (2, 1)", 1, ["distinct values in rising order"]),
    ("wide/BaselineConfig.name = 'deep'", line_of("baselines") - len(RUN.splitlines()), ["distinct names"]),
    (
        "LatencyConfig.sequence_lengths = (32,)\nEncoderConfig.max_position_embeddings = 50",
        line_of("data =") - len(RUN.splitlines()),
        ["DataConfig.pretrain_length = 64 (the default)", "at most max_position_embeddings = 50"],
    ),
]


@pytest.mark.parametrize(("added", "line", "parts"), BAD_LINES, ids=[b[0][:40] for b in BAD_LINES])
def test_one_line_with_file_line_value_and_what_is_accepted(
    run_file: Path, added: str, line: int, parts: list[str]
) -> None:
    run_file.write_text(RUN + added + "\n")
    message = refused(["run.gin"])
    assert message.startswith(f"run.gin:{len(RUN.splitlines()) + line}: "), message
    for part in parts:
        assert part in message
    assert gin.config_str() == ""


@pytest.mark.parametrize(
    ("removed", "expected"),
    [
        ("track", "run.gin: RunConfig.track is missing: expected a value of type str"),
        ("latency", "run.gin: RunConfig.latency is missing: expected @LatencyConfig()"),
        (
            "wide/BaselineConfig.name",
            f"run.gin:{line_of('baselines')}: RunConfig.baselines = (@wide/BaselineConfig(), @deep/BaselineConfig()): "
            "wide/BaselineConfig.name is missing: expected a value of type str",
        ),
        (
            "SearchSpace.base",
            f"run.gin:{line_of('SearchConfig.space')}: SearchConfig.space = @SearchSpace(): "
            "SearchSpace.base is missing: expected @EncoderConfig()",
        ),
    ],
)
def test_missing_field_names_where_it_is_expected(run_file: Path, removed: str, expected: str) -> None:
    kept = [line for line in RUN.splitlines() if not line.strip().startswith(removed + " =")]
    run_file.write_text("\n".join(kept) + "\n")
    assert refused(["run.gin"]) == expected


@pytest.mark.parametrize(
    ("binding", "parts"),
    [
        ("SED=1", ["--gin.SED: ", "did you mean 'SEED'?"]),
        ("SEED=x", ["--gin.SEED: ", "syntax error", "a string needs quotes", "as in --gin.SEED=\"'x'\";"]),
        ("SEED=/a/b", ["--gin.SEED: ", "syntax error", "a string needs quotes", "as in --gin.SEED=\"'/a/b'\";"]),
        ("SEED", ["--gin.SEED: ", "syntax error"]),
        ("", ["--gin.: "]),
        ("SEED=-4", ["--gin.SEED: SEED = -4 (for RunConfig.seed, run.gin:6): expected int >= 0"]),
        ("PhaseConfig.weights=None", ["expected a mapping from str in {feature_map, "]),
        (
            f"PhaseConfig.weights={ {**dict.fromkeys(LOSSES, 100.0), 'attention': -1.0} }",
            ["--gin.PhaseConfig.weights: PhaseConfig.weights['attention'] = -1.0: expected a finite float >= 0.0"],
        ),
        ("SEED=1\nHIDDEN=2", ["expected exactly one binding"]),
        ("include 'run.gin'", ["expected exactly one binding"]),
        ("EncoderConfig.hiden_size=2", ["--gin.EncoderConfig.hiden_size: ", "did you mean 'hidden_size'?"]),
        ("teacher/EncoderConfig.hidden_size='a'", ["teacher/EncoderConfig.hidden_size = 'a': expected int >= 1"]),
    ],
)
def test_bad_override(run_file: Path, binding: str, parts: list[str]) -> None:
    message = refused(["run.gin"], (binding,))
    assert message.startswith("--gin.")
    for part in parts:
        assert part in message


@pytest.mark.parametrize("value", ["None", "{'masked_lm': True}", "'masked_lm'"])
def test_a_wrong_type_gets_no_hint_about_names(run_file: Path, value: str) -> None:
    assert "did you mean" not in refused(["run.gin"], (f"PhaseConfig.weights={value}",))


@pytest.mark.parametrize(
    ("bindings", "message"),
    [
        (
            ["PhaseConfig.name='x'"],
            "--gin.PhaseConfig.name: PhaseConfig.name = 'x': unused: every PhaseConfig that it could change has a "
            "value of its own; accepted: --gin.transfer/PhaseConfig.name=VALUE, --gin.PHASE/PhaseConfig.name=VALUE",
        ),
        (
            ["RunConfig.seed=1", "SEED=2"],
            "--gin.SEED: SEED = 2: unused: nothing that is left of the run refers to %SEED",
        ),
        (
            ["RunConfig.baselines=()", "wide/BaselineConfig.title='x'"],
            "--gin.wide/BaselineConfig.title: wide/BaselineConfig.title = 'x': unused: nothing that is left of the run "
            "refers to @wide/BaselineConfig()",
        ),
    ],
)
def test_an_override_that_decides_nothing_is_refused(run_file: Path, bindings: list[str], message: str) -> None:
    own = "DistillConfig.phases = (@transfer/PhaseConfig(), @PHASE/PhaseConfig())\nPHASE/PhaseConfig.name = 'own'\n"
    run_file.write_text(RUN + own)
    assert refused(["run.gin"], tuple(bindings)) == message
    # In a file it may be the default of objects that all replace it.
    run_file.write_text(RUN + own + "\n".join(bindings) + "\n")
    load(["run.gin"], ["PHASE/PhaseConfig.name='x'", "PHASE/PhaseConfig.name='y'"])


def test_required_macro_is_filled_by_an_override(run_file: Path) -> None:
    run_file.write_text(RUN.replace("SEED = 3", "SEED = %gin.REQUIRED"))
    assert refused(["run.gin"]).startswith("run.gin:2: SEED is required")
    assert load_run_config(["run.gin"], ["SEED=8"]).seed == 8


def test_a_reference_in_a_macro_is_built_in_the_scope_of_the_macro(run_file: Path) -> None:
    run_file.write_text(
        RUN.replace("TeacherConfig.encoder = @teacher/EncoderConfig()", "TEACHER = @EncoderConfig()")
        .replace("teacher/EncoderConfig.hidden_size", "TEACHER/EncoderConfig.hidden_size")
        .replace("TeacherConfig.pretrain", "TeacherConfig.encoder = %TEACHER\nTeacherConfig.pretrain")
    )
    run: Any = load_run_config(["run.gin"])
    assert run.teacher.encoder.hidden_size == 128


def test_every_configuration_class_is_known() -> None:
    assert {"RunConfig", "EncoderConfig", "OptimizerConfig", "SearchSpace"} <= set(CLASSES)
    assert not [name for name in CLASSES if name.startswith("_")]


LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=90),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner) | st.tuples(inner, inner),
    max_leaves=6,
)


@given(value=LITERALS)
def test_statements_survive_writing_and_reading(value: object) -> None:
    from benchmark.cli.gin_loader import _read_override

    binding = Binding("a/b", "RunConfig", "track", (value, Macro("M"), Reference("s", "DataConfig")), "--gin.x")
    (again,) = _read_override(binding.text)
    assert (again.key, again.value) == (binding.key, binding.value)


@given(
    at=st.integers(0, len(RUN)),
    cut=st.integers(0, 12),
    added=st.text(alphabet="\n \t'\"()[]{}@%/.=:#,\\$-1eaZé\0", max_size=6)
    | st.sampled_from(["%SEED", "@DataConfig()"]),
)
@hypothesis.settings(max_examples=300)
def test_any_damage_gives_a_run_or_one_line(
    at: int, cut: int, added: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.gin"
    path.write_text(RUN[:at] + added + RUN[at + cut :], encoding="utf-8")
    try:
        assert isinstance(load_run_config([str(path)]), config.RunConfig)
    except GinError as error:
        assert len(str(error).splitlines()) == 1
        assert str(error).startswith(str(path))
    assert gin.config_str() == ""


def test_a_huge_file_is_read_in_reasonable_time(run_file: Path) -> None:
    run_file.write_text(RUN + "".join(f"finetune/OptimizerConfig.learning_rate = {i}e-9\n" for i in range(1, 3000)))
    assert load_run_config(["run.gin"]).finetune.optimizer.learning_rate == 2999e-9


def test_the_package_gin_is_not_the_folder_gin() -> None:
    assert Path(gin.__file__).parent != REPOSITORY / "gin"
