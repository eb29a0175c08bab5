"""Settings of training: optimiser, masked-LM pretraining, the teacher, and how every train loop runs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from benchmark.config.checks import Checked, setting
from benchmark.config.chips import TOPOLOGY, ChipConfig
from benchmark.config.encoder import EncoderConfig


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Checked):
    """Optimiser and learning-rate schedule: linear warm-up, then linear decay to `end_factor` of the peak.

    `end_factor=1.0` gives a constant rate after warm-up. The decay runs from the end of `warmup`, or is counted from
    the `start` as in BERT's program, where the rate drops by the share of the warm-up when that is over.
    No weight decay on biases and normalisation parameters, as in BERT and MobileBERT.
    """

    name: str = setting("adamw", choices=("adamw", "lamb"))
    learning_rate: float = setting(1e-3, at_least=0.0)
    warmup_fraction: float = setting(0.1, at_least=0.0, at_most=1.0)
    end_factor: float = setting(0.0, at_least=0.0, at_most=1.0)
    decay_from: str = setting("warmup", choices=("warmup", "start"))
    weight_decay: float = setting(0.01, at_least=0.0)
    clip_norm: float = setting(1.0, at_least=1e-6)
    beta1: float = setting(0.9, at_least=0.0, at_most=1.0)
    beta2: float = setting(0.999, at_least=0.0, at_most=1.0)
    epsilon: float = setting(1e-6, at_least=0.0)

    @property
    def without_schedule(self) -> OptimizerConfig:
        """The same optimiser with the default schedule: what a compiled step depends on."""
        schedule = ("learning_rate", "warmup_fraction", "end_factor", "decay_from")
        defaults: dict[str, Any] = {f.name: f.default for f in dataclasses.fields(self) if f.name in schedule}
        return dataclasses.replace(self, **defaults)


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
class MeshConfig(Checked):
    """How devices are arranged: `data` groups share out the batch, `model` devices of a group share the parameters.

    `data = 0` takes all devices that `model` leaves over.
    """

    data: int = setting(0, at_least=0)
    model: int = setting(1, at_least=1)


@dataclass(frozen=True, kw_only=True)
class TargetConfig(Checked):
    """Devices that a run is made for but that need not be here: `--dry_run` compiles the train steps for them.

    `topology` is a slice of TPUs, generation and chips along each axis of its network, as `v4:4x4x4`. `chip` holds the
    figures of one device. Compiling for the slice ends after `timeout_s`.
    """

    topology: str = setting(pattern=TOPOLOGY)
    chip: ChipConfig = setting()
    timeout_s: float = setting(3600.0, at_least=1.0)


@dataclass(frozen=True, kw_only=True)
class TrainerConfig(Checked):
    """How pretraining, distillation and fine-tuning run, whatever they train.

    `compute_dtype` is the type of activations and matrix products of student and teacher; parameters, optimiser and
    losses stay in float32. A batch is divided into `gradient_accumulation_steps` parts that are computed one after the
    other, which saves memory and gives the same step. `steps_per_dispatch` steps are handed to the device at once,
    with their batches. Metrics are written every `log_every` steps, and with `log_digests` the digests of the
    parameters, by which two runs are compared (`python -m benchmark.commands.digests`). The teacher's outputs on the
    batches that all students see are kept up to `teacher_cache_bytes` in memory and `teacher_cache_disk_bytes` in the
    run's folder; with `teacher_in_step` nothing is kept, as each step of a distillation from masked text runs the
    teacher itself, in one program with the student and in the memory of a part of the batch.
    `keep_freed_memory` makes steps of large models on a CPU faster and those of tiny ones slower
    (`benchmark.process.setup`). `target` is what `--dry_run` compiles for.
    """

    compute_dtype: str = setting("float32", choices=("float32", "bfloat16"))
    gradient_accumulation_steps: int = setting(1, at_least=1)
    steps_per_dispatch: int = setting(1, at_least=1)
    log_every: int = setting(50, at_least=1, changes_results=False)
    tensorboard: bool = setting(True, changes_results=False)
    log_digests: bool = setting(False, changes_results=False)
    teacher_cache_bytes: int = setting(2 * 2**30, at_least=0, changes_results=False)
    teacher_cache_disk_bytes: int = setting(0, at_least=0, changes_results=False)
    teacher_in_step: bool = setting(False)
    keep_freed_memory: bool = setting(False, changes_results=False)
    mesh: MeshConfig = setting(MeshConfig())
    target: TargetConfig | None = setting(None, changes_results=False)
