"""Closed formulas for the parameters and matrix-product FLOPs of an encoder, equal to the initialised tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from benchmark.config import EncoderConfig


class MatrixProduct(NamedTuple):
    """`copies` products of `[m, k]` by `[k, n]`; `weights` is True where the right side is a parameter."""

    name: str
    copies: int
    m: int
    k: int
    n: int
    weights: bool

    @property
    def flops(self) -> int:
        """Two operations for each multiply-add."""
        return 2 * self.copies * self.m * self.k * self.n


def _dense_shapes(c: EncoderConfig) -> list[tuple[str, int, int, bool]]:
    """Lists every dense map of one layer: name, inputs, outputs, and True where a norm follows."""
    intra, hidden = c.intra_size, c.hidden_size
    bottleneck = c.intra_bottleneck_size is not None
    shared = bottleneck and c.key_query_shared_bottleneck and not c.use_bottleneck_attention
    narrow = bottleneck and c.use_bottleneck_attention
    shapes = [("input_bottleneck", hidden, intra, True)] if bottleneck else []
    if shared:
        shapes.append(("attention_bottleneck", hidden, intra, True))
    query_inputs = intra if shared or narrow else hidden
    shapes += [("query", query_inputs, intra, False), ("key", query_inputs, intra, False)]
    shapes += [("value", intra if narrow else hidden, intra, False), ("attention_output", intra, intra, True)]
    for _ in range(c.num_feedforward_networks):
        shapes += [("intermediate", intra, c.intermediate_size, False), ("output", c.intermediate_size, intra, True)]
    if bottleneck:
        shapes.append(("output_bottleneck", intra, hidden, True))
    return shapes


def _embedding_inputs(c: EncoderConfig) -> int:
    """Number of inputs of the embedding transformation, 0 where there is none."""
    if c.trigram_input:
        return 3 * c.embedding_size
    return c.embedding_size if c.embedding_size != c.embedding_layer_size else 0


def num_parameters(c: EncoderConfig) -> int:
    """Counts the parameters of the encoder: embeddings and layers, no pooler, no task head."""
    width = c.embedding_layer_size
    total = c.vocab_size * c.embedding_size + (c.max_position_embeddings + c.type_vocab_size) * width
    if _embedding_inputs(c):
        total += (_embedding_inputs(c) + 1) * width
    total += 2 * width
    if c.embedding_projection:
        total += (width + 1) * c.hidden_size
    total += c.relative_attention_num_buckets * c.num_attention_heads
    layer = sum((inputs + 1) * outputs + (2 * outputs if norm else 0) for _, inputs, outputs, norm in _dense_shapes(c))
    return total + c.num_hidden_layers * layer


def parameter_counts(c: EncoderConfig) -> dict[str, int]:
    """Counts parameters in several ways, as publications differ.

    Returns:
        `encoder`: embeddings and layers, as records give it; `encoder_and_pooler`: with a dense map of the first token,
        as BERT's 109,482,240; `encoder_and_masked_lm_head`: with the head, whose output embeddings are the word table
        and count once; `layers`: the layers alone, without embeddings and relative position bias.
    """
    encoder, hidden, width = num_parameters(c), c.hidden_size, c.embedding_layer_size
    layer = sum((inputs + 1) * outputs + (2 * outputs if norm else 0) for _, inputs, outputs, norm in _dense_shapes(c))
    head = (hidden + 1) * width + 2 * width + c.vocab_size * (1 + width - c.embedding_size)
    return {
        "encoder": encoder,
        "encoder_and_pooler": encoder + (hidden + 1) * hidden,
        "encoder_and_masked_lm_head": encoder + head,
        "layers": c.num_hidden_layers * layer,
    }


def matrix_products(c: EncoderConfig, batch_size: int, sequence_length: int) -> list[MatrixProduct]:
    """Every matrix product of one forward pass, in order; those of a layer once, with `copies` over all layers."""
    tokens, layers = batch_size * sequence_length, c.num_hidden_layers
    products = []
    if _embedding_inputs(c):
        products.append(MatrixProduct("transformation", 1, tokens, _embedding_inputs(c), c.hidden_size, True))
    if c.embedding_projection:
        products.append(MatrixProduct("projection", 1, tokens, c.embedding_size, c.hidden_size, True))
    products += [MatrixProduct(name, layers, tokens, k, n, True) for name, k, n, _ in _dense_shapes(c)]
    heads = layers * batch_size * c.num_attention_heads
    products.append(MatrixProduct("scores", heads, sequence_length, c.head_size, sequence_length, False))
    products.append(MatrixProduct("context", heads, sequence_length, sequence_length, c.head_size, False))
    return products


def forward_flops(c: EncoderConfig, batch_size: int, sequence_length: int) -> int:
    """FLOPs of the matrix products of one forward pass, without heads."""
    return sum(product.flops for product in matrix_products(c, batch_size, sequence_length))


def masked_lm_head_flops(c: EncoderConfig, predictions: int) -> int:
    """FLOPs of the masked-LM head's matrix products: the dense map and the vocabulary, at `predictions` places."""
    return 2 * predictions * c.embedding_layer_size * (c.hidden_size + c.vocab_size)
