"""The teacher cache: the same bits as a live teacher, within its limits, whatever asks."""

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.distillation.outputs import Outputs
from benchmark.distillation.teacher_cache import TeacherCache

SIZE = 2 * 3 * 4 + 5 * 2


def outputs(number: int) -> Outputs:
    """Outputs of 34 bytes that tell the number, one of them in bfloat16."""
    logits = jnp.full((2, 3), number, jnp.float32) / 3
    return Outputs(logits, None, None, None, None, jnp.full((5,), number, jnp.bfloat16) / 3)


def same(one: Any, two: Any) -> bool:
    return str(jax.tree.structure(one)) == str(jax.tree.structure(two)) and all(
        a.dtype == b.dtype and np.asarray(a).tobytes() == np.asarray(b).tobytes()
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
    )


@given(
    st.lists(st.integers(0, 6), max_size=30),
    st.integers(0, 5 * SIZE),
    st.integers(0, 5 * SIZE),
)
def test_limits_hold_and_values_are_exact(keys: list[int], memory: int, disk: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        cache, asked = TeacherCache(memory, Path(folder) / "cache", disk), Counter[int]()

        def compute(key: int) -> Outputs:
            asked[key] += 1
            return outputs(key)

        for key in keys:
            assert same(cache.get(key, lambda key=key: compute(key)), outputs(key))  # type: ignore[misc]
            on_disk = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
            assert cache.memory_bytes <= memory and cache.disk_bytes == on_disk <= disk
        room = memory // SIZE + disk // SIZE
        first = list(dict.fromkeys(keys))
        for key in first[:room]:
            assert asked[key] == 1
        for key in first[room:]:
            assert asked[key] == keys.count(key)
        report = cache.report()
        assert report["computed"] == min(room, len(first))
        assert report["computed"] + report["reused"] + report["live"] == len(keys)
        cache.close()
        assert not (Path(folder) / "cache").exists()
        assert cache.report()["memory_bytes"] == cache.report()["disk_bytes"] == 0


def test_threads_that_ask_at_once_compute_once() -> None:
    cache, asked = TeacherCache(10 * SIZE), []

    def slow() -> Outputs:
        asked.append(threading.get_ident())
        time.sleep(0.05)
        return outputs(1)

    found: list[Outputs] = []
    threads = [threading.Thread(target=lambda: found.append(cache.get("key", slow))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == 1
    assert len(found) == 4 and all(same(one, outputs(1)) for one in found)


def test_a_failure_is_not_kept() -> None:
    cache = TeacherCache(10 * SIZE)

    def fail() -> Outputs:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.get("key", fail)
    assert same(cache.get("key", lambda: outputs(2)), outputs(2))
    assert cache.report()["computed"] == 1


def test_what_an_earlier_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "0.logits").write_bytes(b"old")
    cache = TeacherCache(0, tmp_path / "cache", 2 * SIZE)
    assert not (tmp_path / "cache").exists()
    cache.get(1, lambda: outputs(1))
    assert same(cache.get(1, lambda: outputs(9)), outputs(1))
