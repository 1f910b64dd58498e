"""What an engine's steps add up to: one prompt's answers, as far as they have grown."""

from __future__ import annotations

from dataclasses import dataclass, field

from heatbath.engine.base import Event, Finished, Started, Token, TokensGenerated


@dataclass
class Answer:
    """One answer: its tokens, the text they came with, and how it ended."""

    tokens: list[Token] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    finish: str | None = None
    stopped: str | int | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def spoken(self) -> list[Token]:
        """The tokens of the text, without the one that ended it."""
        return self.tokens[:-1] if isinstance(self.stopped, int) and self.finish == "stop" else self.tokens

    @property
    def logprob(self) -> float:
        """Log-probability at T = 1, nats."""
        return sum(token.logprob or 0.0 for token in self.tokens)


@dataclass
class Gathered:
    """The steps of one engine request."""

    prompt: tuple[int, ...]
    began: Started | None = None
    ended: Finished | None = None
    answers: dict[int, Answer] = field(default_factory=dict)

    def take(self, step: Event) -> None:
        """Add a step."""
        if isinstance(step, TokensGenerated):
            answer = self.answers.get(step.choice)
            if answer is None:
                answer = self.answers[step.choice] = Answer()
            answer.tokens += step.tokens
            if step.text:
                answer.pieces.append(step.text)
            if step.finish_reason is not None:
                answer.finish, answer.stopped = step.finish_reason, step.stop_reason
        elif isinstance(step, Started):
            self.began = step
        else:
            self.ended = step

    @property
    def cached(self) -> int:
        """Tokens of the prompt that were known already."""
        return 0 if self.began is None else self.began.cached_tokens

    @property
    def spent(self) -> int:
        """Tokens of all answers, those that are not given among them."""
        return sum(len(answer.tokens) for answer in self.answers.values())

    def chosen(self, n: int, by_likelihood: bool = False) -> list[int]:
        """Which `n` answers to give: the engine's own choice, the most likely by token, or all there are."""
        ids = sorted(self.answers)
        if len(ids) <= n:
            return ids
        if by_likelihood:
            return sorted(ids, key=self._likelihood, reverse=True)[:n]
        value = 0 if self.ended is None else self.ended.selected_index
        return [value] if n == 1 and value in self.answers else ids[:n]

    def _likelihood(self, choice: int) -> float:
        answer = self.answers[choice]
        return answer.logprob / max(1, len(answer.tokens))
