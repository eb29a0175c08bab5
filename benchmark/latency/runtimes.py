"""Runtimes that are timed: an encoder of fixed shape in XLA, or its exported graph in ONNX Runtime.

Both return the last hidden state, `[batch, length, hidden]` in float32, with parameters that cost as much as trained
ones.
"""

from __future__ import annotations

import itertools
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.latency.inputs import FEATURES, Rows, batches, number_of_inputs
from benchmark.latency.timing import LatencyError, Timed
from tasks.system.cores import usable_cores

if TYPE_CHECKING:
    from benchmark.config import EncoderConfig

# Binds a program to the inputs of a cell and returns its timed function.
Bind = Callable[[list[Any]], Timed]


def random_params(encoder: EncoderConfig) -> dict[str, Any]:
    """Makes parameters of an encoder with the costs of trained ones, the same on every machine.

    Weights are normal with BERT's standard deviation of 0.02; norms and biases are near 1 and 0, but not there, since a
    compiler that knows the parameters would leave them out. All arrays repeat one block of random numbers, each from
    another place: drawing the 335 million of BERT_LARGE takes 22 CPU-seconds.
    """
    import jax

    from benchmark.models.encoder import Encoder
    from benchmark.training.initial import shapes

    # A prime length: no two rows of a matrix are alike.
    block = np.float32(0.02) * np.random.default_rng(0).standard_normal(1_000_003, np.float32)

    def fill(path: tuple[jax.tree_util.DictKey, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        first = zlib.crc32("/".join(entry.key for entry in path).encode()) % block.size
        return np.resize(np.roll(block, -first), leaf.shape) + np.float32(path[-1].key == "scale")

    return dict(jax.tree.map_with_path(fill, shapes(Encoder(encoder), num_inputs=3)))


class Xla:
    """jax's own compiler, for the device that jax computes on."""

    name = "xla"

    def __init__(self) -> None:
        self._params: dict[str, dict[str, Any]] = {}

    @property
    def threads(self) -> int | None:
        """Threads of a call: one for each usable core; None on an accelerator."""
        import jax

        return usable_cores() if jax.default_backend() == "cpu" else None

    def inputs(self, rows: Rows, batch_size: int, seed: int) -> tuple[list[Any], int]:
        """Puts inputs on the device.

        Returns:
            The inputs, and the median nanoseconds of copying one there.
        """
        import jax

        count = number_of_inputs(batch_size, rows.features["input_ids"].shape[1])
        placed, times = [], []
        for batch in itertools.islice(batches(rows, batch_size, seed), count):
            started = time.perf_counter_ns()
            placed.append(jax.block_until_ready(jax.device_put(batch)))
            times.append(time.perf_counter_ns() - started)
        return placed, int(np.median(times))

    def load(self, name: str, encoder: EncoderConfig, batch_size: int, length: int) -> Bind:
        """Compiles an encoder for a shape, ahead of time; its parameters are on the device."""
        from benchmark.models.inference import compile_encoder

        if name not in self._params:
            self._params[name] = random_params(encoder)
        serve = compile_encoder(encoder, self._params[name], batch_size, length)

        def bind(inputs: list[Any]) -> Timed:
            count = len(inputs)

            def run(i: int) -> int:
                ids, mask, types = inputs[i % count]
                started = time.perf_counter_ns()
                serve(ids, mask, types).block_until_ready()
                return time.perf_counter_ns() - started

            return run

        return bind


class OnnxRuntime:
    """ONNX Runtime on the processor, on graphs that `benchmark.latency.onnx_graphs` exported."""

    name = "onnxruntime"

    def __init__(self, graphs: dict[str, str]) -> None:
        import onnxruntime

        self._graphs = graphs
        # One pool for both sides: idle threads of a second pool would spin during the other side's calls.
        onnxruntime.set_global_thread_pool_sizes(self.threads, 1)

    @property
    def threads(self) -> int:
        """Threads of a call."""
        return usable_cores()

    def inputs(self, rows: Rows, batch_size: int, seed: int) -> tuple[list[Any], int]:
        """Returns inputs as the graphs take them, int64 arrays in the host's memory; a call copies nothing."""
        count = number_of_inputs(batch_size, rows.features["input_ids"].shape[1])
        drawn = itertools.islice(batches(rows, batch_size, seed), count)
        return [dict(zip(FEATURES, (a.astype(np.int64) for a in batch), strict=True)) for batch in drawn], 0

    def load(self, name: str, encoder: EncoderConfig, batch_size: int, length: int) -> Bind:  # noqa: ARG002
        """Opens the graph of an encoder, with all optimizations of the runtime.

        Raises:
            LatencyError: the runtime refuses the graph.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.use_per_session_threads = False
        options.log_severity_level = 3
        path = Path(self._graphs[name])
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        # Its errors have no common class.
        except Exception as error:  # noqa: BLE001
            raise LatencyError(f"{path}: ONNX Runtime refuses the graph: {str(error).splitlines()[0]}") from None
        taken = [entry.name for entry in session.get_inputs()]

        def bind(inputs: list[Any]) -> Timed:
            feeds = [{name: given[name] for name in taken} for given in inputs]
            count = len(feeds)

            def run(i: int) -> int:
                feed = feeds[i % count]
                started = time.perf_counter_ns()
                session.run(None, feed)
                return time.perf_counter_ns() - started

            return run

        return bind


Runtime = Xla | OnnxRuntime
