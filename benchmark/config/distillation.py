"""Settings of distillation."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from benchmark.config.training import OptimizerConfig
from benchmark.settings import Checked, setting


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
