"""One training run: name, folder, seed, train loop, devices and monitor."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.training.hooks import Hook, Progress, show_bar, write_digests, write_lines, write_tensorboard
from benchmark.training.state import DEFAULTS

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from benchmark.config import TrainerConfig
    from tasks.system.progress import Show


def silent(line: str) -> None:
    """Drops a progress line."""


@dataclass(frozen=True)
class Monitor:
    """Monitor of the fits of a run, next to their own folders and progress lines.

    Attributes:
        tensorboard: folder of the event files; None for none.
        peak_flops: peak of the devices, FLOP/s, for MFU; None where it is not known.
        show: shows progress bars; None where progress lines are written.
        digests: True keeps the digests of the parameters next to the metrics of a fit.
        quiet_seconds: time from the beginning of a fit without progress lines, for the many that end before.
    """

    tensorboard: Path | None = None
    peak_flops: float | None = None
    show: Show | None = None
    digests: bool = False
    quiet_seconds: float = 0.0

    def hooks(
        self, name: str, progress: Progress, directory: Path | None = None, figures: tuple[str, ...] = ()
    ) -> tuple[Hook, ...]:
        """Makes the hooks of a fit with files in `directory`.

        Its event files are in the folders `figures` below `tensorboard`; without them the words of its name are the
        folders.
        """
        watching = [show_bar(self.show) if self.show else write_lines(progress, quiet_seconds=self.quiet_seconds)]
        if self.tensorboard is not None:
            watching.append(write_tensorboard(self.tensorboard.joinpath(*(figures or name.split()))))
        if self.digests and directory is not None:
            watching.append(write_digests(directory / "digests.jsonl"))
        return tuple(watching)


@dataclass(frozen=True)
class TrainingJob:
    """One training run, apart from the model, the data and the settings that it trains with.

    Attributes:
        name: shown in progress lines and errors.
        directory: where checkpoints, results and metrics go; None keeps nothing.
        seed: seeds initial values, data order and masking.
        trainer: the settings of the train loop.
        mesh: the devices to train on; None for one.
        monitor: makes the hooks.
        progress: receives one line now and then.
        figures: folders of the event files below `Monitor.tensorboard`, which are the name of the run there; () takes
            the words of `name`.
    """

    name: str
    directory: Path | None = None
    seed: int = 0
    trainer: TrainerConfig = DEFAULTS
    mesh: Mesh | None = None
    monitor: Monitor = Monitor()
    progress: Progress = silent
    figures: tuple[str, ...] = ()

    def part(self, name: str) -> TrainingJob:
        """Makes the job of one phase: its name follows this one's, its folder lies in this one's."""
        directory = self.directory / name if self.directory is not None else None
        figures = (*self.figures, name) if self.figures else ()
        return dataclasses.replace(self, name=f"{self.name} {name}", directory=directory, figures=figures)

    def hooks(self) -> tuple[Hook, ...]:
        """Makes the monitor's hooks for this job."""
        return self.monitor.hooks(self.name, self.progress, self.directory, self.figures)
