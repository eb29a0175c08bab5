"""One phase of a distillation: its steps with their rates and settings, continued where an interrupted run left it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import numpy as np

from benchmark.distillation.rates import rate_factors, stage_weights
from benchmark.training import checkpoints, distributed
from benchmark.training.fit import Steps, fit
from benchmark.training.optimizers import learning_rate
from benchmark.training.state import init_state

if TYPE_CHECKING:
    import optax

    from benchmark.config import PhaseConfig
    from benchmark.distillation.objectives import PhaseObjective
    from benchmark.models.trees import Params, PyTree
    from benchmark.training.fit import StepInputs
    from benchmark.training.job import TrainingJob
    from benchmark.training.state import Settings, TrainStep


@dataclass(frozen=True)
class Phase:
    """A phase for one student, ready to run.

    Attributes:
        config: its settings.
        objective: the losses of its step.
        step: as `make_train_step` gives it.
        optimizer: the step's optimizer, without learning rate.
        num_layers: layers of the student.
        stage_steps: steps of a stage; a phase that does not go layer by layer has one stage.
        batch: number of a batch -> the batch, as the step reads it.
        describe_batch: number of a batch -> description of it.
        flops: of one step.
        constants: trees that all steps read, as `Steps` has it.
        checkpoint_every: steps between checkpoints.
        first_batch: number of the batch of its first step, where phases share one order of batches.
    """

    config: PhaseConfig
    objective: PhaseObjective
    step: TrainStep
    optimizer: optax.GradientTransformation
    num_layers: int
    stage_steps: int
    batch: Callable[[int], PyTree]
    describe_batch: Callable[[int], str]
    flops: float
    constants: Settings | None
    checkpoint_every: int
    first_batch: int = 0

    def steps(self, params: Params) -> Steps:
        """Makes the steps that train `params`, each with its batch, the rate of every parameter and the term weights.

        All stages have the same shapes, so that they share the compiled step.
        """
        config, stages = self.config, range(self.num_layers if self.config.per_layer else 1)
        factors = [rate_factors(params, config, stage, self.num_layers) for stage in stages]
        weights = [stage_weights(config, stage, self.num_layers) for stage in stages]
        settings = [self.objective.settings(config, layers) for layers in weights]

        def inputs(number: int) -> StepInputs:
            # The schedule starts again with each stage.
            stage, step = divmod(number, self.stage_steps)
            rate = np.float32(learning_rate(config.optimizer, step, self.stage_steps))
            rates = jax.tree.map(lambda factor: factor * rate, factors[stage])
            return self.batch(self.first_batch + number), rates, settings[stage]

        def describe(number: int) -> str:
            return self.describe_batch(self.first_batch + number)

        return Steps(self.step, inputs, self.stage_steps * len(stages), self.constants, describe, self.flops)


def run_phase(
    phase: Phase, params: Params, job: TrainingJob, *, stop_after: int | None = None, keep: bool = True
) -> Params:
    """Runs a phase, or reads the result of an earlier call that ended it.

    Args:
        phase: the phase.
        params: `student`, and the maps between widths next to it.
        job: that of the whole distillation, of which the phase is a part.
        stop_after: as `fit` has it.
        keep: keeps the result, where the job has a directory.

    Returns:
        The parameters after it. A map between widths that the phase does not use stays as it is.
    """
    name, own = phase.config.name, job.part(phase.config.name)
    result = own.directory / "result" if own.directory is not None else None
    damage = checkpoints.damage(result) if result is not None and result.exists() else None
    if damage:
        job.progress(f"{job.name}: the result of phase {name!r} is damaged and is made again: {damage}")
    if result is not None:
        whole = result.exists() and not damage
        # Processes that train together decide as process 0 does: another one may see an older state of the folder.
        if whole if job.mesh is None else distributed.broadcast(whole):
            return dict(checkpoints.restore(result, params))
    moving = {part: params[part] for part in {"student", *phase.objective.projections} & params.keys()}
    state, _ = fit(
        init_state(moving, phase.optimizer),
        phase.steps(moving),
        own,
        checkpoint_every=phase.checkpoint_every,
        stop_after=stop_after,
    )
    params = params | state.params
    if result is not None and keep:
        checkpoints.save(result, params)
    return params
