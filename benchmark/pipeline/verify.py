"""The verification of a record: the run of its own settings again, as far as it needs, and the comparison.

The settings are the record's gin text, read as data. Of a search only the outcome is needed, which the record of a
found student holds; it is taken from there, after the choice among its trials was made again, unless the search is to
be repeated. Other students are neither distilled nor fine-tuned.
"""

from __future__ import annotations

import datetime
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from benchmark.config import encoder_from_dict, fingerprint, to_dict
from benchmark.export import start
from benchmark.pipeline import runner
from benchmark.pipeline.data import data_stage
from benchmark.pipeline.record import current_numerics
from benchmark.pipeline.run_context import Run
from benchmark.pipeline.search import search_stage
from benchmark.pipeline.search_latency import Recorded
from benchmark.pipeline.workdir import RunError, read_json, write_json
from benchmark.records import manifest, verification
from benchmark.records.compare import compare, not_compared, same, same_values
from benchmark.records.record import Record, read
from benchmark.records.verification import Compared
from benchmark.search.journal import Trial
from benchmark.search.results import found_systems
from tasks.system.errors import StageError

if TYPE_CHECKING:
    from benchmark.pipeline.verify_request import Request
    from benchmark.records.search_excerpt import SearchExcerpt, SearchTrial

IDENTITY = "verify.json"


class _ContradictionError(RunError):
    """A contradiction in the record or its data, found before any training."""

    def __init__(self, fields: list[Compared]) -> None:
        self.fields = fields
        super().__init__(fields[0].field)


def contradictions(request: Request) -> list[Compared]:
    """Lists the fields that do not follow from the record's own settings and trials; nothing is run for it."""
    record, config = request.record, request.config
    assert record.provenance is not None
    settings = fingerprint(config)
    fields = [same("provenance.config_fingerprint", record.provenance.config_fingerprint, settings)]
    checkpoints = {name: dict(values) for name, values in start.provenance(config).items()}
    for name, source in record.provenance.checkpoints.items():
        found = checkpoints.get(name, {"files": {}})["files"]
        fields += same_values(f"provenance.checkpoints.{name}.files", source.files, found)
    measured = record.search.measured if record.search is not None else None
    if request.search and config.search is not None and config.search.measures_latency and measured is None:
        fields.append(same("search.measured", None, "the measured latencies, with which the search is run again"))
    fields.append(same("id", record.id, f"{config.track}-{record.system.name}-{settings[:12]}"))
    expected = _encoder(request)
    if isinstance(expected, Compared):
        fields.append(expected)
    else:
        fields += same_values("system.encoder", record.system.encoder or {}, expected)
    return [field for field in fields if field.outcome == verification.DIFFERENT]


def _encoder(request: Request) -> dict[str, Any] | Compared:
    """Derives the architecture of the system from settings and trials, or the reason why there is none."""
    record, config = request.record, request.config
    if record.system.kind == "teacher":
        if config.teacher is None:
            return same("system.kind", "teacher", "a run without teacher")
        return dict(to_dict(config.teacher.architecture))
    if record.system.kind == "found":
        names = _found(request)
        if record.system.name in names:
            return dict(names[record.system.name])
        return same("search.choice", record.system.name, ", ".join(names) or "no trial that completed")
    name = config.untrained_control if record.system.kind == "control" else record.system.name
    baselines: dict[str, Any] = {baseline.name: to_dict(baseline.architecture) for baseline in config.baselines}
    if record.system.kind == "control" and name == "found":
        # Only the search says which; its own record can be verified.
        return dict(record.system.encoder or {})
    if name in baselines:
        return dict(baselines[name])
    return same("system.name", record.system.name, ", ".join(("teacher", *baselines)))


def _found(request: Request) -> dict[str, Any]:
    """Chooses architectures among the trials of the record, by name; none where no trial completed."""
    search = request.record.search
    if search is None or request.config.search is None:
        return {}
    try:
        return {name: to_dict(encoder) for name, encoder in found_systems(request.config.search, _trials(search))}
    except (StageError, ValueError, KeyError, TypeError):  # TypeError: a point with a field that no encoder has
        return {}


def _trials(search: SearchExcerpt) -> list[Trial]:
    """Converts the trials of an excerpt to those of the search."""
    return [
        Trial(number, trial.point, trial.generator, trial.status, _outcome(trial))
        for number, trial in enumerate(search.trials)
    ]


def _outcome(trial: SearchTrial) -> dict[str, Any]:
    scores = {"accuracy": trial.accuracy, "teacher_agreement": trial.teacher_agreement}
    return {**scores, "latency_s": trial.latency_s}


def verify(request: Request, workdir: Path, command: str) -> verification.Verification:
    """Runs a record again and compares.

    Args:
        request: the record and its settings.
        workdir: folder of the run; an interrupted verification of the same record is continued there.
        command: the command line, for the verification record.

    Returns:
        The verification. Where the record contradicts itself or the data, nothing was trained and only these fields are
        compared.

    Raises:
        RunError: the folder holds something else, data are missing, or a stage failed; one line.
    """
    started, now = time.perf_counter(), datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    fields = contradictions(request)
    if not fields:
        _claim(request, workdir)
        try:
            found = _run(request, workdir, command)
        except _ContradictionError as contradiction:
            fields = contradiction.fields
        else:
            fields = [*compare(request.record, found), *_compared_search(request, workdir)]
    commit, dirty = manifest.git_state()
    return verification.Verification(
        record_id=request.record.id,
        record_sha256=hashlib.sha256(request.path.read_bytes()).hexdigest(),
        outcome=verification.overall(fields),
        searched=request.search,
        command=command,
        git_commit=commit,
        git_dirty=dirty,
        versions=manifest.versions(),
        device={k: v for k, v in manifest.machine().items() if k != "load_average_1min"},
        numerics=current_numerics(jax.default_backend()),
        started_utc=now,
        seconds=round(time.perf_counter() - started, 3),
        fields=fields,
    )


def _claim(request: Request, workdir: Path) -> None:
    """Marks a folder as that of this verification."""
    identity = {"fingerprint": fingerprint(request.record.model_dump(mode="json"), request.search)}
    path = workdir / IDENTITY
    if workdir.exists() and any(workdir.iterdir()) and (not path.exists() or read_json(path) != identity):
        raise RunError(
            f"{workdir}: holds something else than a verification of {request.path}; choose another --workdir"
        )
    write_json(path, identity)


def _run(request: Request, workdir: Path, command: str) -> Record:
    """Runs the stages that the record needs.

    Returns:
        The new record.

    Raises:
        RunError: a stage failed.
        _ContradictionError: the data differ from those of the record.
    """
    assert request.record.provenance is not None
    replacements: dict[str, runner.Work] = {"data": lambda run: _checked_data(request, run, data_stage)}
    if not request.search:
        replacements["search"] = lambda run: _adopted_search(request, run)
    elif request.record.search is not None and (measured := request.record.search.measured) is not None:
        # Measured latencies are of that machine and of that day; the proposals that follow from them are not.
        replacements["search"] = lambda run: search_stage(run, Recorded(measured))
    if not _same_kind_of_machine(request.record):
        replacements["latency"] = _no_latency
    names = (stage.name for stage in runner.TABLE)
    wanted = tuple(name for name in names if name != "teacher" or request.record.system.kind != "control")
    gin_text = request.record.provenance.gin_text
    run = Run(request.config, workdir, systems=request.systems, gin_text=gin_text, command=command)
    if runner.run(run, wanted, replacements=replacements):
        raise RunError("the verification ended with the stage that failed")
    return read(workdir / "results" / f"{request.record.system.name}.json")


def _checked_data(request: Request, run: Run, data_stage: Callable[[Run], dict[str, Any]]) -> dict[str, Any]:
    """Runs the data stage and compares its sources with those of the record."""
    outcome = data_stage(run)
    assert request.record.provenance is not None
    digests = {name: entry["sha256"] for name, entry in run.data["source_files"].items()}
    fields = [
        *same_values("provenance.data_digests", request.record.provenance.data_digests, digests),
        same(
            "provenance.vocabulary_digest",
            request.record.provenance.vocabulary_digest,
            run.data["vocabulary"]["digest"],
        ),
    ]
    if different := [field for field in fields if field.outcome == verification.DIFFERENT]:
        raise _ContradictionError(different)
    return outcome


def _adopted_search(request: Request, run: Run) -> dict[str, Any]:
    """Writes the marker of a search with the outcome in the record."""
    name = request.record.system.name
    found = {name: _found(request)[name]} if request.record.system.kind == "found" else {}
    if request.record.system.kind == "control" and request.config.untrained_control == "found":
        found = {"found-control": to_dict(encoder_from_dict(request.record.system.encoder or {}))}
    result = {"found": found, "trials": len(request.record.search.trials) if request.record.search else 0}
    marker = {"fingerprint": fingerprint("adopted", result), "result": result, "seconds": 0.0}
    write_json(run.workdir / "search" / "stage.json", marker)
    run.progress("search: its outcome is taken from the record")
    return {**marker, "reused": False}


def _same_kind_of_machine(record: Record) -> bool:
    """Returns True where a measured latency of the record is comparable with one of this machine."""
    chips = {block.chip for block in record.latency if block.method == "measured"}
    first = jax.devices()[0]
    here = str(manifest.machine()["cpu_model"] or "unknown") if first.platform == "cpu" else first.device_kind
    return here in chips


def _no_latency(run: Run) -> dict[str, Any]:
    """Writes the marker of a latency stage without measurements."""
    result = {"processes": {}, "absent": {}, "device": manifest.device_info()}
    marker = {"fingerprint": fingerprint("not measured"), "result": result, "seconds": 0.0}
    write_json(run.workdir / "latency" / "stage.json", marker)
    run.progress("latency: not measured, as the record's is of another kind of machine")
    return {**marker, "reused": False}


def _compared_search(request: Request, workdir: Path) -> list[Compared]:
    """Compares the search: all its trials where it was run again, else the choice among those of the record."""
    if request.record.system.kind != "found" or request.record.search is None:
        return []
    name = request.record.system.name
    if not request.search:
        note = f"made again among the record's {len(request.record.search.trials)} trials, which were not run"
        return [Compared(field="search.choice", outcome="equal", recorded=name, found=name, note=note)]
    found = read(workdir / "results" / f"{name}.json").search
    trials = found.trials if found is not None else []
    one, two = ({str(i): _line(t) for i, t in enumerate(ts)} for ts in (request.record.search.trials, trials))
    fields = list(same_values("search.trials", one, two))
    if (measured := request.record.search.measured) is not None:
        note = "measured latencies are not repeated: the search was run again with those of the record"
        fields.append(not_compared("search.measured", len(measured.seconds), len(measured.seconds), note))
    return fields


def _line(trial: SearchTrial) -> str:
    point = ", ".join(f"{name}={value}" for name, value in trial.point.items())
    return f"{trial.generator}: {point}; {trial.status}, {trial.accuracy} %, {trial.latency_s} s"
