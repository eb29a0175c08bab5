"""Settings of training: optimizer, masked-LM pretraining, teacher, devices, and every train loop."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from benchmark.config.checkpoint import CheckpointConfig
from benchmark.config.checks import Checked, setting
from benchmark.config.chips import TOPOLOGY, ChipConfig
from benchmark.config.encoder import EncoderConfig


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Checked):
    """Optimizer and learning-rate schedule: linear warm-up, then linear decay to `end_factor` of the peak."""

    name: str = setting("adamw", choices=("adamw", "lamb"))
    # The peak of the schedule.
    learning_rate: float = setting(1e-3, at_least=0.0)
    # Share of the steps.
    warmup_fraction: float = setting(0.1, at_least=0.0, at_most=1.0)
    # Last rate as a share of the peak; 1.0 gives a constant rate after warm-up.
    end_factor: float = setting(0.0, at_least=0.0, at_most=1.0)
    # The decay runs from the end of `warmup`, or is counted from the `start` as in BERT's program, where the rate drops
    # by the share of the warm-up when that is over.
    decay_from: str = setting("warmup", choices=("warmup", "start"))
    # Not on biases and normalisation parameters, as in BERT and MobileBERT.
    weight_decay: float = setting(0.01, at_least=0.0)
    # Limit of the global norm of the gradient.
    clip_norm: float = setting(1.0, at_least=1e-6)
    beta1: float = setting(0.9, at_least=0.0, at_most=1.0)
    beta2: float = setting(0.999, at_least=0.0, at_most=1.0)
    epsilon: float = setting(1e-6, at_least=0.0)

    @property
    def without_schedule(self) -> OptimizerConfig:
        """The same optimizer with the default schedule; a compiled step depends on nothing else."""
        schedule = ("learning_rate", "warmup_fraction", "end_factor", "decay_from")
        defaults: dict[str, Any] = {f.name: f.default for f in dataclasses.fields(self) if f.name in schedule}
        return dataclasses.replace(self, **defaults)


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(Checked):
    """Masked-LM training, from scratch or from a checkpoint: dynamic masking, equally many predictions in each row."""

    # 0 takes a checkpoint as it is.
    steps: int = setting(1000, at_least=0)
    # The encoder of a checkpoint stays as it is during the first so many steps, while its new head learns.
    frozen_encoder_steps: int = setting(0, at_least=0)
    batch_size: int = setting(32, at_least=1)
    mask_rate: float = setting(0.15, at_least=0.01, at_most=0.9)
    optimizer: OptimizerConfig = setting(OptimizerConfig())
    checkpoint_every: int = setting(500, at_least=1)


@dataclass(frozen=True, kw_only=True)
class TeacherConfig(Checked):
    """The teacher: an architecture that is pretrained from scratch, or a checkpoint that may be trained on."""

    # None takes that of the checkpoint's `config.json`; with a checkpoint both must agree.
    encoder: EncoderConfig | None = setting(None)
    checkpoint: CheckpointConfig | None = setting(None)
    # With a checkpoint: its adaptation to masked LM on the text of the run.
    pretrain: PretrainConfig = setting(PretrainConfig(steps=0))

    @property
    def architecture(self) -> EncoderConfig:
        """The encoder; that of a checkpoint is known once `benchmark.export.start` has read it."""
        if self.encoder is None:
            self.refuse("encoder", "an @EncoderConfig(), or a TeacherConfig.checkpoint whose config.json has one")
        return self.encoder

    def check(self) -> None:
        """Refuses a teacher that starts from nothing and does not learn, and steps of a head that do not exist."""
        if self.checkpoint is None:
            # Raises where there is neither.
            assert self.architecture
            if not self.pretrain.steps:
                self.pretrain.refuse("steps", "an integer >= 1 where the teacher has no checkpoint")
            if self.pretrain.frozen_encoder_steps:
                self.pretrain.refuse("frozen_encoder_steps", "0 where the teacher has no checkpoint")
        if self.pretrain.frozen_encoder_steps > self.pretrain.steps:
            self.pretrain.refuse("frozen_encoder_steps", f"at most steps = {self.pretrain.steps}")


@dataclass(frozen=True, kw_only=True)
class MeshConfig(Checked):
    """Arrangement of the devices of a run."""

    # Groups that share out the batch; 0 takes all devices that `model` leaves over.
    data: int = setting(0, at_least=0)
    # Devices of a group, which share the parameters.
    model: int = setting(1, at_least=1)


@dataclass(frozen=True, kw_only=True)
class TargetConfig(Checked):
    """Devices that a run is made for but that need not be here: `--dry_run` compiles the train steps for them."""

    # A slice of TPUs: generation, and chips along each axis of its network, as `v4:4x4x4`.
    topology: str = setting(pattern=TOPOLOGY)
    # The figures of one device.
    chip: ChipConfig = setting()
    # Limit of compiling for the slice.
    timeout_s: float = setting(3600.0, at_least=1.0)


@dataclass(frozen=True, kw_only=True)
class TrainerConfig(Checked):
    """The train loop of pretraining, distillation and fine-tuning."""

    # Type of activations and matrix products of student and teacher; parameters, optimizer and losses stay in float32.
    compute_dtype: str = setting("float32", choices=("float32", "bfloat16"))
    # Parts of a batch that are computed one after the other, which saves memory and gives the same step.
    gradient_accumulation_steps: int = setting(1, at_least=1)
    # Steps that are handed to the device at once, with their batches.
    steps_per_dispatch: int = setting(1, at_least=1)
    # Steps between lines of metrics.
    log_every: int = setting(50, at_least=1, changes_results=False)
    tensorboard: bool = setting(True, changes_results=False)
    # Logs digests of the parameters too, by which two runs are compared (`python -m benchmark.commands.digests`).
    log_digests: bool = setting(False, changes_results=False)
    # The teacher's outputs on the batches that all students see are kept up to these limits, in memory and in the run's
    # folder.
    teacher_cache_bytes: int = setting(2 * 2**30, at_least=0, changes_results=False)
    teacher_cache_disk_bytes: int = setting(0, at_least=0, changes_results=False)
    # Each step of a distillation from masked text runs the teacher, in one program with the student and in the memory
    # of a part of the batch; no outputs are kept.
    teacher_in_step: bool = setting(False)
    # Makes steps of large models on a CPU faster and those of tiny ones slower (`benchmark.process.setup`).
    keep_freed_memory: bool = setting(False, changes_results=False)
    mesh: MeshConfig = setting(MeshConfig())
    # The devices that `--dry_run` compiles for.
    target: TargetConfig | None = setting(None, changes_results=False)
