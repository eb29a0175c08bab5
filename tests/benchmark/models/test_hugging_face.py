"""Hugging Face checkpoints: the numbers of `transformers` from the same files, and the same bits after a round trip."""

from __future__ import annotations

import dataclasses
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmark.config import EncoderConfig
from benchmark.export import checkpoint_files
from benchmark.models.encoder import Encoder
from benchmark.models.heads import MaskedLM, SequenceModel, SpanModel
from benchmark.models.hugging_face import CheckpointError, to_state
from benchmark.models.hugging_face_config import encoder_from_json, encoder_to_json, export_type
from benchmark.training.losses import masked_lm_loss
from benchmark.training.masking import MaskedBatch
from tests.helpers.encoders import small_encoder
from tests.helpers.hugging_face_models import LABELS, plain, random_parameters

HEADS = {
    "": "AutoModel",
    "masked_lm": "AutoModelForMaskedLM",
    "next_sentence": "AutoModelForNextSentencePrediction",
    "classifier": "AutoModelForSequenceClassification",
    "span": "AutoModelForQuestionAnswering",
}


@st.composite
def encoders(draw: st.DrawFn) -> EncoderConfig:
    """Any architecture that one of the three classes of `transformers` computes."""
    heads, width = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    intra, kind = heads * width, draw(st.sampled_from(["bert", "distilbert", "mobilebert"]))
    common: dict[str, Any] = {
        "vocab_size": draw(st.integers(8, 60)),
        "num_hidden_layers": draw(st.integers(1, 3)),
        "num_attention_heads": heads,
        "intermediate_size": draw(st.integers(1, 30)),
        "max_position_embeddings": draw(st.integers(9, 20)),
        "hidden_act": draw(st.sampled_from(["gelu", "relu", "gelu_new"])),
    }
    if kind != "mobilebert":
        own: dict[str, Any] = {
            "type_vocab_size": draw(st.integers(1, 3)),
            "layer_norm_eps": draw(st.sampled_from([1e-12, 1e-5])),
        }
        if kind == "distilbert":
            own = {"type_vocab_size": 0, "layer_norm_eps": 1e-12, "pooler": "relu"}
        return plain(hidden_size=intra, embedding_size=intra, **common, **own)
    bottleneck = draw(st.booleans())
    hidden = draw(st.integers(2, 30)) if bottleneck else intra
    trigram = draw(st.booleans()) or hidden == 1
    embedding = draw(st.integers(1, hidden if trigram else hidden - 1))
    norm = draw(st.sampled_from(["no_norm", "layer_norm"]))
    narrow = bottleneck and draw(st.booleans())
    return EncoderConfig(
        **common,
        hidden_size=hidden,
        embedding_size=embedding,
        intra_bottleneck_size=intra if bottleneck else None,
        num_feedforward_networks=draw(st.integers(1, 3)) if bottleneck else 1,
        normalization_type=norm,
        layer_norm_eps=1e-5 if norm == "layer_norm" else 1e-12,
        trigram_input=trigram,
        key_query_shared_bottleneck=bottleneck and not narrow,
        use_bottleneck_attention=narrow,
        type_vocab_size=draw(st.integers(1, 3)),
        pooler=draw(st.sampled_from(["none", "tanh"])),
    )


def make_batch(config: EncoderConfig, rows: int, length: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random ids, rows of different lengths, no row empty."""
    rng = np.random.default_rng(seed)
    mask = (np.arange(length) < rng.integers(1, length + 1, (rows, 1))).astype(np.int32)
    types = rng.integers(0, max(1, config.type_vocab_size), mask.shape, dtype=np.int32)
    ids = rng.integers(1, config.vocab_size, mask.shape, dtype=np.int32) * mask
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


@partial(jax.jit, static_argnums=(0, 1, 4))
def ours(config: EncoderConfig, head: str, params: Any, batch: dict[str, np.ndarray], dtype: Any = jnp.float32) -> Any:
    """Our output for a head; for none all encoder outputs."""
    inputs = [jnp.asarray(batch[name]) for name in ("input_ids", "attention_mask", "token_type_ids")]
    own = {k: v for k, v in params.items() if k != "pooler" or head in ("classifier", "next_sentence")}
    if head == "masked_lm":
        positions = jnp.broadcast_to(jnp.arange(inputs[0].shape[1]), inputs[0].shape)
        return MaskedLM(config, dtype).apply({"params": own}, *inputs, positions)[0]
    if head == "span":
        return SpanModel(config, dtype).apply({"params": own}, *inputs)
    if head:
        outputs = LABELS if head == "classifier" else 2
        return SequenceModel(config, outputs, 1, dtype, head=head).apply({"params": own}, *inputs)
    model = Encoder(config, 1, dtype)
    return model.apply({"params": params["encoder"]}, *inputs, output_hidden_states=True, output_attentions=True)


def theirs(directory: Path, head: str, batch: dict[str, np.ndarray]) -> Any:
    """The output of `transformers` on the exported directory; nothing may be missing from or left over in it."""
    factory = getattr(transformers, HEADS[head])
    options = {"output_loading_info": True, "attn_implementation": "eager"}
    model, report = factory.from_pretrained(directory, **options)
    assert not report["unexpected_keys"], report
    assert not {key for key in report["missing_keys"] if "pooler" not in key}, report
    inputs = {name: torch.from_numpy(values).long() for name, values in batch.items()}
    if model.config.model_type == "distilbert":
        del inputs["token_type_ids"]
    with torch.no_grad():
        return model.eval()(**inputs, output_hidden_states=True, output_attentions=True)


def assert_close(found: Any, expected: torch.Tensor, real: np.ndarray) -> None:
    """Equality to 1e-5 of the largest value where `real` says that there is a token."""
    found, wanted = np.asarray(found), expected.numpy()
    assert found.shape == wanted.shape
    scale = max(1.0, float(np.abs(wanted[real]).max(initial=0.0)))
    np.testing.assert_allclose(found[real], wanted[real], rtol=0, atol=1e-5 * scale)


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(config=encoders(), head=st.sampled_from(list(HEADS)), rows=st.integers(1, 3), seed=st.integers(0, 9))
def test_exported_models_compute_the_same(
    tmp_path_factory: pytest.TempPathFactory, config: EncoderConfig, head: str, rows: int, seed: int
) -> None:
    if export_type(config) == "distilbert" and head == "next_sentence":
        head = "classifier"
    directory = tmp_path_factory.mktemp("exported")
    params, batch = random_parameters(config, head, seed), make_batch(config, rows, 8, seed)
    checkpoint_files.write(directory, config, params)
    expected, found = theirs(directory, head, batch), ours(config, head, params, batch)
    real = batch["attention_mask"] > 0
    if head == "":
        assert_close(found.last_hidden_state, expected.last_hidden_state, real)
        for layer in range(config.num_hidden_layers):
            assert_close(found.hidden_states[layer], expected.hidden_states[layer + 1], real)
            attention = jax.nn.softmax(found.attention_scores[layer], axis=-1)
            assert_close(np.moveaxis(np.asarray(attention), 1, 2), expected.attentions[layer].transpose(1, 2), real)
    elif head == "span":
        assert_close(found[..., 0], expected.start_logits, real)
        assert_close(found[..., 1], expected.end_logits, real)
    else:
        everything = np.ones(len(real), bool)
        assert_close(found, expected.logits, real if head == "masked_lm" else everything)
    # And back: the same architecture and the same bits.
    again = checkpoint_files.read(directory)
    assert again.encoder == dataclasses.replace(config, position_initializer="normal")
    assert jax.tree.all(jax.tree.map(np.array_equal, again.params, params))


@pytest.mark.parametrize("name", ["bert", "mobilebert", "mobilebert without pooler"])
def test_both_pretraining_heads(tmp_path: Path, name: str) -> None:
    """Logits and the summed loss of transformers' ForPreTraining classes."""
    config = plain()
    if name != "bert":
        pooler = "none" if "without" in name else "tanh"
        sizes: dict[str, Any] = {"vocab_size": 40, "embedding_size": 10, "hidden_size": 16, "num_hidden_layers": 2}
        sizes |= {"num_attention_heads": 2, "intra_bottleneck_size": 8, "intermediate_size": 12}
        config = EncoderConfig(**sizes, pooler=pooler)
    params, batch = random_parameters(config, "next_sentence"), make_batch(config, 4, 8)
    params["masked_lm"] = random_parameters(config, "masked_lm", 1)["masked_lm"]
    checkpoint_files.write(tmp_path, config, params)
    model = transformers.AutoModelForPreTraining.from_pretrained(tmp_path).eval()
    assert type(model).__name__ == ("BertForPreTraining" if name == "bert" else "MobileBertForPreTraining")
    # The first token of every row is predicted, its last real one only where there are two.
    ends = batch["attention_mask"].sum(axis=1) - 1
    positions = np.stack([np.zeros_like(ends), ends], axis=1).astype(np.int32)
    weights = np.stack([np.ones_like(ends), ends > 0], axis=1).astype(np.float32)
    labels, pairs = np.arange(8, dtype=np.int32).reshape(4, 2), np.array([0, 1, 1, 0], np.int32)
    places = np.full(batch["input_ids"].shape, -100)
    for row, (first, last) in enumerate(labels):
        places[row, ends[row]] = last
        places[row, 0] = first
    inputs = {key: torch.from_numpy(values).long() for key, values in (batch | {"labels": places}).items()}
    with torch.no_grad():
        expected = model(**inputs, next_sentence_label=torch.from_numpy(pairs).long())
    arrays: dict[str, Any] = {**batch, "positions": positions, "labels": labels, "weights": weights}
    masked = MaskedBatch(**arrays, next_sentence_labels=jnp.asarray(pairs))

    @jax.jit
    def both(params: Any, b: MaskedBatch) -> Any:
        model = MaskedLM(config, next_sentence=True)
        output = model.apply({"params": params}, b.input_ids, b.attention_mask, b.token_type_ids, b.positions)
        terms, metrics = masked_lm_loss(config, next_sentence=True)(params, b, {})
        total = sum((mean.value for mean in terms.values()), jnp.zeros(()))
        return output, total, {name: mean.value for name, mean in metrics.items()}

    found, loss, figures = both(params, jax.tree.map(jnp.asarray, masked))
    assert found.logits.shape == (4, 2, config.vocab_size)
    rows = np.arange(4)[:, None]
    np.testing.assert_allclose(found.logits, expected.prediction_logits.numpy()[rows, positions], atol=1e-5)
    np.testing.assert_allclose(found.next_sentence_logits, expected.seq_relationship_logits.numpy(), atol=1e-5)
    assert float(loss) == pytest.approx(float(expected.loss), rel=1e-5)
    right = expected.seq_relationship_logits.numpy().argmax(axis=1) == pairs
    assert float(figures["next_sentence_accuracy"]) == pytest.approx(right.mean())
    again = checkpoint_files.read(tmp_path)
    assert {"masked_lm", "next_sentence"} <= set(again.heads)
    assert jax.tree.all(jax.tree.map(np.array_equal, again.params, params))


def test_gradients_agree(tmp_path: Path) -> None:
    config = small_encoder(embedding_size=10, num_hidden_layers=2, num_feedforward_networks=2, pooler="tanh")
    for encoder in (config, plain()):
        directory = tmp_path / export_type(encoder)
        params, batch = random_parameters(encoder, "classifier"), make_batch(encoder, 3, 8)
        labels = np.array([0, 2, 1])
        checkpoint_files.write(directory, encoder, params)
        model = transformers.AutoModelForSequenceClassification.from_pretrained(directory).eval()
        inputs = {name: torch.from_numpy(values).long() for name, values in batch.items()}
        torch.nn.functional.cross_entropy(model(**inputs).logits, torch.from_numpy(labels)).backward()

        def loss(params: Any, encoder: EncoderConfig = encoder, batch: Any = batch, labels: Any = labels) -> Any:
            logits = jax.nn.log_softmax(ours(encoder, "classifier", params, batch))
            return -logits[jnp.arange(3), labels].mean()

        expected = {
            name: parameter.grad.numpy() for name, parameter in model.named_parameters() if parameter.grad is not None
        }
        # The exporter names gradients as it names parameters.
        kind = export_type(encoder)
        found = to_state(jax.tree.map(np.asarray, jax.grad(loss)(params)), encoder, kind)
        assert set(expected) == set(found)
        for name, gradient in found.items():
            if "word_embeddings" in name:
                # PyTorch never gives the padding token a gradient, though its neighbours read it through trigrams.
                gradient = np.concatenate([np.zeros_like(gradient[:1]), gradient[1:]])
            np.testing.assert_allclose(gradient, expected[name], rtol=0, atol=1e-4, err_msg=name)


def test_bfloat16_follows_float32() -> None:
    config = plain()
    params, batch = random_parameters(config, "masked_lm"), make_batch(config, 2, 8)
    exact, rough = (
        np.asarray(ours(config, "masked_lm", params, batch, dtype)) for dtype in (jnp.float32, jnp.bfloat16)
    )
    assert exact.dtype == rough.dtype == np.float32
    error = np.abs(exact - rough).max() / np.abs(exact).max()
    # bfloat16 has 8 bits of mantissa: close, and certainly not equal.
    assert 1e-4 < error < 0.05


def test_what_transformers_cannot_compute_is_not_exported() -> None:
    bottleneck = EncoderConfig()
    for config, message in (
        (dataclasses.replace(bottleneck, normalization_type="layer_norm"), "layer_norm_eps"),
        (dataclasses.replace(bottleneck, key_query_shared_bottleneck=False), "cannot run"),
        (dataclasses.replace(bottleneck, trigram_input=False, embedding_size=512), "embedding transformation"),
        (dataclasses.replace(bottleneck, pooler="relu"), "pooler"),
        (dataclasses.replace(bottleneck, type_vocab_size=0), "type_vocab_size"),
    ):
        with pytest.raises(CheckpointError, match=message):
            encoder_to_json(config)


@pytest.mark.parametrize("name", ["bert", "mobilebert", "distilbert"])
def test_default_architectures_of_transformers(name: str) -> None:
    """The published sizes, shapes only: our parameters are as many as theirs."""
    theirs = transformers.AutoConfig.for_model(name)
    encoder, model_type = encoder_from_json(json.loads(theirs.to_json_string(use_diff=False)))
    assert model_type == name
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(theirs)
    wanted = sum(math.prod(p.shape) for key, p in model.named_parameters() if "pooler" not in key)
    shapes = checkpoint_files.parameter_shapes(encoder, (), {})
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == wanted
