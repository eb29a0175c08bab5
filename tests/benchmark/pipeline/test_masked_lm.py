"""Masked-LM scores of the systems of a run: one computation of the teacher's outputs, and who is compared with it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from benchmark.config import DataConfig, TrainerConfig
from benchmark.distillation.teacher_cache import Teacher, TeacherCache
from benchmark.evaluation.masked_lm import masked_logits
from benchmark.pipeline import masked_lm
from benchmark.pipeline.masked_lm import measure_masked_lm
from benchmark.pipeline.record import masked_lm_scores
from benchmark.training.pretrain import init_params
from tests.benchmark.evaluation.test_masked_lm import ENCODER, RATE, ROWS, SPECIAL, STUDENT, TEACHER


@dataclasses.dataclass
class Text:
    """What a measurement reads of a run."""

    config: Any = dataclasses.field(
        default_factory=lambda: Settings(DataConfig(pseudo_perplexity_rows=2), TrainerConfig())
    )
    special: Any = SPECIAL
    mesh: Any = None
    has_text: bool = True

    def rows(self, *names: str) -> Any:
        assert names == ("pretrain", "validation")
        return ROWS


@dataclasses.dataclass
class Settings:
    data: DataConfig
    trainer: TrainerConfig


def measure(run: Any, teacher: Teacher | None, **options: Any) -> dict[str, Any]:
    found = measure_masked_lm(run, ENCODER, STUDENT, RATE, teacher, **options)
    assert found is not None
    return found


def test_the_teacher_runs_once_for_all_students_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    original = masked_logits

    def counted(*arguments: Any) -> Any:
        calls.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(masked_lm, "masked_logits", counted)
    found = []
    # 22 rows are one batch.
    for limit, expected in ((2**20, 1), (0, 2)):
        teacher = Teacher(ENCODER, TEACHER, TeacherCache(limit))
        calls.clear()
        found += [measure(Text(), teacher), measure(Text(), teacher)]
        assert len(calls) == expected
    calls.clear()
    in_step = Text(Settings(DataConfig(pseudo_perplexity_rows=2), TrainerConfig(teacher_in_step=True)))
    teacher = Teacher(ENCODER, TEACHER, TeacherCache(2**20))
    found += [measure(in_step, teacher), measure(in_step, teacher)]
    assert len(calls) == 2 and teacher.cache is not None and teacher.cache.computed == 0
    assert all(one == found[0] for one in found)
    recorded = masked_lm_scores(found[0])
    assert recorded is not None and recorded.teacher_agreement == found[0]["teacher_agreement"]
    assert recorded.documents == 7 and recorded.pseudo_perplexity_rows == 2


def test_who_is_compared_with_whom() -> None:
    alone = measure(Text(), None)
    assert "teacher_kl" not in alone and "pseudo_perplexity" in alone
    larger = dataclasses.replace(ENCODER, vocab_size=48)
    assert measure(Text(), Teacher(larger, init_params(larger, 0))) == alone
    assert "pseudo_perplexity" not in measure(Text(), None, perplexity=False)
    without = Text(Settings(DataConfig(pseudo_perplexity_rows=0), TrainerConfig()))
    assert "pseudo_perplexity" not in measure(without, None)
    assert measure_masked_lm(Text(has_text=False), ENCODER, STUDENT, RATE) is None  # type: ignore[arg-type]
    assert masked_lm_scores({}) is None
