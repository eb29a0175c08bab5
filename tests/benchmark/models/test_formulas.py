"""Parameter and FLOP formulas: published numbers, and the trees that are really made."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.config import EncoderConfig
from benchmark.models.encoder import Encoder
from benchmark.models.formulas import forward_flops, matrix_products, num_parameters, parameter_counts
from benchmark.models.heads import MaskedLM, SequenceModel

MOBILEBERT = EncoderConfig()
BERT_BASE = EncoderConfig(
    embedding_size=768,
    hidden_size=768,
    num_hidden_layers=12,
    num_attention_heads=12,
    intra_bottleneck_size=None,
    intermediate_size=3072,
    num_feedforward_networks=1,
    hidden_act="gelu",
    normalization_type="layer_norm",
    trigram_input=False,
    key_query_shared_bottleneck=False,
)
TINYBERT4 = dataclasses.replace(
    BERT_BASE, embedding_size=312, hidden_size=312, num_hidden_layers=4, intermediate_size=1200
)
BERT_LARGE = dataclasses.replace(
    BERT_BASE,
    embedding_size=1024,
    hidden_size=1024,
    num_hidden_layers=24,
    num_attention_heads=16,
    intermediate_size=4096,
)
DISTILBERT = dataclasses.replace(BERT_BASE, num_hidden_layers=6, type_vocab_size=0)
IB_BERT_LARGE = dataclasses.replace(
    MOBILEBERT,
    intra_bottleneck_size=1024,
    intermediate_size=4096,
    num_feedforward_networks=1,
    normalization_type="layer_norm",
    key_query_shared_bottleneck=False,
)
ELECTRA_SMALL = dataclasses.replace(
    BERT_BASE,
    embedding_size=128,
    embedding_projection=True,
    hidden_size=256,
    num_attention_heads=4,
    intermediate_size=1024,
)
ELECTRA_GENERATOR = dataclasses.replace(ELECTRA_SMALL, hidden_size=64, num_attention_heads=1, intermediate_size=256)
ROBERTA_BASE = dataclasses.replace(
    BERT_BASE, vocab_size=50265, max_position_embeddings=514, position_offset=2, type_vocab_size=1
)
MPNET_BASE = dataclasses.replace(
    BERT_BASE,
    vocab_size=30527,
    max_position_embeddings=514,
    position_offset=2,
    type_vocab_size=0,
    relative_attention_num_buckets=32,
)
EDGETPU_XS = dataclasses.replace(MOBILEBERT, num_hidden_layers=8, intra_bottleneck_size=256, intermediate_size=1024)
EDGETPU_S = dataclasses.replace(EDGETPU_XS, num_hidden_layers=12)
EDGETPU_M = dataclasses.replace(EDGETPU_S, num_feedforward_networks=6)
MOBILEBERT_TINY = dataclasses.replace(MOBILEBERT, num_feedforward_networks=2, use_bottleneck_attention=True)


@pytest.mark.parametrize(
    ("config", "convention", "published"),
    [
        (BERT_BASE, "encoder_and_pooler", 109_482_240),
        (BERT_LARGE, "encoder_and_pooler", 335_141_888),
        (DISTILBERT, "encoder", 66_362_880),
        (MOBILEBERT, "encoder", 24_581_888),
        (dataclasses.replace(MOBILEBERT, key_query_shared_bottleneck=False), "encoder", 25_359_104),
        (IB_BERT_LARGE, "encoder", 294_205_184),
        (MOBILEBERT_TINY, "encoder", 15_485_696),
        (EDGETPU_XS, "encoder", 27_006_720),
        (EDGETPU_S, "encoder", 38_326_016),
        (EDGETPU_M, "encoder", 50_951_936),
    ],
)
def test_published_parameters(config: EncoderConfig, convention: str, published: int) -> None:
    assert parameter_counts(config)[convention] == published


@pytest.mark.parametrize(
    "config", [MOBILEBERT, BERT_BASE, DISTILBERT, TINYBERT4, ELECTRA_SMALL, ELECTRA_GENERATOR, ROBERTA_BASE, MPNET_BASE]
)
def test_conventions_equal_the_trees(config: EncoderConfig) -> None:
    ids = jnp.zeros((1, 8), jnp.int32)

    def size(model: Any, inputs: int) -> int:
        tree = jax.eval_shape(model.init, jax.random.key(0), *[ids] * inputs)["params"]
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))

    counts = parameter_counts(config)
    assert counts["encoder"] == num_parameters(config) == size(Encoder(config), 3)
    assert counts["encoder_and_masked_lm_head"] == size(MaskedLM(config), 4)
    with_pooler = SequenceModel(dataclasses.replace(config, pooler="tanh"), 1)
    assert counts["encoder_and_pooler"] == size(with_pooler, 3) - (config.hidden_size + 1)
    layers = jax.eval_shape(Encoder(config).init, jax.random.key(0), ids, ids, ids)["params"]["layers"]
    assert counts["layers"] == sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(layers))


@pytest.mark.parametrize(
    "config", [BERT_BASE, DISTILBERT, MOBILEBERT, MOBILEBERT_TINY, TINYBERT4, ELECTRA_SMALL, MPNET_BASE]
)
def test_flops_are_those_of_the_program(config: EncoderConfig) -> None:
    """Against XLA's own count, which holds norms, softmax and sums too."""
    # All layers in a row: of a loop XLA counts the body once.
    model = Encoder(config, config.num_hidden_layers)
    ids = jax.ShapeDtypeStruct((1, 128), jnp.int32)
    params = jax.eval_shape(model.init, jax.random.key(0), *[jnp.zeros((1, 128), jnp.int32)] * 3)

    def forward(params: Any, ids: Any, mask: Any) -> Any:
        return model.apply(params, ids, mask, jnp.zeros_like(ids)).last_hidden_state

    analysis: Any = jax.jit(forward).lower(params, ids, ids).cost_analysis()
    counted = analysis["flops"]
    assert forward_flops(config, 1, 128) <= counted <= 1.02 * forward_flops(config, 1, 128)


@pytest.mark.parametrize(
    ("config", "billions"),
    [(BERT_BASE, 22.35), (MOBILEBERT, 5.39), (MOBILEBERT_TINY, 3.07), (TINYBERT4, 1.25)],
)
def test_known_flops_at_128_tokens(config: EncoderConfig, billions: float) -> None:
    assert round(forward_flops(config, 1, 128) / 1e9, 2) == billions


@st.composite
def encoders(draw: st.DrawFn) -> EncoderConfig:
    heads, head_size = draw(st.integers(1, 4)), draw(st.integers(1, 8))
    bottleneck, intra = draw(st.booleans()), heads * head_size
    hidden = draw(st.integers(1, 48)) if bottleneck else intra
    projected = draw(st.booleans())
    embedding = draw(st.integers(1, 48)) if projected else draw(st.integers(1, hidden))
    return EncoderConfig(
        vocab_size=draw(st.integers(8, 100)),
        embedding_size=embedding,
        embedding_projection=projected and embedding != hidden,
        position_offset=draw(st.integers(0, 2)) if projected else 0,
        relative_attention_num_buckets=draw(st.sampled_from([0, 4, 32])),
        hidden_size=hidden,
        num_hidden_layers=draw(st.integers(1, 5)),
        num_attention_heads=heads,
        intra_bottleneck_size=intra if bottleneck else None,
        intermediate_size=draw(st.integers(1, 40)),
        num_feedforward_networks=draw(st.integers(1, 4)) if bottleneck else 1,
        trigram_input=not projected and draw(st.booleans()),
        key_query_shared_bottleneck=draw(st.booleans()),
        use_bottleneck_attention=draw(st.booleans()),
        max_position_embeddings=draw(st.integers(10, 64)),
        type_vocab_size=draw(st.integers(1, 4)),
    )


def abstract_parameters(config: EncoderConfig) -> Any:
    ids = jnp.zeros((1, 8), jnp.int32)
    return jax.eval_shape(Encoder(config).init, jax.random.key(0), ids, ids, ids)["params"]


@settings(max_examples=25)
@given(config=encoders())
def test_formulas_equal_the_tree(config: EncoderConfig) -> None:
    params = abstract_parameters(config)
    assert num_parameters(config) == sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    # Every kernel is the right side of one product for each of its layers, and nothing else is.
    kernels = [leaf.shape for path, leaf in jax.tree.leaves_with_path(params) if path[-1].key == "kernel"]
    products = [p for p in matrix_products(config, 2, 8) if p.weights]
    assert sum(p.copies * p.k * p.n for p in products) == sum(math.prod(shape) for shape in kernels)


@settings(max_examples=25)
@given(config=encoders(), batch=st.integers(1, 4), length=st.integers(1, 64))
def test_flops_grow_with_the_batch(config: EncoderConfig, batch: int, length: int) -> None:
    assert forward_flops(config, batch, length) == batch * forward_flops(config, 1, length)
    deeper = dataclasses.replace(config, num_hidden_layers=config.num_hidden_layers + 1)
    assert forward_flops(deeper, batch, length) > forward_flops(config, batch, length)


def test_flops_by_hand() -> None:
    config = dataclasses.replace(
        BERT_BASE, embedding_size=4, hidden_size=4, num_hidden_layers=1, num_attention_heads=2, intermediate_size=6
    )
    # Query, key, value, output; the feed-forward's two; scores and context over both heads, for 3 tokens.
    multiply_adds = 4 * 3 * 4 * 4 + 2 * 3 * 4 * 6 + 2 * 2 * 3 * 3 * 2
    assert forward_flops(config, 1, 3) == 2 * multiply_adds
