"""Names of the modules in Hugging Face checkpoints, one `Layout` for each model type, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """Names in the checkpoints of one model type of transformers, without the prefix of the encoder (`bert.`).

    Attributes:
        family: the start of the names of its classes.
        stem: the list of layers.
        layer: modules of one layer: Hugging Face's name -> ours. Names of norms end in `norm`.
        heads: modules outside the encoder: Hugging Face's name -> head and our module.
        base_pooler: the dense map of the first token that belongs to the encoder; '' where there is none.
        classifier_pooler: the one that belongs to the classifier, where that does not read the encoder's.
        masked_lm_bias: bias of the masked-LM head.
        tied: tensors that repeat another one: name -> name of the other one.
        poolers: functions after the dense map that its classes compute, as `EncoderConfig.pooler` names them.
        masked_lm_act: activation of the masked-LM head where that is not `hidden_act`.
        pad_token_id: id of padding where a configuration does not say it.
    """

    family: str
    stem: str
    layer: Mapping[str, str]
    heads: Mapping[str, tuple[str, ...]]
    base_pooler: str
    classifier_pooler: str
    masked_lm_bias: str
    tied: Mapping[str, str]
    poolers: tuple[str, ...]
    masked_lm_act: str = ""
    pad_token_id: int = 0

    def pooler(self, *, with_classifier: bool) -> str:
        """Returns the dense map of the first token that a model's sequence head reads."""
        if with_classifier:
            return self.classifier_pooler or self.base_pooler
        return self.base_pooler or self.classifier_pooler


_BERT_LAYER = {
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "attention_output",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "intermediate_0",
    "output.dense": "output_0",
    "output.LayerNorm": "output_norm_0",
}
_DISTILBERT_LAYER = {
    "attention.q_lin": "query",
    "attention.k_lin": "key",
    "attention.v_lin": "value",
    "attention.out_lin": "attention_output",
    "sa_layer_norm": "attention_norm",
    "ffn.lin1": "intermediate_0",
    "ffn.lin2": "output_0",
    "output_layer_norm": "output_norm_0",
}
_MPNET_LAYER = {
    "attention.attn.q": "query",
    "attention.attn.k": "key",
    "attention.attn.v": "value",
    "attention.attn.o": "attention_output",
    "attention.LayerNorm": "attention_norm",
    "intermediate.dense": "intermediate_0",
    "output.dense": "output_0",
    "output.LayerNorm": "output_norm_0",
}
_SPAN = {"qa_outputs": ("span",)}
_BERT_HEADS = {
    "cls.predictions.transform.dense": ("masked_lm", "transform"),
    "cls.predictions.transform.LayerNorm": ("masked_lm", "norm"),
    "cls.seq_relationship": ("next_sentence",),
    "classifier": ("classifier",),
    **_SPAN,
}
_DISTILBERT_HEADS = {
    "vocab_transform": ("masked_lm", "transform"),
    "vocab_layer_norm": ("masked_lm", "norm"),
    "classifier": ("classifier",),
    **_SPAN,
}
_ELECTRA_HEADS = {
    "generator_predictions.dense": ("masked_lm", "transform"),
    "generator_predictions.LayerNorm": ("masked_lm", "norm"),
    "discriminator_predictions.dense": ("discriminator", "dense"),
    "discriminator_predictions.dense_prediction": ("discriminator", "prediction"),
    "classifier.out_proj": ("classifier",),
    **_SPAN,
}
_ROBERTA_HEADS = {
    "lm_head.dense": ("masked_lm", "transform"),
    "lm_head.layer_norm": ("masked_lm", "norm"),
    "classifier.out_proj": ("classifier",),
    **_SPAN,
}
_WORDS = "embeddings.word_embeddings.weight"
_BERT_TIED = {"cls.predictions.decoder.weight": _WORDS, "cls.predictions.decoder.bias": "cls.predictions.bias"}
_ROBERTA_TIED = {"lm_head.decoder.weight": _WORDS, "lm_head.decoder.bias": "lm_head.bias"}

LAYOUTS: Mapping[str, Layout] = {
    "bert": Layout(
        family="Bert",
        stem="encoder.layer",
        layer=_BERT_LAYER,
        heads=_BERT_HEADS,
        base_pooler="pooler.dense",
        classifier_pooler="",
        masked_lm_bias="cls.predictions.bias",
        tied=_BERT_TIED,
        poolers=("tanh",),
    ),
    "distilbert": Layout(
        family="DistilBert",
        stem="transformer.layer",
        layer=_DISTILBERT_LAYER,
        heads=_DISTILBERT_HEADS,
        base_pooler="",
        classifier_pooler="pre_classifier",
        masked_lm_bias="vocab_projector.bias",
        tied={"vocab_projector.weight": _WORDS},
        poolers=("relu",),
    ),
    "electra": Layout(
        family="Electra",
        stem="encoder.layer",
        layer=_BERT_LAYER,
        heads=_ELECTRA_HEADS,
        base_pooler="",
        classifier_pooler="classifier.dense",
        masked_lm_bias="generator_lm_head.bias",
        tied={"generator_lm_head.weight": _WORDS},
        poolers=("gelu",),
        masked_lm_act="gelu",
    ),
    # Its layer has more modules where its configuration has a bottleneck or several feed-forward networks.
    "mobilebert": Layout(
        family="MobileBert",
        stem="encoder.layer",
        layer=_BERT_LAYER,
        heads=_BERT_HEADS,
        base_pooler="pooler.dense",
        classifier_pooler="",
        masked_lm_bias="cls.predictions.bias",
        tied=_BERT_TIED,
        poolers=("tanh", "none"),
    ),
    "mpnet": Layout(
        family="MPNet",
        stem="encoder.layer",
        layer=_MPNET_LAYER,
        heads=_ROBERTA_HEADS,
        base_pooler="pooler.dense",
        classifier_pooler="classifier.dense",
        masked_lm_bias="lm_head.bias",
        tied=_ROBERTA_TIED,
        poolers=("tanh",),
        masked_lm_act="gelu",
        pad_token_id=1,
    ),
    "roberta": Layout(
        family="Roberta",
        stem="encoder.layer",
        layer=_BERT_LAYER,
        heads=_ROBERTA_HEADS,
        base_pooler="pooler.dense",
        classifier_pooler="classifier.dense",
        masked_lm_bias="lm_head.bias",
        tied=_ROBERTA_TIED,
        poolers=("tanh",),
        masked_lm_act="gelu",
        pad_token_id=1,
    ),
}
