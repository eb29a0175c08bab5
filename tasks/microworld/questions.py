"""Questions about scenes: for QQP, QNLI, SQuAD and the corpus."""

from __future__ import annotations

import random
from typing import Literal

from tasks.microworld import scenes
from tasks.microworld.scenes import Telling

Kind = Literal["who", "where", "what"]


def ask_scene(
    rng: random.Random, scene: Telling, kind: Kind, *, definite: bool = False, passive: bool | None = None
) -> str:
    """Ask for one participant of a scene.

    Args:
      rng: Source of randomness.
      scene: The scene, as worded; "where" needs a place.
      kind: What is asked for.
      definite: Whether the object has the definite article.
      passive: Whether a question for the agent is in the passive voice; now and then if None.

    Returns:
      The question.
    """
    thing = scenes.object_phrase(scene, definite=definite)
    where = f" {scenes.place_phrase(scene.place)}" if scene.place and kind != "where" and not definite else ""
    if kind == "who":
        if not (rng.random() < 0.3 if passive is None else passive):
            return f"Who {scene.verb_word} {thing}{where}?"
        return f"By whom was {thing} {scene.verb_word}{where}?"
    if kind == "where":
        agent = "" if definite else f" by {scene.agent}"
        return f"Where was {thing} {scene.verb_word}{agent}?"
    return f"What was {scene.verb_word} by {scene.agent}{where}?"


def answer_of(scene: Telling, kind: Kind) -> str:
    """Give the answer to a question about a scene.

    Args:
      scene: The scene, as worded where the answer is to be found.
      kind: What is asked for.

    Returns:
      The answer, without article.

    Raises:
      ValueError: The scene has no place and the question asks for it.
    """
    if kind == "who":
        return scene.agent
    if kind == "what":
        return f"{scene.quality_word} {scene.noun_word}" if scene.quality_word else scene.noun_word
    if scene.place is None:
        raise ValueError("the scene has no place")
    return scene.place
