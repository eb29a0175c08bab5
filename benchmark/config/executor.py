"""Settings of where trials are evaluated."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.config.checks import Checked, setting


@dataclass(frozen=True, kw_only=True)
class ExecutorConfig(Checked):
    """Where the trials of a search are evaluated; with one trial at a time no result depends on it.

    `name` is `local` (threads of this process) or `ray` (tasks of a Ray cluster, the extra `cluster`). `ray_address` is
    that of a running cluster (`auto` on one of its machines, or `host:port`); without it Ray is started on this
    machine. Every trial takes `cpus`, `gpus` and `tpus` of a machine. A trial whose worker or machine is lost is tried
    again on another, up to `max_retries` times.
    """

    name: str = setting("local", choices=("local", "ray"), changes_results=False)
    ray_address: str = setting("", changes_results=False)
    cpus: float = setting(1.0, at_least=0.0, changes_results=False)
    gpus: float = setting(0.0, at_least=0.0, changes_results=False)
    tpus: float = setting(0.0, at_least=0.0, changes_results=False)
    max_retries: int = setting(3, at_least=0, changes_results=False)
