"""Time spent on compiling, by thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp

from benchmark.process import compile_seconds


def test_only_this_threads_compiling_counts() -> None:
    x = jnp.arange(4.0)
    program, other = jax.jit(lambda x: x * 3.5 - 1.25), jax.jit(lambda x: x * 7.5 - 1.75)
    with compile_seconds() as first:
        program(x)
        after_first = list(first)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(other, x).result()
    assert sum(after_first) > 0.0
    assert first == after_first
    with compile_seconds() as again:
        program(x)
        other(x)
    assert again == []
    # What is compiled afterwards is nobody's.
    jax.jit(lambda x: x * 9.5)(x)
    assert again == []
