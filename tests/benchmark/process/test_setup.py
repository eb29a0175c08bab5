"""Time spent on compiling, by thread, and how often garbage is collected."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp

from benchmark.process.setup import collect_less_often, compile_seconds


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


def test_collections_become_rare() -> None:
    class Cycle:
        def __init__(self) -> None:
            self.itself = self

    def collections(number: int) -> int:
        before = sum(generation["collections"] for generation in gc.get_stats())
        for _ in range(number):
            Cycle()
        return sum(generation["collections"] for generation in gc.get_stats()) - before

    threshold, often = gc.get_threshold(), collections(100_000)
    try:
        collect_less_often()
        assert 0 < collections(100_000) < often / 10
    finally:
        gc.set_threshold(*threshold)
        gc.unfreeze()
