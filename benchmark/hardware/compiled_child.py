"""The process that compiles encoders for a TPU; `benchmark.hardware.compiled` starts it.

On standard input one JSON object a line: first the target (`topology`, `cores`, `batch_size`,
`sequence_length`, `bytes_per_cycle`), then `{"encoder": ...}` for each architecture. On standard output one line for
each line of input: figures, or `{"error": ...}`. It ends with its input.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from typing import TYPE_CHECKING, Any, TextIO

import jax
import jax.numpy as jnp
from jax.sharding import Sharding, SingleDeviceSharding

from benchmark.config import ConfigError, EncoderConfig, encoder_from_dict
from benchmark.hardware import tpu_compiler
from benchmark.hardware.hlo_copies import copies
from benchmark.hardware.hlo_cycles import estimated_cycles
from benchmark.models.encoder import NEGATIVE, Embeddings, Encoder, EncoderLayer, relative_bias
from benchmark.training.initial import shapes
from tasks.system.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jax.tree_util import DictKey

_DTYPE = jnp.bfloat16


def serving_program(
    encoder: EncoderConfig, batch_size: int, length: int
) -> tuple[Callable[..., jax.Array], dict[str, Any]]:
    """Builds the encoder as a TPU would serve it.

    Layers are unrolled and each has its own arrays: sliced from stacked ones, as in training, a layer of MobileBERT
    costs twice the cycles. Weights are bfloat16; gain and bias of layer norms, which compute in float32,
    stay in float32.

    Returns:
        The function of parameters, ids, mask and types, and the shapes of its parameters.
    """
    embeddings = Embeddings(encoder, _DTYPE)
    layer = EncoderLayer(encoder, batch_size, length, False, False, False, accelerated=True)
    # One layer is traced and lowered once, however many there are.
    apply_layer = jax.jit(lambda params, hidden, *biases: layer.apply({"params": params}, hidden, *biases)[0])

    def run(
        params: dict[str, Any], input_ids: jax.Array, attention_mask: jax.Array, token_type_ids: jax.Array
    ) -> jax.Array:
        x = embeddings.apply({"params": params["embeddings"]}, input_ids, token_type_ids)
        biases = [jnp.where(attention_mask[:, None, None, :] > 0, 0.0, NEGATIVE)]
        if encoder.relative_attention_num_buckets:
            biases.append(relative_bias(params["relative_attention_bias"], length))
        hidden = x.reshape(batch_size * length, -1)
        for one in params["layers"]:
            hidden = apply_layer(one, hidden, *biases)
        return hidden.reshape(batch_size, length, -1)

    def stored(path: tuple[DictKey, ...], leaf: jax.ShapeDtypeStruct, skip: int) -> jax.ShapeDtypeStruct:
        norm = any("norm" in entry.key for entry in path) and encoder.normalization_type == "layer_norm"
        return jax.ShapeDtypeStruct(leaf.shape[skip:], jnp.float32 if norm else _DTYPE)

    tree = shapes(Encoder(encoder), num_inputs=3)
    one = jax.tree.map_with_path(lambda path, leaf: stored(path, leaf, 1), tree["layers"])
    outside = {name: values for name, values in tree.items() if name != "layers"}
    parameters = jax.tree.map_with_path(lambda path, leaf: stored(path, leaf, 0), outside)
    return run, parameters | {"layers": [one] * encoder.num_hidden_layers}


def compiled_text(encoder: EncoderConfig, batch_size: int, length: int, sharding: Sharding) -> str:
    """Compiles the serving program of an encoder for the device of the sharding; returns its optimised text."""
    run, parameters = serving_program(encoder, batch_size, length)
    ids = jax.ShapeDtypeStruct((batch_size, length), jnp.int32)
    arguments = (parameters, ids, ids, ids)
    placed = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), arguments)
    text = jax.jit(run).lower(*placed).compile().as_text()
    if text is None:
        raise StageError("the compiler gave no optimised program")
    return text


def device(topology: str, cores: int) -> jax.Device:
    """Returns one device of a slice.

    Raises:
        StageError: libtpu knows no such slice, or its devices have another number of cores.
    """
    found = tpu_compiler.devices(topology, cores)[0]
    # A chip with two cores, each of which is a device, reports 1.
    own = int(getattr(found, "num_cores", 1) or 1)
    if own != cores:
        raise StageError(f"topology {topology!r} has devices of {own} cores: expected ChipConfig.cores = {own}")
    return found


def answer(encoder: EncoderConfig, request: Mapping[str, Any], place: jax.Device) -> dict[str, Any]:
    """Compiles one encoder and returns its figures."""
    started = time.perf_counter()
    text = compiled_text(encoder, request["batch_size"], request["sequence_length"], SingleDeviceSharding(place))
    found = dataclasses.asdict(copies(text, request["bytes_per_cycle"]))
    return {"cycles": estimated_cycles(text), **found, "seconds": round(time.perf_counter() - started, 3)}


def serve(lines: TextIO, send: Callable[[dict[str, Any]], None]) -> None:
    """Answers lines until they end."""
    request: dict[str, Any] = {}
    place: jax.Device | None = None
    for line in lines:
        values = json.loads(line)
        try:
            if place is None:
                request, place = values, device(values["topology"], values["cores"])
                send({"device": place.device_kind})
            else:
                send(answer(encoder_from_dict(values["encoder"]), request, place))
        except (StageError, ConfigError, ValueError, jax.errors.JaxRuntimeError) as error:
            send({"error": tpu_compiler.first_line(error)})


def main() -> None:
    """Serves standard input."""

    def send(values: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(values) + "\n")
        sys.stdout.flush()

    serve(sys.stdin, send)


if __name__ == "__main__":
    main()
