"""The verdict of a policy on a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Scope = Literal["input", "output", "retrieved", "tool_calls"]
Action = Literal["allow", "warn", "modify", "escalate", "deny"]

ACTIONS: tuple[Action, ...] = ("allow", "warn", "modify", "escalate", "deny")
"""Actions from the mildest to the strictest; that of a verdict is the strictest of its rules."""


@dataclass(frozen=True)
class RuleMatch:
    """A place where a rule matched: code points `start` to `end` of the text as it was given."""

    rule: str
    start: int
    end: int


@dataclass(frozen=True)
class Verdict:
    """The outcome of the rules of one scope for a text.

    Attributes:
        action: the strictest action of the rules that matched or failed.
        rules: ids of the rules that matched or failed, in the order of the file.
        matches: where they matched.
        text: the text with the matches of rules that modify replaced; to be given only where the action lets it.
        faults: a sentence for each rule that could not be evaluated.
    """

    action: Action
    rules: tuple[str, ...]
    matches: tuple[RuleMatch, ...]
    text: str
    faults: tuple[str, ...] = ()
