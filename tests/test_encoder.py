"""The encoder and its masked-LM head: the numbers of Hugging Face's BERT and MobileBERT, from the same parameters."""

import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import pytest
import torch
import transformers

from benchmark.config import EncoderConfig
from benchmark.models.encoder import Encoder
from benchmark.models.heads import MaskedLM
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

# Module names of Hugging Face below a layer, and ours.
LAYER_NAMES = {
    "bottleneck.input.dense": "input_bottleneck",
    "bottleneck.input.LayerNorm": "input_bottleneck_norm",
    "bottleneck.attention.dense": "attention_bottleneck",
    "bottleneck.attention.LayerNorm": "attention_bottleneck_norm",
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "attention_output",
    "attention.output.LayerNorm": "attention_norm",
    "output.bottleneck.dense": "output_bottleneck",
    "output.bottleneck.LayerNorm": "output_bottleneck_norm",
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


def our_name(name: str, layers: int) -> str:
    """Our module for a Hugging Face module of a layer; the last of several feed-forwards stands outside its list."""
    if name in LAYER_NAMES:
        return LAYER_NAMES[name]
    match = re.fullmatch(r"(?:ffn\.(\d+)\.)?(intermediate|output)\.(dense|LayerNorm)", name)
    assert match, name
    number = int(match[1]) if match[1] else layers - 1
    return f"{match[2]}{'_norm' if match[3] == 'LayerNorm' else ''}_{number}"


def leaf(name: str, values: torch.Tensor) -> tuple[str, np.ndarray]:
    """Last part of a parameter's path and its values; PyTorch's linear weights are transposed, norms have a `scale`."""
    array = values.detach().numpy()
    if name.endswith("bias"):
        return "bias", array
    return ("scale", array) if "LayerNorm" in name else ("kernel", array.T)


def our_parameters(model: Any, config: EncoderConfig) -> dict[str, Any]:
    """The parameters of a Hugging Face masked LM as our tree."""
    state: Mapping[str, torch.Tensor] = model.state_dict()
    body = {name.partition(".")[2]: values for name, values in state.items() if not name.startswith("cls.")}
    tables = ("word_embeddings", "position_embeddings", "token_type_embeddings")
    embeddings: dict[str, Any] = {name: body[f"embeddings.{name}.weight"].numpy() for name in tables}
    for theirs, ours in (("LayerNorm", "norm"), ("embedding_transformation", "transformation")):
        found = {name: values for name, values in body.items() if name.startswith(f"embeddings.{theirs}.")}
        if found:
            embeddings[ours] = dict(leaf(name, values) for name, values in found.items())
    stacks: dict[str, dict[str, list[np.ndarray]]] = {}
    for number in range(config.num_hidden_layers):
        prefix = f"encoder.layer.{number}."
        for name, values in body.items():
            if name.startswith(prefix):
                module = name.removeprefix(prefix).rpartition(".")[0]
                key, array = leaf(name, values)
                owner = stacks.setdefault(our_name(module, config.num_feedforward_networks), {})
                owner.setdefault(key, []).append(array)
    layers = {module: {key: np.stack(arrays) for key, arrays in owner.items()} for module, owner in stacks.items()}
    prediction = "cls.predictions."
    head: dict[str, Any] = {
        "transform": dict(leaf(n, state[n]) for n in state if n.startswith(prediction + "transform.dense")),
        "norm": dict(leaf(n, state[n]) for n in state if n.startswith(prediction + "transform.LayerNorm")),
        "bias": state[prediction + "decoder.bias"].numpy(),
    }
    if config.embedding_size < config.hidden_size:
        head["decoder"] = state[prediction + "dense.weight"].numpy()
    return {"encoder": {"embeddings": embeddings, "layers": layers}, "masked_lm": head}


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
        return model.apply({"params": params}, *inputs, output_hidden_states=True, output_attentions=True)

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
    logits, output = run(config, params, batch)
    inputs = {key: torch.from_numpy(values).long() for key, values in batch.items()}
    with torch.no_grad():
        expected = model(**inputs, output_hidden_states=True, output_attentions=True)
    real = batch["attention_mask"] > 0
    close(output.embeddings, expected.hidden_states[0], real)
    for number in range(config.num_hidden_layers):
        close(output.hidden_states[number], expected.hidden_states[number + 1], real)
        # Queries first, so that the mask of real positions picks them.
        probabilities = jax.nn.softmax(output.attention_scores[number], axis=-1).transpose(0, 2, 1, 3)
        close(probabilities, expected.attentions[number].permute(0, 2, 1, 3), real)
    close(output.last_hidden_state, expected.hidden_states[-1], real)
    close(logits, expected.logits, real)


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
    embeddings = [np.asarray(run(MOBILEBERT, parameters, b)[1].embeddings)[0] for b in (batch, changed)]
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
    np.testing.assert_allclose(results[1], results[0], atol=1e-5)
    np.testing.assert_allclose(results[2], results[0], atol=1e-5)


def test_logits_at_chosen_positions(parameters: dict[str, Any], batch: dict[str, np.ndarray]) -> None:
    everywhere, _ = run(MOBILEBERT, parameters, batch)
    positions = np.array([[3, 0], [6, 6], [1, 0]], np.int32)
    inputs = (batch["input_ids"], batch["attention_mask"], batch["token_type_ids"], positions)
    chosen, _ = MaskedLM(MOBILEBERT).apply({"params": parameters}, *inputs)
    expected = np.take_along_axis(np.asarray(everywhere), positions[..., None], axis=1)
    np.testing.assert_allclose(chosen, expected, atol=1e-5)
