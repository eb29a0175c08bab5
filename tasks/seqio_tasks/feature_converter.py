"""The feature converter that gives the SeqIO tasks to encoders of other code, through `seqio.get_dataset`.

SeqIO's own converters serve T5-like models: they know `inputs` and `targets`. This one gives the inputs of BERT-like
encoders, under the names of the Hugging Face models. `tasks.seqio_tasks.registry.rows` does without it: token arrays
keep no mask, and the step would cost time for every row.
"""

from __future__ import annotations

from collections.abc import Mapping

import seqio
import tensorflow as tf

from tasks.system.errors import DataError

# Feature of a task -> feature of the model. A task has some of them; all are scalars.
_LABELS = {
    "label": "labels",
    "start_position": "start_positions",
    "end_position": "end_positions",
    "next_sentence_label": "next_sentence_label",
}


class EncoderFeatureConverter(seqio.FeatureConverter):
    """Converter of the rows of a task to `input_ids`, `attention_mask`, `token_type_ids` and labels.

    Rows are trimmed and padded to the given lengths. Trimming cuts at the end, so it is better to register a task with
    the length of the model. Nothing is packed. For example:

        task = seqio.get_mixture_or_task(register_task("glue_rte_v1", root, vocabulary, 128))
        converter = EncoderFeatureConverter(task.output_features)
        dataset = seqio.get_dataset(task.name, converter.lengths(128), converter, batch_size=32)

    Attributes:
        TASK_FEATURES: the features taken from the task: `input_ids`, `token_type_ids` where the task has them, its
            labels. Others, such as `index`, can be named in `passthrough_features`.
        MODEL_FEATURES: the features of the model: `input_ids`, `attention_mask` (1 on tokens, 0 on padding) and
            `token_type_ids` (0 where the task has none), all int32 `[length]`; `labels` (int32, or float32 for
            regression), or `start_positions` and `end_positions`, or `next_sentence_label`, scalars.
    """

    def __init__(
        self,
        output_features: Mapping[str, seqio.Feature],
        pad_id: int = 0,
        passthrough_features: Mapping[str, seqio.FeatureConverter.FeatureSpec] | None = None,
    ):
        """Fits the converter to a task.

        Args:
            output_features: those of the SeqIO task or mixture.
            pad_id: the id of [PAD] in its vocabulary.
            passthrough_features: further features of the task, passed on unchanged.

        Raises:
            DataError: if the task has no `input_ids`.
        """
        if "input_ids" not in output_features:
            raise DataError(f"the task has no feature input_ids; it has {', '.join(output_features)}")
        spec = self.FeatureSpec
        taken = [name for name in ("input_ids", "token_type_ids", *_LABELS) if name in output_features]
        self._pad_id = pad_id
        self._label_names = {name: model_name for name, model_name in _LABELS.items() if name in taken}
        self.TASK_FEATURES = {
            name: spec(dtype=output_features[name].dtype, rank=0 if name in _LABELS else 1) for name in taken
        }
        self.MODEL_FEATURES = {
            **{name: spec(dtype=tf.int32) for name in ("input_ids", "attention_mask", "token_type_ids")},
            **{
                model_name: spec(dtype=output_features[name].dtype, rank=0)
                for name, model_name in self._label_names.items()
            },
        }
        super().__init__(pack=False, passthrough_features=passthrough_features)

    def lengths(self, length: int) -> dict[str, int | None]:
        """Makes the `task_feature_lengths` of `seqio.get_dataset`.

        Args:
            length: the number of tokens of a row.

        Returns:
            Feature of the task -> length; None for scalars, which SeqIO must not trim.
        """
        features = {**self.TASK_FEATURES, **self._passthrough_features}
        return {name: length if feature.rank else None for name, feature in features.items()}

    def get_model_feature_lengths(self, task_feature_lengths: Mapping[str, int | None]) -> dict[str, int | None]:
        """Computes the lengths of the features of the model.

        Args:
            task_feature_lengths: feature of the task -> length.

        Returns:
            Feature of the model -> length.
        """
        length = task_feature_lengths["input_ids"]
        lengths = dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), length)
        lengths |= {model_name: task_feature_lengths[name] for name, model_name in self._label_names.items()}
        return lengths | {name: task_feature_lengths[name] for name in self._passthrough_features}

    def _convert_features(self, ds: tf.data.Dataset, task_feature_lengths: Mapping[str, int | None]) -> tf.data.Dataset:
        """Converts every row."""
        length = task_feature_lengths["input_ids"]

        def convert(row: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            ids = _fit(row["input_ids"], length, self._pad_id)
            types = tf.cast(row["token_type_ids"], tf.int32) if "token_type_ids" in self.TASK_FEATURES else ids[:0]
            model_row = {
                "input_ids": ids,
                "attention_mask": _mask(ids, self._pad_id),
                "token_type_ids": _fit(types, length, 0),
            }
            model_row |= {model_name: row[name] for name, model_name in self._label_names.items()}
            return model_row | {name: row[name] for name in self._passthrough_features}

        return ds.map(convert, num_parallel_calls=tf.data.AUTOTUNE)


def _mask(ids: tf.Tensor, padding: int) -> tf.Tensor:
    """Marks all tokens up to the last one that is not padding; a [PAD] before it is of the text."""
    places = tf.range(1, tf.shape(ids)[0] + 1)
    used = tf.reduce_max(tf.where(tf.not_equal(ids, padding), places, 0))
    return tf.cast(places <= used, tf.int32)


def _fit(values: tf.Tensor, length: int | None, padding: int) -> tf.Tensor:
    """Trims and pads a vector to a length."""
    values = values[:length]
    values = tf.pad(values, [(0, length - tf.shape(values)[0])], constant_values=padding)
    values.set_shape((length,))
    return values
