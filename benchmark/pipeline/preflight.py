"""What can be known of a run before its first stage: it is refused in a second, and not after the teacher."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmark.config import ConfigError
from benchmark.hardware.estimates import roofline_latency
from benchmark.latency.onnx_graphs import missing_package
from benchmark.pipeline.search_latency import protocol
from benchmark.search.feasibility import feasibility, limits

if TYPE_CHECKING:
    from benchmark.config import RunConfig, SearchConfig


def preflight(config: RunConfig, stages: Sequence[str], *, distributed: bool = False) -> list[str]:
    """Checks what the stages need and describes the search space.

    Args:
        config: the settings, those of checkpoints filled in.
        stages: the stages to run.
        distributed: whether several processes join in the run.

    Returns:
        Lines for the report of a dry run.

    Raises:
        ConfigError: a package is missing, a student is deeper than the teacher or of another vocabulary, no
            architecture meets the limits, no method gives the search a latency, or a latency cannot be measured.
    """
    if {"search", "distill"} & set(stages):
        _check_depth(config)
        _check_vocabulary(config)
    if "latency" in stages:
        _check_runtimes(config)
    if config.search is None or "search" not in stages:
        return []
    executor = config.search.executor
    if executor.name == "ray" and importlib.util.find_spec("ray") is None:
        executor.refuse("name", "'local', as Ray is not installed (the extra 'cluster')")
    if config.search.algorithm == "nsga2" and importlib.util.find_spec("pymoo") is None:
        config.search.refuse("algorithm", "another one, as pymoo is not installed")
    if config.search.measures_latency:
        return _check_measured(config, distributed)
    _check_methods(config.search)
    return _check_limits(config.search)


def _check_runtimes(config: RunConfig) -> None:
    """Refuses a measurement of which every runtime is missing; one of several is left out and named in the records."""
    package = missing_package()
    if config.latency.runtimes == ("onnxruntime",) and package is not None:
        config.latency.refuse("runtimes", f"'xla' too, as {package} is not installed")


def _check_methods(search: SearchConfig) -> None:
    """Refuses a search none of whose methods can give a latency here."""
    reasons = []
    for method in search.latency_methods:
        try:
            search.chip.require(method, "peak_flops", "memory_bandwidth")
        except ConfigError as error:
            reasons.append(str(error))
            continue
        if method != "compiled" or importlib.util.find_spec("libtpu") is not None:
            return
        reasons.append("compiled needs libtpu, which is not installed")
    search.refuse("latency_methods", f"a method that works here: {'; '.join(reasons)}")


def _check_depth(config: RunConfig) -> None:
    """Refuses students of more layers than the teacher has; a space with conditions may leave such ones out."""
    if config.teacher is None:
        return
    most = config.teacher.architecture.num_hidden_layers
    for baseline in config.distilled_baselines:
        if baseline.architecture.num_hidden_layers > most:
            place = f"baseline {baseline.name!r}"
            baseline.architecture.refuse("num_hidden_layers", f"at most the teacher's {most} layers, in {place}")
    space = config.search.space if config.search is not None else None
    if space is not None and not space.conditions and max(space.num_hidden_layers) > most:
        space.refuse("num_hidden_layers", f"numbers of at most the teacher's {most} layers")


def _check_vocabulary(config: RunConfig) -> None:
    """Refuses architectures of another size than the vocabulary that the run trains; no other size is known yet."""
    if config.data.vocabulary != "train":
        return
    parts = [("the search space", config.search.space.base)] if config.search is not None else []
    if config.teacher is not None and config.teacher.checkpoint is None:
        parts.append(("the teacher", config.teacher.architecture))
    parts += [(f"baseline {b.name!r}", b.architecture) for b in config.distilled_baselines if b.checkpoint is None]
    size = config.data.vocabulary_size
    for whose, encoder in parts:
        if encoder.vocab_size != size:
            encoder.refuse("vocab_size", f"DataConfig.vocabulary_size = {size} for {whose}")


def _check_measured(config: RunConfig, distributed: bool) -> list[str]:
    """Refuses what a search that measures cannot do; its latencies are known when the search begins."""
    search = config.required_search()
    search.chip.require("measured", "peak_flops", "memory_bandwidth")
    if distributed:
        search.refuse("latency_methods", "estimates with --distributed, as the other processes disturb a measurement")
    for encoder, whose in ((search.space.base, "SearchSpace.base"), (config.latency.reference, "the reference")):
        if search.sequence_length > encoder.max_length:
            search.refuse("sequence_length", f"at most {encoder.max_length_text} of {whose}")
    runtime = protocol(config).runtimes[0]
    if runtime == "onnxruntime" and (package := missing_package()) is not None:
        config.latency.refuse("runtimes", f"'xla' first, as {package} is not installed")
    found = feasibility(search, roofline_latency(search))
    count = (
        "a space too large to list" if found is None else f"{found.small_enough} architectures within max_parameters"
    )
    if found is not None and not found.small_enough and not search.attach:
        search.refuse("max_parameters", f"limits that an architecture of the space meets; nearest: {found.nearest}")
    return [
        f"search: {count}; latency is measured on this machine, so latency_threshold_s ="
        f" {search.latency_threshold_s:g} counts when the search begins"
    ]


def _check_limits(search: SearchConfig) -> list[str]:
    """Counts the architectures that meet the limits of the search; refuses limits that none can meet."""
    try:
        latency = roofline_latency(search)
    except ConfigError:
        # Without the chip's figures there is no quick latency; the search itself says what it lacks.
        return []
    found = feasibility(search, latency)
    if found is None:
        return [f"search: a space too large to list; limits {limits(search)}"]
    # An exact latency of another method may be below a threshold that no roofline is.
    exact = search.latency_methods == ("roofline",)
    if not search.attach and (not found.small_enough or (exact and not found.feasible)):
        field = "latency_threshold_s" if found.small_enough else "max_parameters"
        search.refuse(field, f"limits that an architecture of the space meets; nearest: {found.nearest}")
    rank = " (a rank, not a time)" if latency.only_a_rank else ""
    near = f"; nearest: {found.nearest}" if found.nearest else ""
    return [
        f"search: {found.architectures} architectures, {found.feasible} within {limits(search)}, by the roofline of"
        f" {search.chip.name}{rank}{near}"
    ]
