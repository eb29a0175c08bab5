"""Settings of distillation: a recipe is a list of phases, each a weighted sum of losses with its own optimizer."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from benchmark.config.checkpoint import CheckpointConfig
from benchmark.config.checks import LARGEST_SEED, Checked, ConfigError, setting
from benchmark.config.losses import LOSSES, sort_losses
from benchmark.config.training import OptimizerConfig


@dataclass(frozen=True, kw_only=True)
class PhaseConfig(Checked):
    """One phase of a recipe."""

    name: str = setting(pattern=r"[a-z0-9][a-z0-9_.-]{0,59}")
    # Steps of the phase; of each stage where it is `per_layer`.
    steps: int = setting(at_least=0)
    optimizer: OptimizerConfig = setting()
    # A progressive phase has one stage for each layer of the student, from the first to the last. The schedule starts
    # again with every stage. In stage s, counted from 0, layer s and those before it learn; those after it stand still.
    per_layer: bool = setting(False)
    # The loss of stage s: that of the `current` layer over s + 1 (TF2 program of MobileBERT), that of the `gated` layer
    # over the number of layers (its TF1 program), or the `mean` over the layers up to it.
    stage_loss: str = setting("current", choices=("current", "gated", "mean"))
    # Rates of layer s in stage s, and of the layers before it, as multiples of the optimizer's rate.
    current_layer_rate: float = setting(1.0, at_least=0.0)
    earlier_layers_rate: float = setting(1.0, at_least=0.0)
    # Losses that compare layers are summed over all of the student's layers, or take its last alone.
    layers: str = setting("all", choices=("all", "last"))
    # Parameters that stand still; `embeddings` include their norm. Their gradients still count in the global norm, as
    # in MobileBERT's released program.
    frozen: tuple[str, ...] = setting((), choices=("embeddings", "position_embeddings", "layers", "heads"))
    # False: student and teacher read the text without masks.
    mask_input: bool = setting(True)
    # Softens the two distributions of the soft cross-entropy.
    temperature: float = setting(1.0, at_least=0.01)
    # Share of the hard label in the masked-LM loss; the teacher's distribution has the rest.
    ground_truth_ratio: float = setting(1.0, at_least=0.0, at_most=1.0)
    # The losses of the phase (`benchmark.config.losses`) with the weight of each. The phase minimises their weighted
    # sum; a loss of weight 0 is not computed.
    weights: Mapping[str, float] = setting(choices=LOSSES, at_least=0.0)

    @property
    def terms(self) -> tuple[str, ...]:
        """Losses whose weight is not 0, in the order in which they are added."""
        return sort_losses(name for name, weight in self.weights.items() if weight)

    @property
    def trains_masked_lm(self) -> bool:
        """True where the masked-LM head learns."""
        return bool(self.steps) and any(LOSSES[term].reads == "logits" for term in self.terms)

    def total_steps(self, num_layers: int) -> int:
        """Steps of the phase for a student of `num_layers` layers."""
        return self.steps * num_layers if self.per_layer else self.steps

    def check(self) -> None:
        """Refuses a phase that minimises nothing, and settings that do not go together."""
        losses = [LOSSES[term] for term in self.terms]
        if not losses:
            self.refuse("weights", "a phase with a loss: a weight above 0 of " + ", ".join(LOSSES))
        if self.per_layer and not any(loss.compares_layers for loss in losses):
            layered = ", ".join(name for name, loss in LOSSES.items() if loss.compares_layers)
            self.refuse("per_layer", f"False in a phase without a loss that compares layers: {layered}")
        if self.per_layer and self.layers == "last":
            self.refuse("layers", "'all' in a phase that transfers layer by layer")
        if not self.mask_input and any(loss.reads == "logits" for loss in losses):
            self.refuse("mask_input", "True in a phase with a masked-LM loss")


@dataclass(frozen=True, kw_only=True)
class DistillConfig(Checked):
    """A recipe: phases in order, and their common settings. The published ones are in gin/distill/."""

    recipe: str = setting("custom", pattern=r"[a-z0-9][a-z0-9_.-]{0,59}")
    # Every student is distilled once for each; all are fine-tuned with every fine-tuning seed. 0 is the seed of the run
    # itself, with which its search distils, too; another one makes other initial values, masks and batches of it.
    seeds: tuple[int, ...] = setting((0,), at_least=0, at_most=LARGEST_SEED, added=True)
    phases: tuple[PhaseConfig, ...] = setting()
    batch_size: int = setting(32, at_least=1)
    mask_rate: float = setting(0.15, at_least=0.01, at_most=0.9)
    # The teacher layer that each student layer imitates (`benchmark.distillation.layer_maps`).
    layer_map: str = setting("uniform", choices=("uniform", "last", "skip"))
    # The student's embedding parameters start as copies of the teacher's wherever the shapes agree.
    copy_embeddings: bool = setting(True)
    # Its layers (by `layer_map`) and masked-LM head start as copies of the teacher's; the shapes must agree.
    copy_layers: bool = setting(False)
    # The model whose parts are copied instead of the teacher's; a head that it lacks is not copied.
    start_checkpoint: CheckpointConfig | None = setting(None)
    # Compiles all phases into one program, which also computes terms of weight 0. It pays where compiling takes longer
    # than training, as in a search over tiny students.
    one_program: bool = setting(False)
    checkpoint_every: int = setting(500, at_least=1)

    def check(self) -> None:
        """Refuses repeated seeds, recipes without steps, phases of one name, and one program for unlike optimizers."""
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            self.refuse("seeds", "distinct seeds, at least one")
        names = [phase.name for phase in self.phases]
        for phase in self.phases:
            if names.count(phase.name) > 1:
                phase.refuse("name", "a different name for each phase of the recipe")
        if not any(phase.steps for phase in self.phases):
            raise ConfigError("DistillConfig.phases", tuple(names), "at least one phase with steps")
        optimizers = {phase.optimizer.without_schedule for phase in self.phases}
        if self.one_program and len(optimizers) > 1:
            self.refuse("one_program", "False where the optimizers of the phases differ in more than their schedule")

    def of_seed(self, seed: int) -> DistillConfig:
        """Keeps one of the seeds: what the distillation with it depends on."""
        return dataclasses.replace(self, seeds=(seed,))

    def scaled(self, fraction: float) -> DistillConfig:
        """Shortens every phase to `fraction` of its steps, at least one step: flash distillation.

        Phases without steps keep none. Warm-up is a share of a phase and shrinks with it.
        """
        phases = [
            dataclasses.replace(phase, steps=max(1, round(phase.steps * fraction)) if phase.steps else 0)
            for phase in self.phases
        ]
        return dataclasses.replace(self, phases=tuple(phases))


def replicate_seed(run_seed: int, seed: int) -> int:
    """Mixes the seed of a run with one of `DistillConfig.seeds`.

    Runs of neighbouring seeds have no distillation in common, as they would if the two were added.
    """
    if not seed:
        return run_seed
    digest = hashlib.sha256(f"{run_seed} {seed}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % (LARGEST_SEED + 1)


def replicate_name(system: str, seed: int) -> str:
    """Names the folders of a student that was distilled with one of `DistillConfig.seeds`.

    No name of a system has an `@`.
    """
    return f"{system}@{seed}" if seed else system
