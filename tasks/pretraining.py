"""The pretraining tasks and the rows that they give, under versioned names. Standard library only.

As in the catalogue, a name ends in `_vN`, and a published task is never edited: where the same text and settings would
give other rows, a new version is added. `tests/tasks/seqio_tasks/test_sentence_pairs.py` holds digests of the rows of
every version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True)
class PretrainingTask:
    """A pretraining task as data."""

    # Its versioned name.
    name: str
    # True where rows are pairs with a next-sentence label.
    sentence_pairs: bool
    # The arrays that it gives.
    features: tuple[str, ...]
    description: str
    # Its source.
    citation: str = "Devlin et al. 2018, arXiv 1810.04805"


PRETRAINING_TASKS: Mapping[str, PretrainingTask] = MappingProxyType(
    {
        task.name: task
        for task in (
            PretrainingTask(
                name="pretrain_mlm_v1",
                sentence_pairs=False,
                features=("input_ids",),
                description="consecutive text of one document, cut into rows",
            ),
            PretrainingTask(
                name="pretrain_mlm_nsp_v1",
                sentence_pairs=True,
                features=("input_ids", "token_type_ids", "next_sentence_label"),
                description="two pieces of text, the second from another document in half of the rows",
            ),
        )
    }
)


def pretraining_task(sentence_pairs: bool) -> PretrainingTask:
    """Returns the newest version of a pretraining task.

    Args:
        sentence_pairs: True where rows are pairs with a next-sentence label.

    Returns:
        An entry of `PRETRAINING_TASKS`.
    """
    return PRETRAINING_TASKS["pretrain_mlm_nsp_v1" if sentence_pairs else "pretrain_mlm_v1"]
