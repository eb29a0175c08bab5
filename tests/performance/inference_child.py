"""One framework, one model, one process: reads the model, then times calls when told to.

`python -m tests.performance.inference_child FRAMEWORK CHECKPOINT BATCH` answers the first call with a sample of the
output, then reads numbers of calls from standard input and answers with their times in nanoseconds, each a line of
JSON. Between orders it sleeps, so that processes of other frameworks have the machine to themselves.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

LENGTH = 128


def jax_model(checkpoint: Path, inputs: dict[str, np.ndarray]) -> Callable[[], Any]:
    """Our encoder, compiled ahead of time, parameters on the device."""
    import jax

    from benchmark.export import checkpoint_files
    from benchmark.models.inference import compile_encoder

    model = checkpoint_files.read(checkpoint)
    run = compile_encoder(model.encoder, model.params["encoder"], *inputs["input_ids"].shape)
    arrays = [
        jax.device_put(inputs[name].astype(np.int32)) for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    return lambda: jax.block_until_ready(run(*arrays))


def load_torch(checkpoint: Path, attention: str) -> Any:
    """The encoder of a checkpoint as a transformers model, without the pooler that ours has not either."""
    import transformers

    return transformers.AutoModel.from_pretrained(
        checkpoint, attn_implementation=attention, add_pooling_layer=False
    ).eval()


def torch_model(checkpoint: Path, inputs: dict[str, np.ndarray], compiled: bool = False) -> Callable[[], Any]:
    """The same model in transformers, scaled dot-product attention, no gradients."""
    import torch

    model = load_torch(checkpoint, "sdpa")
    tensors = {name: torch.from_numpy(value.astype(np.int64)) for name, value in inputs.items()}
    if compiled:
        model = torch.compile(model, dynamic=False)

    def call() -> Any:
        with torch.inference_mode():
            return model(**tensors).last_hidden_state

    return call


def onnx_model(checkpoint: Path, inputs: dict[str, np.ndarray]) -> Callable[[], Any]:
    """The transformers model as an ONNX graph in ONNX Runtime, all its optimisations on."""
    import tempfile

    import onnxruntime
    import torch

    from benchmark.export.onnx_export import export_graph

    model = load_torch(checkpoint, "eager")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_graph(model, path, ("last_hidden_state",))
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    del model
    torch.set_num_threads(1)
    names = [entry.name for entry in session.get_inputs()]
    feeds = {name: inputs[name].astype(np.int64) for name in names}
    return lambda: session.run(None, feeds)[0]


MAKERS: dict[str, Callable[..., Callable[[], Any]]] = {
    "jax": jax_model,
    "torch": torch_model,
    "torch.compile": partial(torch_model, compiled=True),
    "onnxruntime": onnx_model,
}


def main() -> None:
    """Reads the model named on the command line and serves orders until standard input ends."""
    framework, checkpoint, batch = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    vocabulary_size = json.loads((checkpoint / "config.json").read_text())["vocab_size"]
    rng = np.random.default_rng(0)
    inputs = {
        "input_ids": rng.integers(1, vocabulary_size, (batch, LENGTH)),
        "attention_mask": np.ones((batch, LENGTH), np.int64),
        "token_type_ids": np.zeros((batch, LENGTH), np.int64),
    }
    call = MAKERS[framework](checkpoint, inputs)
    print(json.dumps(np.asarray(call())[:, ::16, ::8].tolist()), flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            before = time.perf_counter_ns()
            call()
            times.append(time.perf_counter_ns() - before)
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main()
