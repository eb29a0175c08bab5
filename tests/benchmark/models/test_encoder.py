"""The encoder and its masked-LM head: the numbers of Hugging Face's BERT and MobileBERT, from the same parameters."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest
import torch
import transformers
from transformers.models.mpnet.modeling_mpnet import MPNetEncoder
from transformers.models.t5.modeling_t5 import T5Attention

from benchmark.config import ConfigError, EncoderConfig
from benchmark.models.encoder import MAX_DISTANCE, Encoder, relative_buckets
from benchmark.models.heads import MaskedLM
from benchmark.models.hugging_face import to_parameters
from benchmark.models.inference import UNROLLED_LAYERS, compile_encoder
from benchmark.training.initial import init_tree

COMMON: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 16,
}
BERT = EncoderConfig(
    **COMMON,
    embedding_size=32,
    intra_bottleneck_size=None,
    num_feedforward_networks=1,
    hidden_act="gelu",
    normalization_type="layer_norm",
    trigram_input=False,
    key_query_shared_bottleneck=False,
)
MOBILEBERT = EncoderConfig(**COMMON, embedding_size=12, intra_bottleneck_size=16, num_feedforward_networks=3)
# More layers than the serving program lays out in a row.
DEEP = dataclasses.replace(MOBILEBERT, num_hidden_layers=UNROLLED_LAYERS + 1)
MPNET = dataclasses.replace(BERT, type_vocab_size=0, position_offset=2, relative_attention_num_buckets=32)

CONFIGS = {
    "bert": BERT,
    "mobilebert": MOBILEBERT,
    "mobilebert-layer-norm-unshared": EncoderConfig(
        **COMMON,
        embedding_size=12,
        intra_bottleneck_size=16,
        num_feedforward_networks=1,
        normalization_type="layer_norm",
        key_query_shared_bottleneck=False,
    ),
    "mobilebert-tiny": EncoderConfig(
        **COMMON,
        embedding_size=32,
        intra_bottleneck_size=16,
        num_feedforward_networks=2,
        # Hugging Face would make a shared bottleneck, and then not use it.
        key_query_shared_bottleneck=False,
        use_bottleneck_attention=True,
    ),
}


def hugging_face(config: EncoderConfig) -> Any:
    """The model of `transformers`, with random parameters large enough to make every part matter."""
    shared = {name: getattr(config, name) for name in COMMON} | {"hidden_act": config.hidden_act}
    shared |= {"layer_norm_eps": config.layer_norm_eps, "attn_implementation": "eager"}
    shared |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model: Any
    if config.intra_bottleneck_size is None:
        model = transformers.BertForMaskedLM(transformers.BertConfig(**shared))
    else:
        names = (
            "embedding_size",
            "intra_bottleneck_size",
            "num_feedforward_networks",
            "normalization_type",
            "trigram_input",
            "key_query_shared_bottleneck",
            "use_bottleneck_attention",
        )
        own = {name: getattr(config, name) for name in names}
        model = transformers.MobileBertForMaskedLM(transformers.MobileBertConfig(**shared, **own))
        if not (config.key_query_shared_bottleneck or config.use_bottleneck_attention):
            # Hugging Face feeds these the layer's whole input, as the paper does, but makes them too narrow for it.
            for layer in model.mobilebert.encoder.layer:
                layer.attention.self.query = torch.nn.Linear(config.hidden_size, config.intra_size)
                layer.attention.self.key = torch.nn.Linear(config.hidden_size, config.intra_size)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            norm = "LayerNorm.weight" in name
            parameter.normal_(1.0 if norm else 0.0, 0.1 if norm else 0.15, generator=generator)
    for module in model.modules():
        # MobileBERT's embedding norm ignores the configured epsilon.
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = config.layer_norm_eps
    return model.eval()


def our_parameters(model: Any, config: EncoderConfig) -> dict[str, Any]:
    """The parameters of a Hugging Face masked LM as our tree."""
    shapes = init_tree(MaskedLM(config), config, 0, num_inputs=4)
    state = {name: values.numpy() for name, values in model.state_dict().items()}
    kind = "bert" if config.intra_bottleneck_size is None else "mobilebert"
    params: dict[str, Any] = to_parameters(state, shapes, config, kind)
    return params


@pytest.fixture(scope="module")
def batch() -> dict[str, np.ndarray]:
    """Three rows, two of them padded."""
    rng = np.random.default_rng(0)
    mask = (np.arange(11) < np.array([[11], [7], [2]])).astype(np.int32)
    ids = rng.integers(1, 60, mask.shape, dtype=np.int32) * mask
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": rng.integers(0, 2, mask.shape, dtype=np.int32)}


def run(config: EncoderConfig, params: Any, batch: dict[str, np.ndarray]) -> Any:
    positions = np.tile(np.arange(batch["input_ids"].shape[1], dtype=np.int32), (len(batch["input_ids"]), 1))
    model = MaskedLM(config)

    @jax.jit
    def forward(params: Any, batch: Any) -> Any:
        inputs = (batch["input_ids"], batch["attention_mask"], batch["token_type_ids"], positions)
        asked = {"output_hidden_states": True, "output_attentions": True, "output_values": True}
        return model.apply({"params": params}, *inputs, **asked)

    return forward(params, batch)


def close(ours: Any, theirs: torch.Tensor, real: np.ndarray) -> None:
    """Equality up to rounding on what `real` marks, relative to the largest value."""
    ours, expected = np.asarray(ours), theirs.detach().numpy()
    assert ours.shape == expected.shape
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(ours[real], expected[real], rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("name", CONFIGS)
def test_parity_with_hugging_face(name: str, batch: dict[str, np.ndarray]) -> None:
    config = CONFIGS[name]
    model = hugging_face(config)
    params = our_parameters(model, config)
    shapes = jax.tree.map(np.shape, init_tree(MaskedLM(config), config, 0, num_inputs=4))
    assert jax.tree.map(np.shape, params) == shapes
    logits, _, output = run(config, params, batch)
    inputs = {key: torch.from_numpy(values).long() for key, values in batch.items()}
    values: list[torch.Tensor] = []
    for layer in model.base_model.encoder.layer:
        layer.attention.self.value.register_forward_hook(lambda module, inputs, output: values.append(output))
    with torch.no_grad():
        expected = model(**inputs, output_hidden_states=True, output_attentions=True)
    real = batch["attention_mask"] > 0
    close(output.embeddings, expected.hidden_states[0], real)
    for number in range(config.num_hidden_layers):
        close(output.hidden_states[number], expected.hidden_states[number + 1], real)
        # Queries first, so that the mask of real positions picks them.
        probabilities = jax.nn.softmax(output.attention_scores[number], axis=-1).transpose(0, 2, 1, 3)
        close(probabilities, expected.attentions[number].permute(0, 2, 1, 3), real)
        close(output.values[number].reshape(*real.shape, -1), values[number], real)
    close(output.last_hidden_state, expected.hidden_states[-1], real)
    close(logits, expected.logits, real)


def test_buckets_of_distances() -> None:
    """All distances of 600 tokens, past `MAX_DISTANCE` and over the ends of every range."""
    distance = torch.arange(600)[None, :] - torch.arange(600)[:, None]
    assert torch.equal(torch.tensor(relative_buckets(600, 32)), MPNetEncoder.relative_position_bucket(distance))
    for buckets in (4, 6, 64, 256):
        expected = T5Attention._relative_position_bucket(distance, True, buckets, MAX_DISTANCE)
        assert torch.equal(torch.tensor(relative_buckets(600, buckets)), expected), buckets


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"embedding_projection": True}, "embedding_projection = True: expected False with trigram_input"),
        (
            {"embedding_projection": True, "trigram_input": False, "embedding_size": 32},
            "embedding_projection = True: expected False where embedding_size is hidden_size = 32",
        ),
        ({"embedding_size": 33}, "embedding_size = 33: expected at most hidden_size = 32"),
        ({"position_offset": 16}, "position_offset = 16: expected below max_position_embeddings = 16"),
        ({"relative_attention_num_buckets": 2}, "relative_attention_num_buckets = 2: expected 0 or an even number"),
        ({"relative_attention_num_buckets": 9}, "relative_attention_num_buckets = 9: expected 0 or an even number"),
        ({"relative_attention_num_buckets": 512}, "relative_attention_num_buckets = 512: expected int >= 0 <= 256"),
    ],
)
def test_settings_that_do_not_go_together(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        dataclasses.replace(MOBILEBERT, **values)
    assert message in str(caught.value)


def test_the_longest_sequence_leaves_out_the_first_rows() -> None:
    shifted = dataclasses.replace(BERT, position_offset=2)
    assert (BERT.max_length, shifted.max_length) == (16, 14)
    assert shifted.max_length_text == "max_position_embeddings - position_offset = 14"


def test_one_token_type_serves_all(batch: dict[str, np.ndarray]) -> None:
    """RoBERTa has one; rows of this project say 1 in the second part of a pair."""
    config = dataclasses.replace(BERT, type_vocab_size=1)
    params = init_tree(MaskedLM(config), config, 0, num_inputs=4)
    found, expected = (
        run(config, params, {**batch, "token_type_ids": batch["token_type_ids"] * n}).logits for n in (1, 0)
    )
    assert batch["token_type_ids"].any()
    np.testing.assert_array_equal(found, expected)


@pytest.fixture(scope="module")
def parameters() -> dict[str, Any]:
    return init_tree(MaskedLM(MOBILEBERT), MOBILEBERT, 0, num_inputs=4)


def test_padding_never_changes_real_positions(batch: dict[str, np.ndarray]) -> None:
    model = Encoder(BERT)
    params = init_tree(model, BERT, 0, num_inputs=3)
    forward = jax.jit(lambda p, inputs: model.apply({"params": p}, *inputs).last_hidden_state)
    real = batch["attention_mask"] > 0
    changed = {**batch, "input_ids": np.where(real, batch["input_ids"], 7)}
    names = ("input_ids", "attention_mask", "token_type_ids")
    before, after = (np.asarray(forward(params, [b[name] for name in names])) for b in (batch, changed))
    assert np.array_equal(before[real], after[real])
    assert not np.array_equal(before[~real], after[~real])


def test_trigrams_see_one_neighbour_on_either_side(parameters: dict[str, Any], batch: dict[str, np.ndarray]) -> None:
    changed = {key: values.copy() for key, values in batch.items()}
    changed["input_ids"][0, 5] += 1
    embeddings = [np.asarray(run(MOBILEBERT, parameters, b).encoder.embeddings)[0] for b in (batch, changed)]
    moved = (embeddings[0] != embeddings[1]).any(axis=-1)
    assert np.flatnonzero(moved).tolist() == [4, 5, 6]


def test_unroll_gives_the_same_numbers(parameters: dict[str, Any], batch: dict[str, np.ndarray]) -> None:
    names = ("input_ids", "attention_mask", "token_type_ids")
    results = []
    for unroll in (1, 2, 9):
        model = Encoder(MOBILEBERT, unroll)
        inputs = [batch[name] for name in names]
        output = jax.jit(lambda p, x, model=model: model.apply({"params": p}, *x))(parameters["encoder"], inputs)
        results.append(np.asarray(output.last_hidden_state))
        assert output.hidden_states is None
        assert output.attention_scores is None
        assert output.values is None
    np.testing.assert_allclose(results[1], results[0], atol=1e-5)
    np.testing.assert_allclose(results[2], results[0], atol=1e-5)


def test_logits_at_chosen_positions(parameters: dict[str, Any], batch: dict[str, np.ndarray]) -> None:
    everywhere = run(MOBILEBERT, parameters, batch).logits
    positions = np.array([[3, 0], [6, 6], [1, 0]], np.int32)
    inputs = (batch["input_ids"], batch["attention_mask"], batch["token_type_ids"], positions)
    chosen, *_ = MaskedLM(MOBILEBERT).apply({"params": parameters}, *inputs)
    expected = np.take_along_axis(np.asarray(everywhere), positions[..., None], axis=1)
    np.testing.assert_allclose(chosen, expected, atol=1e-5)


@pytest.mark.parametrize("config", [BERT, MOBILEBERT, DEEP, MPNET])
def test_the_serving_program_gives_the_same_numbers(config: EncoderConfig, batch: dict[str, np.ndarray]) -> None:
    model = Encoder(config)
    params = init_tree(model, config, 0, num_inputs=3)
    inputs = [batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")]
    run = compile_encoder(config, params, *inputs[0].shape)
    expected = jax.jit(lambda p, x: model.apply({"params": p}, *x).last_hidden_state)(params, inputs)
    np.testing.assert_allclose(run(*inputs), expected, atol=1e-5)
    # Another shape is refused instead of compiled.
    with pytest.raises(TypeError):
        run(*(values[:, :5] for values in inputs))
