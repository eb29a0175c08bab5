"""Masked-LM scores of the systems of a run on its validation text, beside the teacher where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmark.distillation.outputs import Outputs
from benchmark.evaluation.masked_lm import TeacherLogits, evaluate_masked_lm, masked_logits
from benchmark.evaluation.pseudo_perplexity import pseudo_perplexity

if TYPE_CHECKING:
    import jax

    from benchmark.config import EncoderConfig
    from benchmark.distillation.teacher_cache import Teacher
    from benchmark.models.trees import Params
    from benchmark.pipeline.run_context import Run
    from benchmark.training.masking import MaskedBatch


def measure_masked_lm(
    run: Run,
    encoder: EncoderConfig,
    params: Params,
    mask_rate: float,
    teacher: Teacher | None = None,
    *,
    perplexity: bool = True,
) -> dict[str, Any] | None:
    """Measures a model on the validation text of a run; None in a run without text.

    Args:
        run: the run.
        encoder: architecture of the model.
        params: its parameters, with a masked-LM head.
        mask_rate: share of the tokens that are masked.
        teacher: the run's teacher; None for a model that is compared with none, such as the teacher itself. One with a
            vocabulary of another size is not compared.
        perplexity: measures the pseudo-perplexity, too, where the settings ask for it.

    Returns:
        The scores of `evaluate_masked_lm` and those of `pseudo_perplexity`.
    """
    if not run.has_text:
        return None
    rows, special, mesh = run.rows("pretrain", "validation"), run.special, run.mesh
    logits = None
    if teacher is not None and teacher.encoder.vocab_size == encoder.vocab_size:
        logits = teacher_logits(teacher, mask_rate, in_cache=not run.config.trainer.teacher_in_step)
    scores = evaluate_masked_lm(encoder, params, rows, special, mask_rate, mesh=mesh, teacher=logits)
    num_rows = run.config.data.pseudo_perplexity_rows
    if perplexity and num_rows:
        scores |= pseudo_perplexity(encoder, params, rows, special, num_rows, mask_rate, mesh=mesh)
    return scores


def teacher_logits(teacher: Teacher, mask_rate: float, *, in_cache: bool) -> TeacherLogits:
    """Makes the function that gives the teacher's logits on the batches of an evaluation.

    All models of a run are asked for the same tokens. The teacher's cache keeps its logits as far as there is room, and
    beyond that the teacher runs beside each model, batch by batch.

    Args:
        teacher: the teacher.
        mask_rate: share of the tokens that are masked.
        in_cache: keeps the logits in the cache of the teacher.
    """

    def compute(batch: MaskedBatch) -> Outputs:
        logits = masked_logits(teacher.encoder, teacher.params, batch).tokens
        return Outputs(logits, None, None, None, None, None)

    def logits(number: int, batch: MaskedBatch) -> jax.Array:
        if teacher.cache is None or not in_cache:
            found = compute(batch)
        else:
            found = teacher.cache.get(("validation", mask_rate, number), lambda: compute(batch))
        assert found.logits is not None
        return found.logits

    return logits
