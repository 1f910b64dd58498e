"""The verdict of the policy on a choice, and the action that was taken: two things that are recorded apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from heatbath.policy.verdict import ACTIONS, Action, Verdict

EnforcedAction = Literal["allow", "warn", "modify", "deny", "hold"]
"""What is done with a choice; "hold": nothing of it is given until a person has decided."""

ReviewStage = Literal["pending", "approved", "edited", "rejected"]

TOKEN_PARTS = ("logprobs", "token_ids", "records", "summary")
"""What says the tokens of a choice beside its text."""


@dataclass(frozen=True)
class ReviewState:
    """The item of a review, by which a client can ask for the decision, and what became of it."""

    id: str
    status: ReviewStage = "pending"

    def describe(self) -> dict[str, str]:
        """Return the handle as the client gets it."""
        return {"id": self.id, "status": self.status, "url": f"/v1/review/{self.id}"}


@dataclass(frozen=True)
class InputRuling:
    """The verdict of the policy on the input of a request: the strictest action and the rules of all its texts."""

    verdict: Action = "allow"
    rules: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    is_changed: bool = False

    def add(self, verdict: Verdict, *, is_changed: bool = False) -> InputRuling:
        """Return the ruling with a further verdict."""
        return InputRuling(
            max(self.verdict, verdict.action, key=ACTIONS.index),
            merge_unique(self.rules, verdict.rules),
            merge_unique(self.faults, verdict.faults),
            self.is_changed or is_changed,
        )

    def describe(self) -> dict[str, Any]:
        """Return the fields of `thermo.policy.input`."""
        faults = {"faults": list(self.faults)} if self.faults else {}
        return {"verdict": self.verdict, "rules": list(self.rules), "changed": self.is_changed, **faults}


@dataclass(frozen=True)
class Ruling:
    """The verdict on a choice and the action that was taken.

    Attributes:
        version: that of the policy.
        verdict: what the rules say.
        action: what was done: a verdict to escalate is a denial where no person can be asked.
        rules: ids of the rules that matched or failed.
        faults: a sentence for each rule that could not be evaluated.
        seconds, tokens: how long the choice was held, from its first token on, and how many of its tokens were.
        window: characters by which the stream lagged; None where the whole choice was held.
        withheld: parts of a choice that is given which are not.
        summary: figures of the tokens as they were drawn, for the stored record alone.
        mean_logprob: nats per token as they were drawn, for choosing the most likely of several.
    """

    version: str
    verdict: Action
    action: EnforcedAction
    rules: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    seconds: float = 0.0
    tokens: int = 0
    window: int | None = None
    withheld: tuple[str, ...] = ()
    input: InputRuling = field(default_factory=InputRuling)
    review: ReviewState | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)
    mean_logprob: float = 0.0

    @property
    def shows_tokens(self) -> bool:
        """True if tokens, log-probabilities and records of the choice may be given."""
        return not self.withheld and self.action in ("allow", "warn")

    @property
    def shows_prompt(self) -> bool:
        """True if a prompt that is to be repeated stands before the text; a changed text holds it already."""
        return self.action in ("allow", "warn")

    def summarize(self) -> dict[str, Any]:
        """Return the figures of the choice for the stored record."""
        return {**self.summary, "policy": self.describe()}

    def describe(self) -> dict[str, Any]:
        """Return the fields of `thermo.policy`."""
        found: dict[str, Any] = {
            "version": self.version,
            "mode": "hold" if self.window is None else "window",
            "verdict": self.verdict,
            "action": self.action,
            "rules": list(self.rules),
            "held": {"seconds": round(self.seconds, 6), "tokens": self.tokens},
        }
        if self.window is not None:
            found["window"] = self.window
        if self.withheld:
            found["withheld"] = list(self.withheld)
        if self.faults:
            found["faults"] = list(self.faults)
        if self.input.verdict != "allow":
            found["input"] = self.input.describe()
        if self.review is not None:
            found["review"] = self.review.describe()
        return found


def merge_unique(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    """Return the texts of both without repetitions, in order."""
    return tuple(dict.fromkeys((*first, *second)))
