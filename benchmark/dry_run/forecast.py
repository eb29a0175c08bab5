"""The forecast of a dry run: files, machine, and time and memory of what is left of each stage."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.pipeline.data_files import list_data_files
from tasks.system.cores import usable_cores
from tasks.system.errors import InputError, StageError
from tasks.system.memory import available_bytes

if TYPE_CHECKING:
    from benchmark.config import RunConfig
    from benchmark.dry_run.calibration import Calibration
    from benchmark.dry_run.costs import Costs, Seconds
    from benchmark.dry_run.programs import Program, StageWork

_GIB = 2.0**30
# Say how far off a forecast may be; docs/performance.md has those that were compared with a run.
FACTOR = 1.5


def file_lines(config: RunConfig, workdir: Path) -> Iterator[str]:
    """Writes the data files that are found and those that are missing, one line for each part of the data."""
    if (workdir / "data" / "data.json").exists():
        yield "token arrays are there; files are read again only where they have changed"
        return
    try:
        found = list_data_files(config.data)
    except InputError as error:
        yield f"not known here: {error}"
        return
    yield from (files.line for files in found)
    refused = sum(files.refused is not None for files in found)
    if refused:
        yield f"{refused} of {len(found)} are missing or of no use; a run is refused before its first stage"


def machine_lines(config: RunConfig, stages: Sequence[str]) -> Iterator[str]:
    """Writes cores and memory that a run may use here, and whether Ray and libtpu are there."""
    room = available_bytes()
    shown = "memory not known" if room is None else f"{room / _GIB:.1f} GiB of memory available"
    yield f"{usable_cores()} cores, {shown}"
    for package, name in (("ray", "Ray"), ("libtpu", "libtpu")):
        there = importlib.util.find_spec(package) is not None
        yield f"{name} is {'installed' if there else 'not installed'}{_consequence(config, stages, package, there)}"


def _consequence(config: RunConfig, stages: Sequence[str], package: str, there: bool) -> str:
    """Says what follows for this run, where something does."""
    search = config.search if "search" in stages else None
    if package == "ray":
        used = search is not None and search.executor.name == "ray"
        return "; trials run on it" if used else "; not used"
    if search is not None and "compiled" in search.latency_methods:
        methods = search.latency_methods
        others = methods[methods.index("compiled") + 1 :]
        if there:
            return f"; the search asks it for the latency of {search.chip.name}"
        return f"; the search takes the latency by {others[0]} instead of compiled" if others else ""
    if config.trainer.target is not None:
        return "; it compiles for the target" if there else "; nothing is compiled for the target"
    return "; not used"


def forecast_lines(config: RunConfig, workdir: Path, stages: Sequence[str], gin_text: str) -> Iterator[str]:
    """Calibrates this machine, and writes the table of time and memory of what is left.

    Raises:
        RunError: the folder holds a run of other settings, or is damaged.
    """
    from benchmark.dry_run.calibration import calibrate, choose_programs
    from benchmark.dry_run.costs import Costs
    from benchmark.dry_run.done import read_done
    from benchmark.dry_run.rows import read_rows
    from benchmark.dry_run.work import left_work

    if config.trainer.target is not None:
        yield f"no times: the run is made for {config.trainer.target.topology}, not for this machine"
        return
    done, rows = read_done(config, workdir), read_rows(config, workdir)
    left = left_work(config, stages, rows, done)
    programs = choose_programs(left)
    calibration: Calibration | None = None
    if programs:
        yield f"calibrating with {len(programs)} programs of this run; this takes half a minute"
        try:
            calibration = calibrate(config, gin_text, programs)
            yield _calibrated(calibration)
        except (InputError, StageError) as error:
            yield f"not calibrated, times and memory are rough: {error}"
    costs = Costs(calibration.measured if calibration else (), usable_cores())
    yield from table_lines(left, config, costs, calibration)
    if not rows.known and any(work.text != "done" for work in left):
        yield "rows are estimated from files and published sizes; token arrays give them exactly"


def _calibrated(found: Calibration) -> str:
    others = "" if found.other_cores is None else f"; other processes took {found.other_cores:.1f} cores meanwhile"
    several = f", one of {found.devices}; those that share a batch take less time" if found.devices > 1 else ""
    count = f"{len(found.measured)} of {found.asked} programs"
    return f"calibrated with {count} in {found.seconds:.0f} s on {found.device}{several}{others}"


def table_lines(
    left: Sequence[StageWork], config: RunConfig, costs: Costs, calibration: Calibration | None
) -> Iterator[str]:
    """Writes the table: stage, time left, peak memory and work; then the sum, and a warning where memory is short."""
    from benchmark.dry_run.memory import BASE_BYTES, COMPILE_BYTES, stage_peaks

    sizes = (calibration.base_bytes, calibration.compile_bytes) if calibration else (BASE_BYTES, COMPILE_BYTES)
    peaks = {stage: memory.total for stage, memory in stage_peaks(left, config, costs, *sizes).items()}
    seconds: dict[str, Seconds] = {}
    compiled: set[Program] = set()
    yield f"{'stage':<9} {'time left':>11} {'memory':>9}  work"
    for work in left:
        if not work.every_job:
            yield f"{work.stage:<9} {'-':>11} {'-':>9}  {work.text}"
            continue
        seconds[work.stage] = costs.stage(work, compiled)
        shown = f"{peaks[work.stage] / _GIB:.1f} GiB"
        yield f"{work.stage:<9} {duration(seconds[work.stage].wall):>11} {shown:>9}  {work.text}"
    if not seconds:
        return
    total, cpu = (sum(getattr(s, name) for s in seconds.values()) for name in ("wall", "cpu"))
    sure = f"within a factor of {FACTOR:g}" if calibration is not None and calibration.is_quiet else "rough"
    words = f"{sure}, where nothing else uses the machine; {duration(cpu)} of processor time"
    yield f"{'in all':<9} {duration(total):>11} {'':>9}  {words}"
    yield (
        "memory: libraries, compiled programs, parameters and optimizer state, the compiler's work space, the teacher's"
        " outputs that are kept; token arrays are mapped and do not count"
    )
    room = available_bytes() if calibration is None or calibration.device_bytes is None else calibration.device_bytes
    stage = max(peaks, key=lambda name: peaks[name])
    if room is not None and peaks[stage] > room:
        yield (
            f"WARNING: {stage} may take {peaks[stage] / _GIB:.1f} GiB, and {room / _GIB:.1f} are available; accepted:"
            " a smaller batch or TrainerConfig.teacher_cache_bytes, more TrainerConfig.gradient_accumulation_steps,"
            " fewer RunConfig.parallel_systems and SearchConfig.parallel_trials"
        )


def duration(seconds: float) -> str:
    """Writes a duration in two units at most: `48 s`, `3 min 20 s`, `2 h 05 min`, `12 d 3 h`."""
    whole = math.ceil(seconds)
    if whole < 90:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"
