"""One framework, one model, one process: builds the model, then times calls when told to.

`python -m tests.performance.inference_child FRAMEWORK MODEL BATCH` reads a number of calls from standard input
and answers with their times in nanoseconds as a JSON list. Between orders it sleeps, so that processes of other
frameworks have the machine to themselves.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

LENGTH = 128


def jax_model(encoder: Any, inputs: dict[str, np.ndarray]) -> Callable[[], Any]:
    """Our encoder, compiled ahead of time, parameters on the device."""
    import jax

    from benchmark.models.encoder import Encoder
    from benchmark.models.inference import compile_encoder
    from benchmark.training.initial import init_tree

    params = init_tree(Encoder(encoder), encoder, 0, num_inputs=3)
    run = compile_encoder(encoder, params, *inputs["input_ids"].shape)
    arrays = [
        jax.device_put(inputs[name].astype(np.int32)) for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    return lambda: jax.block_until_ready(run(*arrays))


def torch_model(encoder: Any, inputs: dict[str, np.ndarray], compiled: bool = False) -> Callable[[], Any]:
    """The same architecture in transformers, scaled dot-product attention, no gradients."""
    import torch
    import transformers

    from benchmark.models.hugging_face_config import encoder_to_json

    config = transformers.AutoConfig.for_model(**encoder_to_json(encoder))
    model = transformers.AutoModel.from_config(config, attn_implementation="sdpa").eval()
    tensors = {name: torch.from_numpy(value.astype(np.int64)) for name, value in inputs.items()}
    if compiled:
        model = torch.compile(model)

    def call() -> Any:
        with torch.inference_mode():
            return model(**tensors).last_hidden_state

    return call


def onnx_model(encoder: Any, inputs: dict[str, np.ndarray]) -> Callable[[], Any]:
    """The transformers model as an ONNX graph in ONNX Runtime, all its optimisations on."""
    import tempfile
    from pathlib import Path

    import onnxruntime
    import torch
    import transformers

    from baselines.onnx_export import export_graph
    from benchmark.models.hugging_face_config import encoder_to_json

    config = transformers.AutoConfig.for_model(**encoder_to_json(encoder))
    model = transformers.AutoModel.from_config(config, attn_implementation="eager").eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_graph(model, path, ("last_hidden_state",))
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    del model
    torch.set_num_threads(1)
    names = [entry.name for entry in session.get_inputs()]
    feeds = {name: inputs[name].astype(np.int64) for name in names}
    return lambda: session.run(None, feeds)


def main() -> None:
    """Builds the model named on the command line and serves orders until standard input ends."""
    from baselines.catalogue import baselines

    framework, name, batch = sys.argv[1], sys.argv[2], int(sys.argv[3])
    encoder = baselines()[name].encoder
    assert encoder is not None
    rng = np.random.default_rng(0)
    inputs = {
        "input_ids": rng.integers(1, encoder.vocab_size, (batch, LENGTH)),
        "attention_mask": np.ones((batch, LENGTH), np.int64),
        "token_type_ids": np.zeros((batch, LENGTH), np.int64),
    }
    start = time.perf_counter()
    makers = {
        "jax": jax_model,
        "torch": torch_model,
        "torch.compile": lambda e, i: torch_model(e, i, compiled=True),
        "onnxruntime": onnx_model,
    }
    call = makers[framework](encoder, inputs)
    call()
    print(json.dumps({"ready_s": time.perf_counter() - start}), flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            before = time.perf_counter_ns()
            call()
            times.append(time.perf_counter_ns() - before)
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main()
