"""One trial of the search: a flash distillation, here or on another machine that sees the run's folder."""

from __future__ import annotations

from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from benchmark import process
from benchmark.config import RunConfig, encoder_from_dict
from benchmark.stages import Run, distil_student, load_teacher


class FlashDistillation:
    """Evaluates students of a run, all with the same batches in the same order.

    It can be pickled. What arrives in another process reads the teacher and the token arrays from the run's folder, and
    is made once for all trials of that process.
    """

    def __init__(self, run: Run) -> None:
        """Takes the settings and the folder of a run whose teacher is trained."""
        self.run = run

    def __reduce__(self) -> tuple[Any, ...]:
        return _elsewhere, (self.run.config, self.run.workdir.absolute())

    @cached_property
    def teacher(self) -> Any:
        """The run's teacher."""
        return load_teacher(self.run)

    def __call__(self, job: dict[str, Any]) -> dict[str, float]:
        """Distils the student `job["encoder"]` of trial `job["number"]`.

        Returns:
            Masked-LM `accuracy` in percent, its standard error `accuracy_stderr`, `loss`, `steps`, and the seconds that
            tracing and compiling took (`compile_seconds`).

        Raises:
            StageError: training diverged, or the architecture does not fit the run.
        """
        config = self.run.config
        encoder = self.run.encoder(encoder_from_dict(job["encoder"]))
        recipe = config.distill.scaled(config.search.flash_fraction)
        with process.compile_seconds() as compiling:
            _, result = distil_student(self.run, self.teacher, encoder, recipe, None, f"trial {job['number']}")
        scores = {name: result["masked_lm"][name] for name in ("accuracy", "accuracy_stderr", "loss")}
        return scores | {"steps": result["steps"], "compile_seconds": sum(compiling)}


@lru_cache(maxsize=1)
def _elsewhere(config: RunConfig, workdir: Path) -> FlashDistillation:
    """What a pickled `FlashDistillation` becomes."""
    process.keep_programs(workdir / "compiled")
    return FlashDistillation(Run(config, workdir, lambda line: None))
