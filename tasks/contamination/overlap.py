"""Counts of evaluated examples that occur in training examples and in pretraining text."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass

from tasks.contamination.texts import METHOD, ExampleDigests, example_digests


@dataclass(frozen=True)
class Overlap:
    """Numbers of evaluated examples; None where there is nothing to compare with."""

    method: str
    examples: int
    # All texts together are a training example.
    same_example: int | None
    # A text, or a long sentence of one, stands in a training example.
    any_text: int | None
    # A long sentence is there to be looked for in pretraining text, and stands in it.
    long_sentence: int
    in_pretraining: int | None

    def to_dict(self) -> dict[str, str | int | None]:
        """Returns its fields as JSON can hold them."""
        return asdict(self)


class Evaluated:
    """The digests of the examples that are evaluated.

    They alone are kept: training examples and text stream by, so that memory grows with the evaluated split only.
    """

    def __init__(self, examples: Iterable[Sequence[str]]) -> None:
        """Digests the texts of each example."""
        self._examples: list[ExampleDigests] = [example_digests(texts) for texts in examples]
        self._same: set[int] | None = None
        self._parts: set[int] = set()

    @property
    def sentences(self) -> set[int]:
        """The digests to look for in pretraining text."""
        return {sentence for example in self._examples for sentence in example.sentences}

    def compare_training(self, examples: Iterable[Sequence[str]]) -> None:
        """Notes what stands in training examples, given by their texts."""
        wholes = {example.whole for example in self._examples}
        parts = {part for example in self._examples for part in example.parts}
        self._same = set()
        for texts in examples:
            found = example_digests(texts)
            if found.whole in wholes:
                self._same.add(found.whole)
            self._parts.update(part for part in found.parts if part in parts)

    def overlap(self, in_text: Collection[int] | None) -> Overlap:
        """Counts.

        Args:
            in_text: those of `sentences` that stand in the pretraining text; None without text.
        """
        same, parts, examples = self._same, self._parts, self._examples
        return Overlap(
            METHOD,
            len(examples),
            None if same is None else sum(e.whole in same for e in examples),
            None if same is None else sum(e.whole in same or not parts.isdisjoint(e.parts) for e in examples),
            sum(bool(e.sentences) for e in examples),
            None if in_text is None else sum(any(s in in_text for s in e.sentences) for e in examples),
        )
