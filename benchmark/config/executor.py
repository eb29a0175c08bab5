"""Settings of the executor of trials."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.config.checks import Checked, setting


@dataclass(frozen=True, kw_only=True)
class ExecutorConfig(Checked):
    """Place where the trials of a search are evaluated; with one trial at a time no result depends on it."""

    # `local`: threads of this process. `ray`: tasks of a Ray cluster (the extra `cluster`).
    name: str = setting("local", choices=("local", "ray"), changes_results=False)
    # A running cluster: `auto` on one of its machines, or `host:port`. "" starts Ray on this machine.
    ray_address: str = setting("", changes_results=False)
    # Each trial takes so many of a machine.
    cpus: float = setting(1.0, at_least=0.0, changes_results=False)
    gpus: float = setting(0.0, at_least=0.0, changes_results=False)
    tpus: float = setting(0.0, at_least=0.0, changes_results=False)
    # A trial whose worker or machine is lost is retried elsewhere, at most so often.
    max_retries: int = setting(3, at_least=0, changes_results=False)
