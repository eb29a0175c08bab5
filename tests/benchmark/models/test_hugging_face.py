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
from safetensors.numpy import load_file, save_file

from benchmark.config import EncoderConfig
from benchmark.export import checkpoint_files
from benchmark.models.encoder import Encoder
from benchmark.models.heads import Discriminator, MaskedLM, SequenceModel, SpanModel
from benchmark.models.hugging_face import CheckpointError, to_state
from benchmark.models.hugging_face_config import encoder_from_json, encoder_to_json, export_type
from benchmark.training.losses import masked_lm_loss
from benchmark.training.masking import MaskedBatch
from tests.helpers.encoders import small_encoder
from tests.helpers.hugging_face_models import LABELS, electra, mpnet, plain, random_parameters, roberta

HEADS = {
    "": "AutoModel",
    "masked_lm": "AutoModelForMaskedLM",
    "next_sentence": "AutoModelForNextSentencePrediction",
    "discriminator": "AutoModelForPreTraining",
    "classifier": "AutoModelForSequenceClassification",
    "span": "AutoModelForQuestionAnswering",
}


@st.composite
def encoders(draw: st.DrawFn) -> EncoderConfig:
    """Any architecture that one of the six classes of `transformers` computes."""
    heads, width = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    kinds = ["bert", "distilbert", "electra", "mobilebert", "mpnet", "roberta"]
    intra, kind = heads * width, draw(st.sampled_from(kinds))
    common: dict[str, Any] = {
        "vocab_size": draw(st.integers(8, 60)),
        "num_hidden_layers": draw(st.integers(1, 3)),
        "num_attention_heads": heads,
        "intermediate_size": draw(st.integers(1, 30)),
        "max_position_embeddings": draw(st.integers(10, 20)),
        "hidden_act": draw(st.sampled_from(["gelu", "relu", "gelu_new"])),
    }
    if kind != "mobilebert":
        own: dict[str, Any] = {
            "type_vocab_size": draw(st.integers(1, 3)),
            "layer_norm_eps": draw(st.sampled_from([1e-12, 1e-5])),
        }
        if kind == "distilbert":
            own = {"type_vocab_size": 0, "layer_norm_eps": 1e-12, "pooler": "relu"}
        elif kind == "electra":
            # Generators have embeddings wider than the layers.
            embedding = draw(st.integers(1, 30))
            own |= {"embedding_size": embedding, "embedding_projection": embedding != intra, "pooler": "gelu"}
        elif kind == "roberta":
            own |= {"position_offset": draw(st.integers(1, 2))}
        elif kind == "mpnet":
            own |= {"position_offset": 2, "relative_attention_num_buckets": 32, "type_vocab_size": 0}
        return plain(**({"hidden_size": intra, "embedding_size": intra} | common | own))
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
    rng, pad = np.random.default_rng(seed), max(0, config.position_offset - 1)
    mask = (np.arange(length) < rng.integers(1, length + 1, (rows, 1))).astype(np.int32)
    types = rng.integers(0, max(1, config.type_vocab_size), mask.shape, dtype=np.int32)
    # transformers' RoBERTa and MPNet count positions over all ids but that of padding.
    ids = rng.integers(0, config.vocab_size - 1, mask.shape, dtype=np.int32)
    ids = np.where(mask > 0, ids + (ids >= pad), pad)
    return {"input_ids": ids.astype(np.int32), "attention_mask": mask, "token_type_ids": types}


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
    if head == "discriminator":
        return Discriminator(config, dtype).apply({"params": own}, *inputs)
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
    if model.config.model_type in ("distilbert", "mpnet"):
        del inputs["token_type_ids"]
    with torch.no_grad():
        return model.eval()(**inputs, output_hidden_states=True, output_attentions=True)


def assert_close(found: Any, expected: torch.Tensor, real: np.ndarray) -> None:
    """Equality to 1e-5 of the largest value where `real` says that there is a token."""
    found, wanted = np.asarray(found), expected.numpy()
    assert found.shape == wanted.shape
    scale = max(1.0, float(np.abs(wanted[real]).max(initial=0.0)))
    np.testing.assert_allclose(found[real], wanted[real], rtol=0, atol=1e-5 * scale)


def with_head(config: EncoderConfig, head: str) -> tuple[EncoderConfig, str]:
    """The nearest architecture and head that `transformers` has a class for."""
    kind = export_type(config)
    if head == "next_sentence" and kind not in ("bert", "mobilebert"):
        return config, "classifier"
    if head == "discriminator" and kind != "electra":
        return config, "span"
    fixed = head == "masked_lm" and kind in ("electra", "mpnet", "roberta")
    return (dataclasses.replace(config, hidden_act="gelu") if fixed else config), head


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(config=encoders(), head=st.sampled_from(list(HEADS)), rows=st.integers(1, 3), seed=st.integers(0, 9))
def test_exported_models_compute_the_same(
    tmp_path_factory: pytest.TempPathFactory, config: EncoderConfig, head: str, rows: int, seed: int
) -> None:
    config, head = with_head(config, head)
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
        assert_close(found, expected.logits, real if head in ("masked_lm", "discriminator") else everything)
    # And back: the same architecture and the same bits.
    again = checkpoint_files.read(directory)
    assert again.encoder == dataclasses.replace(config, position_initializer="normal")
    assert jax.tree.all(jax.tree.map(np.array_equal, again.params, params))


@pytest.mark.parametrize("make", [electra, mpnet, roberta], ids=["electra", "mpnet", "roberta"])
@pytest.mark.parametrize("head", ["", "masked_lm", "discriminator", "classifier", "span"])
def test_what_transformers_saves_is_read(tmp_path: Path, make: Any, head: str) -> None:
    """The other direction: a model of transformers' own, with names, defaults and padding as it writes them."""
    if with_head(make(), head)[1] != head:
        pytest.skip("transformers has no such class")
    values = encoder_to_json(make())
    known = transformers.AutoConfig.for_model(values.pop("model_type"), **values, num_labels=LABELS)
    if head == "span":
        known.num_labels = 2
    torch.manual_seed(0)
    model = getattr(transformers, HEADS[head]).from_config(known, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # A norm's weight stays near 1; padding rows, zero at the start, are drawn too.
            parameter.normal_(1.0 if "orm.weight" in name else 0.0, 0.2)
    model.save_pretrained(tmp_path)
    checkpoint = checkpoint_files.read(tmp_path)
    assert checkpoint.encoder == dataclasses.replace(make(), position_initializer="normal")
    batch = make_batch(make(), 3, 9)
    expected, found = theirs(tmp_path, head, batch), ours(checkpoint.encoder, head, checkpoint.params, batch)
    real = batch["attention_mask"] > 0
    if head == "":
        assert_close(found.last_hidden_state, expected.last_hidden_state, real)
        assert_close(found.embeddings, expected.hidden_states[0], real)
        if checkpoint.encoder.pooler == "tanh":
            pooler = checkpoint.params["pooler"]
            pooled = np.tanh(found.last_hidden_state[:, 0] @ pooler["kernel"] + pooler["bias"])
            assert_close(pooled, expected.pooler_output, np.ones(len(real), bool))
    elif head == "span":
        assert_close(found[..., 0], expected.start_logits, real)
    else:
        per_row = head == "classifier"
        assert_close(found, expected.logits, np.ones(len(real), bool) if per_row else real)


@pytest.mark.parametrize("make", [mpnet, roberta])
def test_a_classifier_reads_its_own_dense_map(tmp_path: Path, make: Any) -> None:
    """Older files hold the encoder's pooler beside it, which no classifier of these types reads."""
    config = make()
    params = random_parameters(config, "classifier")
    checkpoint_files.write(tmp_path, config, params)
    path, kind = tmp_path / "model.safetensors", export_type(config)
    state = load_file(path)
    assert "classifier.dense.weight" in state and not any("pooler" in name for name in state)
    stray = {f"{kind}.pooler.dense.{part}": state[f"classifier.dense.{part}"] + 1 for part in ("weight", "bias")}
    save_file(state | stray, path, metadata={"format": "pt"})
    found = checkpoint_files.read(tmp_path)
    assert found.heads == ("pooler", "classifier")
    assert jax.tree.all(jax.tree.map(np.array_equal, found.params, params))
    # Without a classifier it is the encoder's.
    alone = {name: value for name, value in (state | stray).items() if not name.startswith("classifier")}
    save_file(alone, path, metadata={"format": "pt"})
    kernel = checkpoint_files.read(tmp_path).params["pooler"]["kernel"]
    np.testing.assert_array_equal(kernel, params["pooler"]["kernel"] + 1)


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
    for encoder in (config, plain(), electra(), mpnet()):
        directory = tmp_path / export_type(encoder)
        params, batch = random_parameters(encoder, "classifier"), make_batch(encoder, 3, 8)
        labels = np.array([0, 2, 1])
        checkpoint_files.write(directory, encoder, params)
        model = transformers.AutoModelForSequenceClassification.from_pretrained(directory).eval()
        inputs = {name: torch.from_numpy(values).long() for name, values in batch.items()}
        if encoder.relative_attention_num_buckets:
            del inputs["token_type_ids"]
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
                gradient = gradient.copy()
                gradient[model.config.pad_token_id] = 0.0
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
        (dataclasses.replace(bottleneck, pooler="gelu"), "pooler"),
        (dataclasses.replace(bottleneck, position_offset=2), "intra_bottleneck_size is 128.*Roberta"),
        (mpnet(relative_attention_num_buckets=16), "relative_attention_num_buckets is 16.*MPNet, which has 32"),
        (mpnet(position_offset=0), "position_offset is 0.*MPNet, which has 2"),
        (mpnet(type_vocab_size=1), "type_vocab_size is 1.*MPNet"),
        (roberta(embedding_size=10, embedding_projection=True), "embedding_projection is True.*Roberta"),
        (roberta(embedding_size=10), "embedding_size is 10.*Roberta"),
        (roberta(type_vocab_size=0), "type_vocab_size is 0.*Roberta"),
        (electra(type_vocab_size=0), "type_vocab_size is 0.*Electra"),
        (electra(position_offset=2), "embedding_projection is True.*Roberta"),
    ):
        with pytest.raises(CheckpointError, match=message):
            encoder_to_json(config)


def test_the_id_of_padding() -> None:
    """`nn.Embedding` and the positions of RoBERTa and MPNet read it."""
    assert [encoder_to_json(make())["pad_token_id"] for make in (plain, electra, roberta, mpnet)] == [0, 0, 1, 1]
    assert encoder_to_json(plain(), 3)["pad_token_id"] == 3
    assert encoder_to_json(roberta(position_offset=6), 5)["pad_token_id"] == 5
    for config in (mpnet(), roberta()):
        with pytest.raises(CheckpointError, match="id of padding is 0.*position_offset is 2"):
            encoder_to_json(config, 0)


@pytest.mark.parametrize("make", [electra, mpnet, roberta])
def test_the_activation_of_the_masked_lm_head_is_fixed(tmp_path: Path, make: Any) -> None:
    config = make(hidden_act="relu")
    with pytest.raises(CheckpointError, match="hidden_act is 'relu'; the masked-LM head"):
        checkpoint_files.write(tmp_path, config, random_parameters(config, "masked_lm"))
    checkpoint_files.write(tmp_path, make(), random_parameters(make(), "masked_lm"))
    values = json.loads((tmp_path / "config.json").read_text()) | {"hidden_act": "relu"}
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="hidden_act is 'relu'; the masked-LM head"):
        checkpoint_files.read(tmp_path)


def test_heads_that_a_class_lacks_are_not_written(tmp_path: Path) -> None:
    for config, head in ((roberta(), "next_sentence"), (plain(), "discriminator")):
        with pytest.raises(CheckpointError, match=f"class with heads {head}"):
            checkpoint_files.write(tmp_path, config, random_parameters(config, head))


@pytest.mark.parametrize("name", ["bert", "mobilebert", "distilbert", "electra", "mpnet", "roberta"])
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
