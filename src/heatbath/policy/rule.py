"""The rules of a policy: places to match, and the effect of a match."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from heatbath.policy.verdict import Action, Scope

SCOPES: tuple[Scope, ...] = ("input", "output", "retrieved", "tool_calls")
Severity = Literal["low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("low", "medium", "high", "critical")
DEFAULT_REPLACEMENT = "[redacted]"
DEFAULT_TIME_LIMIT = 1.0
"""Seconds that a rule may take for one text."""


@dataclass(frozen=True)
class PhraseMatch:
    """Phrases, whatever their case; `whole_words`: not within a longer word."""

    phrases: tuple[str, ...]
    whole_words: bool = True


@dataclass(frozen=True)
class RegexMatch:
    """A regular expression of the `regex` package."""

    pattern: str
    ignore_case: bool = True


@dataclass(frozen=True)
class PersonalDataMatch:
    """Kinds of personal data; `region` is the country of telephone numbers that are written without one."""

    kinds: tuple[str, ...]
    region: str | None = None


@dataclass(frozen=True)
class ScoreRange:
    """The scores of a text that count as a match: those above one bound, or those below it."""

    bound: float
    is_upper: bool = False

    def __contains__(self, score: float) -> bool:
        return score < self.bound if self.is_upper else score > self.bound


@dataclass(frozen=True)
class ClassifierMatch:
    """Texts with a score of a classifier in a range."""

    name: str
    scores: ScoreRange


@dataclass(frozen=True)
class EmbeddingMatch:
    """Sentences whose embedding has a cosine above `above` with that of one of the `texts`."""

    texts: tuple[str, ...]
    above: float


@dataclass(frozen=True)
class FunctionMatch:
    """A function of the user: from a text to a truth value, a score for `scores`, or spans of code points."""

    path: str
    function: Callable[[str], Any]
    scores: ScoreRange | None = None


@dataclass(frozen=True)
class TokenMatch:
    """Tokens of the model by their text, also after a space and in other cases, or by their number."""

    tokens: tuple[str | int, ...]


Match = PhraseMatch | RegexMatch | PersonalDataMatch | ClassifierMatch | EmbeddingMatch | FunctionMatch | TokenMatch


@dataclass(frozen=True)
class VerdictEffect:
    """A match has an action; `replacement` is put in its place by "modify"."""

    action: Action
    replacement: str = DEFAULT_REPLACEMENT


@dataclass(frozen=True)
class EnergyEffect:
    """An energy in nats on what is generated; +inf forbids."""

    energy: float


@dataclass(frozen=True)
class PolicyRule:
    """One rule of a policy.

    Attributes:
        line: the line of the file that it begins in.
        matches: what it matches; one of them is enough.
        on_fault: the action where it cannot be evaluated.
        time_limit: seconds that it may take for one text.
        must_catch: texts that it has to match.
        must_allow: texts that it must not match.
    """

    id: str
    line: int
    scopes: frozenset[Scope]
    matches: tuple[Match, ...]
    effect: VerdictEffect | EnergyEffect
    severity: Severity = "medium"
    on_fault: Action = "deny"
    time_limit: float = DEFAULT_TIME_LIMIT
    description: str = ""
    must_catch: tuple[str, ...] = ()
    must_allow: tuple[str, ...] = ()

    @property
    def priority(self) -> int:
        """The severity as a number, 0 to 3: the higher, the sooner people see what it escalates."""
        return SEVERITIES.index(self.severity)

    @property
    def is_exception(self) -> bool:
        """True if it only shields its matches from other rules."""
        return isinstance(self.effect, VerdictEffect) and self.effect.action == "allow"


def rules_by_id(rules: tuple[PolicyRule, ...]) -> Mapping[str, PolicyRule]:
    """Return the rules by their ids."""
    return {rule.id: rule for rule in rules}
