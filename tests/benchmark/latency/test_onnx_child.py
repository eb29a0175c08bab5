"""Graphs of every model type against the encoder whose parameters they hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnxruntime
import pytest

from benchmark.latency import onnx_child
from benchmark.latency.runtimes import random_params
from benchmark.models.encoder import Encoder
from tests.helpers.encoders import small_encoder
from tests.helpers.hugging_face_models import electra, mpnet, plain, roberta

TYPES = {
    "bert": plain(),
    "distilbert": plain(type_vocab_size=0, pooler="relu"),
    "electra": electra(),
    "mobilebert": small_encoder(),
    "mpnet": mpnet(),
    "roberta": roberta(),
}


@pytest.mark.parametrize("name", TYPES)
def test_a_graph_computes_the_encoder(tmp_path: Path, name: str) -> None:
    encoder, pad = TYPES[name], max(0, TYPES[name].position_offset - 1)
    onnx_child.export(encoder, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    taken = [entry.name for entry in session.get_inputs()]
    assert ("token_type_ids" in taken) == (encoder.type_vocab_size > 1)
    rng = np.random.default_rng(0)
    # Another shape than the one that was traced.
    mask = (np.arange(13) < np.array([[13], [5], [9]])).astype(np.int64)
    ids = np.where(mask > 0, rng.integers(2, encoder.vocab_size, mask.shape), pad)
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "token_type_ids": (np.arange(13) > 6) * mask}
    (found,) = session.run(None, {name: inputs[name] for name in taken})
    run = jax.jit(lambda params, arrays: Encoder(encoder).apply({"params": params}, *arrays).last_hidden_state)
    expected = np.asarray(run(random_params(encoder), list(inputs.values())))
    np.testing.assert_allclose(found[mask > 0], expected[mask > 0], rtol=0, atol=1e-5 * np.abs(expected).max())


def test_an_encoder_without_a_class_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    import io

    from benchmark.config import to_dict

    odd = mpnet(relative_attention_num_buckets=8)
    wanted = {"odd": {"encoder": to_dict(odd), "file": str(tmp_path / "odd.onnx")}}
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(wanted)))
    onnx_child.main()
    answer = json.loads(capsys.readouterr().out)
    assert list(answer) == ["odd"] and "relative_attention_num_buckets is 8" in answer["odd"]
    assert not list(tmp_path.iterdir())
