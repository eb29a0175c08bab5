"""Work for a test: says with which numerics a worker of a cluster computes."""

from __future__ import annotations

import os
from typing import Any

from benchmark.process import numerics


class Numerics:
    """Evaluates to the worker's reduction threads; 0 with native numerics."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Numerics, ()

    def __call__(self, job: dict[str, Any]) -> dict[str, float]:
        """Takes any job."""
        return {"threads": float(numerics.threads_in_force(os.environ) or 0)}
