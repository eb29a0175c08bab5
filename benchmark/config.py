"""Every setting of a run, as one tree of frozen dataclasses.

The tree is built by `benchmark.gin_loader` from gin files, and by tests directly. It imports the standard library
alone, so that the command line can refuse bad input before anything heavy is loaded. What the classes share, the checks
of types and limits above all, is in `benchmark.settings`.
"""

from __future__ import annotations

import dataclasses
import os
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmark.settings import Checked, ConfigError, canonical_json, fingerprint, setting, to_dict

if TYPE_CHECKING:
    from tasks.request import MaterializeRequest

__all__ = [
    "STAGES",
    "BaselineConfig",
    "ChipConfig",
    "ConfigError",
    "DataConfig",
    "DistillConfig",
    "EncoderConfig",
    "FinetuneConfig",
    "LatencyConfig",
    "OptimizerConfig",
    "PretrainConfig",
    "RunConfig",
    "SearchConfig",
    "SearchSpace",
    "TeacherConfig",
    "canonical_json",
    "encoder_from_dict",
    "fingerprint",
    "to_dict",
]

STAGES = ("data", "teacher", "search", "distill", "finetune", "latency", "record", "publish")

# A name that is part of file names and record ids; a record's system name allows no other characters.
NAME = r"[a-z0-9][a-z0-9_.-]{0,59}"


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(Checked):
    """Architecture of one encoder; the names are those of the Hugging Face BERT and MobileBERT configurations.

    `position_initializer` is where the trained position table starts: at random, as in BERT, or at sinusoids (arXiv
    1706.03762) times `initializer_range`, from which tiny models learn to attend by distance much sooner.
    `intra_bottleneck_size=None` gives a plain BERT layer, `type_vocab_size=0` an encoder without token types, as
    DistilBERT's. `pooler` is what a sequence head reads: the first token's state, or a dense map of it with tanh
    (BERT) or relu (DistilBERT). The defaults are MobileBERT's (arXiv 2004.02984, its released configuration).
    """

    vocab_size: int = setting(30522, at_least=8)
    embedding_size: int = setting(128, at_least=1)
    hidden_size: int = setting(512, at_least=1)
    num_hidden_layers: int = setting(24, at_least=1)
    num_attention_heads: int = setting(4, at_least=1)
    intra_bottleneck_size: int | None = setting(128, at_least=1)
    intermediate_size: int = setting(512, at_least=1)
    num_feedforward_networks: int = setting(4, at_least=1)
    hidden_act: str = setting("relu", choices=("relu", "gelu", "gelu_new"))
    normalization_type: str = setting("no_norm", choices=("layer_norm", "no_norm"))
    trigram_input: bool = setting(True)
    key_query_shared_bottleneck: bool = setting(True)
    use_bottleneck_attention: bool = setting(False)
    max_position_embeddings: int = setting(512, at_least=1)
    type_vocab_size: int = setting(2, at_least=0)
    layer_norm_eps: float = setting(1e-12, at_least=0.0)
    initializer_range: float = setting(0.02, at_least=0.0)
    position_initializer: str = setting("normal", choices=("normal", "sinusoidal"))
    pooler: str = setting("none", choices=("none", "tanh", "relu"))

    @property
    def intra_size(self) -> int:
        """Width inside a layer: the bottleneck's where there is one, else `hidden_size`."""
        return self.intra_bottleneck_size or self.hidden_size

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.intra_size // self.num_attention_heads

    def check(self) -> None:
        """Refuses widths that do not go together."""
        if self.intra_size % self.num_attention_heads:
            self.refuse("num_attention_heads", f"a divisor of the layer's inner width {self.intra_size}")
        if self.intra_bottleneck_size is None and self.num_feedforward_networks != 1:
            self.refuse("num_feedforward_networks", "1 in a layer without a bottleneck")
        if self.embedding_size > self.hidden_size:
            self.refuse("embedding_size", f"at most hidden_size = {self.hidden_size}")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Checked):
    """Optimiser and learning-rate schedule: linear warm-up, then linear decay to `end_factor` of the peak.

    No weight decay on biases and normalisation parameters, as in BERT and MobileBERT.
    """

    name: str = setting("adamw", choices=("adamw", "lamb"))
    learning_rate: float = setting(1e-3, at_least=0.0)
    warmup_fraction: float = setting(0.1, at_least=0.0, at_most=1.0)
    end_factor: float = setting(0.0, at_least=0.0, at_most=1.0)
    weight_decay: float = setting(0.01, at_least=0.0)
    clip_norm: float = setting(1.0, at_least=1e-6)
    beta1: float = setting(0.9, at_least=0.0, at_most=1.0)
    beta2: float = setting(0.999, at_least=0.0, at_most=1.0)
    epsilon: float = setting(1e-6, at_least=0.0)


@dataclass(frozen=True, kw_only=True)
class DataConfig(Checked):
    """Where text comes from and what token arrays are made of it.

    `directory` holds the files of the source (docs/data.md) and `pretrain/`, `vocab/`; environment variables in it are
    expanded when the run starts, so that the same settings have the same fingerprint on every machine. An entry of
    `pretrain_corpora` is a path below it, `hf:DIR` or `tfds:NAME`. `on_bad_row` says what happens to rows of task files
    that cannot be used: `error` stops, `skip` leaves them out, counts them and names the first few in the records.
    """

    source: str = setting("microworld", choices=("microworld", "files", "tfds", "hf"))
    directory: str = setting("")
    microworld_seed: int = setting(0, at_least=0)
    microworld_scale: float = setting(1.0, at_least=0.001, at_most=1.0)
    vocabulary: str = setting("train")
    vocabulary_size: int = setting(1024, at_least=64)
    pretrain_corpora: tuple[str, ...] = setting(("pretrain/microworld/corpus.wikiextractor.txt",))
    pretrain_rates: tuple[float, ...] = setting((1.0,), at_least=0.0)
    pretrain_validation: str = setting("pretrain/microworld/validation.wikiextractor.txt")
    pretrain_length: int = setting(64, at_least=8)
    pretrain_max_rows: int = setting(0, at_least=0)
    sentence_pairs: bool = setting(False)
    pretrain_seed: int = setting(0, at_least=0)
    validation_rows: int = setting(512, at_least=1)
    tasks: tuple[str, ...] = setting(("glue_sst2_v1",))
    task_length: int = setting(48, at_least=8)
    span_length: int = setting(96, at_least=16)
    span_stride: int = setting(32, at_least=1)
    max_query_length: int = setting(24, at_least=4)
    on_bad_row: str = setting("error", choices=("error", "skip"))

    def check(self) -> None:
        """Refuses missing or unequal lists, and files without a folder."""
        if len(self.pretrain_rates) != len(self.pretrain_corpora):
            self.refuse("pretrain_rates", f"one rate for each of the {len(self.pretrain_corpora)} pretrain_corpora")
        if self.source != "microworld" and not self.directory:
            self.refuse("directory", f"the folder of the data when source = '{self.source}'")
        if not self.tasks:
            self.refuse("tasks", "at least one task name")

    def request(self) -> MaterializeRequest:
        """What the data stage is asked for, with environment variables in `directory` expanded.

        Raises:
            ConfigError: `directory` names an environment variable that is not set.
        """
        from tasks.request import MaterializeRequest

        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["directory"] = os.path.expandvars(self.directory)
        if "$" in values["directory"]:
            self.refuse("directory", "a folder; the environment variable in it is not set")
        return MaterializeRequest(**values)


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(Checked):
    """Masked-LM training from scratch: dynamic masking, a fixed number of predictions for each sequence."""

    steps: int = setting(1000, at_least=1)
    batch_size: int = setting(32, at_least=1)
    mask_rate: float = setting(0.15, at_least=0.01, at_most=0.9)
    optimizer: OptimizerConfig = setting()
    checkpoint_every: int = setting(500, at_least=1)


@dataclass(frozen=True, kw_only=True)
class TeacherConfig(Checked):
    """The teacher: its architecture and its own pretraining."""

    encoder: EncoderConfig = setting()
    pretrain: PretrainConfig = setting()


@dataclass(frozen=True, kw_only=True)
class DistillConfig(Checked):
    """MobileBERT's recipe: progressive layer-wise transfer, then masked-LM distillation (arXiv 2004.02984).

    The weights are those of the released code; `layer_steps` counts for each layer, `distill_steps` for the second
    phase. `one_program` compiles both phases into one program, whose second phase computes transfer terms of weight 0:
    it pays where compiling takes longer than training, as in a search over tiny students.
    """

    recipe: str = setting("mobilebert", choices=("mobilebert",))
    layer_steps: int = setting(100, at_least=0)
    distill_steps: int = setting(500, at_least=1)
    batch_size: int = setting(32, at_least=1)
    mask_rate: float = setting(0.15, at_least=0.01, at_most=0.9)
    transfer_optimizer: OptimizerConfig = setting()
    distill_optimizer: OptimizerConfig = setting()
    feature_map_weight: float = setting(100.0, at_least=0.0)
    feature_mean_weight: float = setting(5000.0, at_least=0.0)
    feature_variance_weight: float = setting(5.0, at_least=0.0)
    attention_weight: float = setting(1.0, at_least=0.0)
    ground_truth_ratio: float = setting(0.5, at_least=0.0, at_most=1.0)
    copy_embeddings: bool = setting(True)
    one_program: bool = setting(False)
    checkpoint_every: int = setting(500, at_least=1)

    def check(self) -> None:
        """Refuses one program for two optimisers that differ."""
        schedule = ("learning_rate", "warmup_fraction", "end_factor")
        both = [
            {f.name: getattr(o, f.name) for f in dataclasses.fields(o) if f.name not in schedule}
            for o in (self.transfer_optimizer, self.distill_optimizer)
        ]
        if self.one_program and both[0] != both[1]:
            self.refuse(
                "one_program", "False where the optimisers of the two phases differ in more than their schedule"
            )

    def scaled(self, fraction: float) -> DistillConfig:
        """The same recipe with every phase `fraction` as long (at least one step): flash distillation."""
        shorter = {f: max(1, round(getattr(self, f) * fraction)) for f in ("layer_steps", "distill_steps")}
        if self.layer_steps == 0:
            shorter["layer_steps"] = 0
        return dataclasses.replace(self, **shorter)


@dataclass(frozen=True, kw_only=True)
class ChipConfig(Checked):
    """Figures of one chip for the roofline estimate; every shipped file under gin/hardware/ names their sources.

    `tile` is the granularity to which each axis of a matrix product is padded; `op_overhead_s` the fixed cost of one
    operation.
    """

    name: str = setting("cpu_2core")
    peak_flops: float = setting(1e11, at_least=1.0)
    memory_bandwidth: float = setting(1e10, at_least=1.0)
    on_chip_bytes: float = setting(0.0, at_least=0.0)
    on_chip_bandwidth: float = setting(1e11, at_least=1.0)
    tile: int = setting(1, at_least=1)
    op_overhead_s: float = setting(0.0, at_least=0.0)
    bytes_per_value: int = setting(4, at_least=1, at_most=8)


@dataclass(frozen=True, kw_only=True)
class SearchSpace(Checked):
    """The student architectures of a track: all valid combinations of the listed values around `base`."""

    base: EncoderConfig = setting()
    num_hidden_layers: tuple[int, ...] = setting((24,), at_least=1)
    hidden_size: tuple[int, ...] = setting((128, 256, 384, 512), at_least=1)
    intra_bottleneck_size: tuple[int, ...] = setting((64, 96, 128, 160), at_least=1)
    num_attention_heads: tuple[int, ...] = setting((1, 2, 4, 8), at_least=1)
    intermediate_size: tuple[int, ...] = setting((384, 512, 640), at_least=1)
    num_feedforward_networks: tuple[int, ...] = setting((2, 4, 6), at_least=1)

    FIELDS: typing.ClassVar[tuple[str, ...]] = (
        "num_hidden_layers",
        "hidden_size",
        "intra_bottleneck_size",
        "num_attention_heads",
        "intermediate_size",
        "num_feedforward_networks",
    )

    def check(self) -> None:
        """Refuses empty, repeated or unordered values."""
        for name in self.FIELDS:
            values = getattr(self, name)
            if not values or tuple(sorted(set(values))) != values:
                self.refuse(name, "distinct values in rising order")


@dataclass(frozen=True, kw_only=True)
class SearchConfig(Checked):
    """The multi-objective search: masked-LM accuracy up, latency down.

    `accuracy_threshold` (percent) and `latency_threshold_s` (seconds) are the reference point of the hypervolume; a
    student worse than either does not count. `flash_fraction` shortens the full distillation for each trial.
    `parallel_trials` are proposed and run together, in threads of one process.
    """

    space: SearchSpace = setting()
    algorithm: str = setting("ax", choices=("ax", "random"))
    num_trials: int = setting(8, at_least=1)
    num_initial_trials: int = setting(4, at_least=1)
    parallel_trials: int = setting(1, at_least=1)
    flash_fraction: float = setting(0.05, at_least=1e-4, at_most=1.0)
    accuracy_threshold: float = setting(0.0, at_least=0.0, at_most=100.0)
    latency_threshold_s: float = setting(1.0, at_least=0.0)
    max_parameters: int = setting(0, at_least=0)
    chip: ChipConfig = setting()
    batch_size: int = setting(1, at_least=1)
    sequence_length: int = setting(128, at_least=1)
    num_found: int = setting(1, at_least=1)


@dataclass(frozen=True, kw_only=True)
class BaselineConfig(Checked):
    """A baseline that goes through the same recipe, data and budget as the found students."""

    name: str = setting(pattern=NAME)
    title: str = setting()
    encoder: EncoderConfig = setting()


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(Checked):
    """Fine-tuning: one learning rate for all tasks, one run for each seed.

    `epochs` holds one number for all tasks, or one for each of `DataConfig.tasks` in their order; a task that another
    task's model predicts has no use for its own. `max_steps` (0: no limit) caps a run on a large task. Rows are cut to
    the longest of their split, rounded up to a multiple of `length_multiple` columns: a small multiple computes less
    padding, a large one shares compiled programs between tasks. `write_nbest` adds the other good answers of every
    SQuAD question, with scores, to the prediction files.
    """

    seeds: tuple[int, ...] = setting((0, 1, 2), at_least=0)
    epochs: tuple[float, ...] = setting((3.0,), at_least=0.01)
    max_steps: int = setting(0, at_least=0)
    length_multiple: int = setting(16, at_least=1)
    batch_size: int = setting(32, at_least=1)
    optimizer: OptimizerConfig = setting()
    write_nbest: bool = setting(False)

    def check(self) -> None:
        """Refuses repeated seeds."""
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            self.refuse("seeds", "distinct seeds, at least one")
        if not self.epochs:
            self.refuse("epochs", "one number, or one for each task")


@dataclass(frozen=True, kw_only=True)
class LatencyConfig(Checked):
    """Measured latency: candidate and frozen reference interleaved (ABBA) in each of `processes` fresh processes."""

    reference: EncoderConfig = setting()
    reference_name: str = setting("reference")
    batch_size: int = setting(1, at_least=1)
    sequence_length: int = setting(128, at_least=1)
    processes: int = setting(3, at_least=1)
    pairs: int = setting(100, at_least=10)
    min_seconds: float = setting(1.0, at_least=0.0)
    timeout_s: float = setting(300.0, at_least=1.0)


@dataclass(frozen=True, kw_only=True)
class RunConfig(Checked):
    """One experiment; the root that a gin file configures.

    `untrained_control` adds the architecture of one student with random parameters, which only fine-tuning trains: the
    name of a baseline, `found` for the first found student, or '' for none.
    `parallel_systems` are distilled or fine-tuned at the same time, in threads: small models leave cores idle.
    """

    track: str = setting(pattern=NAME)
    track_version: str = setting("0.1")
    seed: int = setting(0, at_least=0)
    data: DataConfig = setting()
    teacher: TeacherConfig = setting()
    search: SearchConfig = setting()
    distill: DistillConfig = setting()
    finetune: FinetuneConfig = setting()
    latency: LatencyConfig = setting()
    baselines: tuple[BaselineConfig, ...] = setting(())
    untrained_control: str = setting("")
    parallel_systems: int = setting(1, at_least=1)

    def check(self) -> None:
        """Refuses equal names and rows longer than the models' positions."""
        names = [b.name for b in self.baselines]
        if len(set(names)) != len(names) or {"teacher", "untrained"} & set(names):
            self.refuse("baselines", "distinct names other than 'teacher' and 'untrained'")
        if self.untrained_control not in ("", "found", *names):
            self.refuse("untrained_control", "'', 'found' or the name of a baseline: " + ", ".join(names))
        if len(self.finetune.epochs) not in (1, len(self.data.tasks)):
            self.finetune.refuse("epochs", f"one number, or one for each of the {len(self.data.tasks)} tasks")
        limit = min(self.teacher.encoder.max_position_embeddings, self.search.space.base.max_position_embeddings)
        for name in ("pretrain_length", "task_length", "span_length"):
            if getattr(self.data, name) > limit:
                self.data.refuse(name, f"at most max_position_embeddings = {limit}")


def encoder_from_dict(values: Mapping[str, Any]) -> EncoderConfig:
    """Builds an EncoderConfig from a record's or a baseline's JSON object.

    Raises:
        ConfigError: an unknown field, or a value that EncoderConfig refuses.
    """
    known = {f.name for f in dataclasses.fields(EncoderConfig)}
    for name in values:
        if name not in known:
            raise ConfigError(f"EncoderConfig.{name}", values[name], "one of the fields " + ", ".join(sorted(known)))
    return EncoderConfig(**values)
