"""The prompt that shows passages, each under the number by which an answer cites it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from heatbath.models.base import Tokens
from heatbath.retrieval.passage import Passage

INSTRUCTION = "Answer from the numbered passages below. After each sentence write the number of its passage, as in [1]."
NO_PASSAGES = "(no passages were found)"

Encode = Callable[[str], Tokens]
"""Maps the text of the last turn, or of a plain prompt, to the tokens of the whole prompt."""


@dataclass(frozen=True)
class EvidencePrompt:
    """A question with the passages that were found for it.

    The passages come before the question, so that prompts without one of them begin alike. A passage keeps its number
    where others are left out: what an answer wrote as [3] still means the same.

    Attributes:
        question: the text of the turn that the passages are put before.
        passages: passage n is number n of the list, from 1 on.
        instruction: the first lines; empty for none.
    """

    question: str
    passages: tuple[Passage, ...]
    instruction: str = INSTRUCTION

    def render(self, without: Collection[int] = ()) -> str:
        """Return the text, without the passages of these numbers."""
        shown = [
            f"[{number}] {_join_lines(passage.title)}\n{passage.text.strip()}"
            for number, passage in enumerate(self.passages, 1)
            if number not in without
        ]
        head = [self.instruction] if self.instruction else []
        return "\n\n".join([*head, *(shown or [NO_PASSAGES]), self.question])

    def encode(self, encode: Encode, removals: Sequence[Collection[int]] = ()) -> list[tuple[int, ...]]:
        """Return the tokens of the whole prompt, and of one without the passages of each of `removals`."""
        return [tuple(map(int, encode(self.render(without)))) for without in ((), *removals)]


def _join_lines(text: str) -> str:
    """Return a title on one line."""
    return " ".join(text.split())
