"""What is left of search and distillation: steps of students, the teacher's outputs on their batches, evaluation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from benchmark.distillation.distill import phase_objective
from benchmark.dry_run.programs import Calls, Job, Program, StageWork
from benchmark.dry_run.students import students_of, typical_trial
from benchmark.evaluation.masked_lm import BATCH_SIZE
from benchmark.training.masking import num_predictions

if TYPE_CHECKING:
    from benchmark.config import DistillConfig, EncoderConfig, RunConfig
    from benchmark.distillation.outputs import Needs
    from benchmark.dry_run.done import Done
    from benchmark.dry_run.rows import Rows

# Seconds on the machine of docs/performance.md: beside the steps of a trial and of a student, and of Ax.
TRIAL_OVERHEAD, STUDENT_OVERHEAD, AX_OVERHEAD, SEARCH_OVERHEAD = 0.7, 1.0, 8.0, 0.5


def masking(config: RunConfig, batch_size: int) -> Calls:
    """Names the program that masks a batch; its calls take no time, and all models share it."""
    encoder = next(iter(config.encoders.values()))
    return Calls(Program("mask", encoder, batch_size, config.data.pretrain_length), 0)


def evaluation(
    config: RunConfig, encoder: EncoderConfig, rows: Rows, times: float = 1.0, *, perplexity: bool = True
) -> Iterator[Calls]:
    """Lists the calls that measure masked-LM scores, `times` over, with or without pseudo-perplexity."""
    if rows.validation:
        yield masking(config, BATCH_SIZE)
        length, count = config.data.pretrain_length, math.ceil(rows.validation / BATCH_SIZE)
        if perplexity:
            # Every token of a full row but [CLS] and [SEP].
            masked = min(config.data.pseudo_perplexity_rows, rows.validation) * (length - 2)
            count += math.ceil(masked / BATCH_SIZE)
        yield Calls(Program("evaluate", encoder, BATCH_SIZE, length), times * count)


def search_work(config: RunConfig, rows: Rows, done: Done, stages: tuple[str, ...]) -> StageWork:
    """Lists the trials that are left; each is taken as `typical_trial`."""
    del stages
    search, recipe, teacher = config.search, config.distill, config.teacher
    assert search is not None
    assert recipe is not None
    assert teacher is not None
    left = max(0, search.num_trials - done.trials)
    if done.search or (not left and not search.num_trials):
        return StageWork("search", "done")
    encoder = typical_trial(search)
    flash = recipe.scaled(search.flash_fraction)
    # At each rung one of `reduction_factor` trials goes on.
    shares = [(rung - before) for before, rung in zip((0.0, *search.rungs), (*search.rungs, 1.0), strict=True)]
    kept = [search.reduction_factor**-number for number in range(len(shares))]
    share = sum(part * kept_here for part, kept_here in zip(shares, kept, strict=True))
    jobs = []
    for number in range(left):
        calls = [
            *distillation(config, encoder, flash, share),
            *evaluation(config, encoder, rows, sum(kept), perplexity=False),
        ]
        first = number == 0
        calls = [*teacher_outputs(config, flash, encoder.num_hidden_layers, first=first), *calls]
        # Each trial is another architecture, and so has programs of its own.
        distinct = [_renamed(call, f"trial {number}") for call in calls]
        jobs.append(Job(f"trial {number}", tuple(distinct), TRIAL_OVERHEAD))
    ax = search.algorithm == "ax"
    after = Job("analysis", (), AX_OVERHEAD if ax else SEARCH_OVERHEAD)
    steps = round(share * sum(phase.total_steps(encoder.num_hidden_layers) for phase in flash.phases))
    words = f"{left} trials of about {steps:,} steps"
    if done.trials and left:
        words += f", {done.trials} are done"
    workers = search.parallel_trials
    return StageWork("search", words, tuple(jobs), workers, (after,))


def _renamed(call: Calls, name: str) -> Calls:
    program = call.program
    if program.kind in ("teacher", "mask"):
        return call
    own = dataclasses.replace(program, variant=f"{program.variant} {name}".strip())
    return dataclasses.replace(call, program=own)


def distillation(
    config: RunConfig,
    encoder: EncoderConfig,
    recipe: DistillConfig,
    share: float = 1.0,
    done: dict[str, int] | None = None,
) -> Iterator[Calls]:
    """Lists the steps of a student's distillation; a share of them where trials stop early.

    Args:
        config: the run.
        encoder: the student.
        recipe: its recipe, scaled for a trial.
        share: of the steps.
        done: steps of each phase that are done.
    """
    teacher = config.teacher.architecture if config.teacher is not None and config.trainer.teacher_in_step else None
    yield masking(config, recipe.batch_size)
    for phase in (phase for phase in recipe.phases if phase.steps):
        variant = "" if recipe.one_program else "+".join(sorted(phase_objective(recipe, phase).terms))
        total = phase.total_steps(encoder.num_hidden_layers)
        left = max(0, total - (done or {}).get(phase.name, 0))
        program = Program("distill", encoder, recipe.batch_size, config.data.pretrain_length, variant, teacher)
        yield Calls(program, share * left)


def teacher_outputs(
    config: RunConfig, recipe: DistillConfig, layers: int, known: int = 0, *, first: bool
) -> Iterator[Calls]:
    """Lists the calls of the teacher on the batches that all students see.

    Args:
        config: the run.
        recipe: the recipe, scaled for a trial.
        layers: layers of the student, on which the steps of a progressive phase depend.
        known: first batches whose outputs are kept already.
        first: True for the first student; the others compute only what the cache has no room for.
    """
    if config.trainer.teacher_in_step or config.teacher is None:
        return
    teacher, length = config.teacher.architecture, config.data.pretrain_length
    place = 0
    for phase in (phase for phase in recipe.phases if phase.steps):
        needs = phase_objective(recipe, phase).teacher_needs
        steps = phase.total_steps(layers)
        new = max(0, place + steps - max(place, known))
        place += steps
        if any(needs):
            each = output_bytes(teacher, needs, recipe.batch_size, length, recipe.mask_rate)
            room = min(1.0, config.trainer.teacher_cache_bytes / (each * place))
            program = Program("teacher", teacher, recipe.batch_size, length, str(needs))
            yield Calls(program, new if first else steps * (1 - room), kept_bytes=each * steps * room if first else 0.0)


def output_bytes(teacher: EncoderConfig, needs: Needs, batch_size: int, length: int, mask_rate: float) -> int:
    """Bytes of a teacher's outputs on a batch, in float32; the shapes are those of `Outputs`."""
    layers, tokens = 1 if needs.last_layer else teacher.num_hidden_layers, batch_size * length
    values = tokens * teacher.hidden_size * (needs.embeddings + layers * needs.hidden_states)
    values += layers * tokens * length * teacher.num_attention_heads * needs.attention_scores
    values += layers * tokens * teacher.intra_size * needs.values
    values += batch_size * num_predictions(length, mask_rate) * teacher.vocab_size * needs.logits
    return 4 * (values + 2 * batch_size * needs.next_sentence_logits)


def distill_work(config: RunConfig, rows: Rows, done: Done, stages: tuple[str, ...]) -> StageWork:
    """Lists the students that are left; behind a search the cache has the outputs of the teacher on its batches."""
    recipe, jobs = config.distill, []
    students = students_of(config, done.found)
    taught = [s for s in students if s.is_distilled]
    known = 0
    if "search" in stages and config.search is not None and recipe is not None and not done.search:
        flash, depth = recipe.scaled(config.search.flash_fraction), typical_trial(config.search).num_hidden_layers
        known = sum(phase.total_steps(depth) for phase in flash.phases)
    waiting = [s for s in students if s.name not in done.systems]
    for student in waiting:
        calls: list[Calls] = []
        if student.is_distilled:
            assert recipe is not None
            steps = {phase: n for (name, phase), n in done.phase_steps.items() if name == student.name}
            calls = [*distillation(config, student.encoder, recipe, done=steps)]
            # Students of one seed share the outputs of the teacher; those of a search are of the run's own seed.
            same = [s for s in waiting if s.distill_seed == student.distill_seed]
            first, layers = student is same[0], student.encoder.num_hidden_layers
            layers = max(s.encoder.num_hidden_layers for s in same) if first else layers
            shared = known if student.distill_seed == 0 else 0
            calls = [*teacher_outputs(config, recipe, layers, shared, first=first), *calls]
        calls += evaluation(config, student.encoder, rows)
        if known and student.kind == "found":
            # It is one of the trials, whose programs the folder keeps.
            calls = [_renamed(call, "trial 0") for call in calls]
        jobs.append(Job(student.name, tuple(calls), STUDENT_OVERHEAD))
    if not jobs:
        return StageWork("distill", "done" if students else "no students")
    count = sum(s in taught for s in waiting)
    several = recipe is not None and len(recipe.seeds) > 1
    words = f"{count} of {len(taught)} {'distillations' if several else 'students'}"
    if recipe is not None and count:
        most = max(sum(p.total_steps(s.encoder.num_hidden_layers) for p in recipe.phases) for s in taught)
        words += f", up to {most:,} steps of {recipe.batch_size} x {config.data.pretrain_length}"
    workers = config.parallel_systems if config.trainer.mesh.model == 1 else 1
    return StageWork("distill", words, tuple(jobs), workers)
