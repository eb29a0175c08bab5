"""Maps from student layers to the teacher layers that they imitate."""

from __future__ import annotations

from collections.abc import Callable

from tasks.system.errors import StageError


def _uniform(student: int, teacher: int) -> tuple[int, ...]:
    return tuple((i + 1) * teacher // student - 1 for i in range(student))


def _last(student: int, teacher: int) -> tuple[int, ...]:
    return tuple(range(teacher - student, teacher))


def _skip(student: int, teacher: int) -> tuple[int, ...]:
    if student == 1:
        return (teacher - 1,)
    # Halves are rounded up, in whole numbers.
    return tuple((2 * i * (teacher - 1) + student - 1) // (2 * (student - 1)) for i in range(student))


_MAPS: dict[str, Callable[[int, int], tuple[int, ...]]] = {"uniform": _uniform, "last": _last, "skip": _skip}


def layer_map(kind: str, student_layers: int, teacher_layers: int) -> tuple[int, ...]:
    """Teacher layer, counted from 0, of each student layer; the last student layer always has the teacher's last.

    Args:
        kind: `uniform`: the end of each of `student_layers` equal parts of the teacher, as in TinyBERT (g(m) = 3m for
            4 of 12 layers). `last`: the teacher's last layers. `skip`: from the first to the last layer in even steps,
            as DistilBERT's released script chooses 0, 2, 4, 7, 9, 11 of 12.
        student_layers: layers of the student.
        teacher_layers: layers of the teacher.

    Raises:
        StageError: the student has more layers than the teacher.
    """
    if student_layers > teacher_layers:
        raise StageError(
            f"a student of {student_layers} layers cannot imitate a teacher of {teacher_layers}; "
            f"accepted: num_hidden_layers of at most {teacher_layers}"
        )
    return _MAPS[kind](student_layers, teacher_layers)
