"""Masked-LM scores of a system in its record: agreement with the teacher, and pseudo-perplexity."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from benchmark.records.strict_schema import Percent, StrictModel

Positive = Annotated[int, Field(ge=1, le=2**53)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class MaskedLMScores(StrictModel):
    """Scores on validation text whose masks depend on the text alone, with standard errors over its documents.

    `accuracy_stderr` (percentage points) and `loss_stderr` (nats) are the errors of `Training.masked_lm_accuracy` and
    `Training.masked_lm_loss`. `teacher_agreement` is the percentage of masked tokens for which the system has the
    teacher's likeliest token, `teacher_kl` the mean Kullback-Leibler divergence of the teacher's distribution from the
    system's, in nats; both are those of students that the teacher taught. `documents` counts
    what errors are taken over: documents, or rows where all text is one document; errors are null where that is one
    row. The pseudo-perplexity (arXiv 1910.14659) is that of `pseudo_perplexity_tokens` tokens of
    `pseudo_perplexity_rows` rows, each masked alone; null where it was not asked for.
    """

    documents: Positive
    accuracy_stderr: NotNegative | None = None
    loss_stderr: NotNegative | None = None
    teacher_agreement: Percent | None = None
    teacher_agreement_stderr: NotNegative | None = None
    teacher_kl: NotNegative | None = None
    teacher_kl_stderr: NotNegative | None = None
    pseudo_perplexity: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    pseudo_perplexity_stderr: NotNegative | None = None
    pseudo_perplexity_tokens: Positive | None = None
    pseudo_perplexity_rows: Positive | None = None
