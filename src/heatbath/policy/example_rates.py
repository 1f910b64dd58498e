"""The examples of rules: texts that they must catch, and texts that they must leave alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heatbath.estimate.proportion import error_interval
from heatbath.policy.policy import Policy
from heatbath.policy.rule import PolicyRule


@dataclass(frozen=True)
class ExampleRate:
    """The share of texts that a rule caught, with its Clopper-Pearson interval; NaN without texts."""

    caught: int
    texts: int

    @property
    def share(self) -> float:
        return self.caught / self.texts if self.texts else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval."""
        low, high = error_interval(np.array([float(self.caught)]), np.array([float(self.texts)]))
        return float(low[0]), float(high[0])


@dataclass(frozen=True)
class RuleExamples:
    """The outcome of the examples of one rule.

    Attributes:
        caught: of the texts that it must catch.
        false_alarms: of the texts that it must leave alone.
        missed: the texts that it must catch and did not.
        alarmed: the texts that it must leave alone and caught.
        faults: sentences about a rule that could not be evaluated.
    """

    rule: str
    caught: ExampleRate
    false_alarms: ExampleRate
    missed: tuple[str, ...]
    alarmed: tuple[str, ...]
    faults: tuple[str, ...]

    @property
    def has_passed(self) -> bool:
        """True if every example came out as it must."""
        return not (self.missed or self.alarmed or self.faults)


def check_examples(policy: Policy) -> list[RuleExamples]:
    """Judge the examples of every rule that judges, in each of its scopes, by the whole policy.

    An example is caught where the rule has a match that no exception shields, in each scope.
    """
    return [_check_rule(policy, rule) for rule in policy.judging_rules]


def _check_rule(policy: Policy, rule: PolicyRule) -> RuleExamples:
    faults: list[str] = []
    missed = tuple(text for text in rule.must_catch if not all(_catches(policy, rule, text, faults)))
    alarmed = tuple(text for text in rule.must_allow if any(_catches(policy, rule, text, faults)))
    caught = ExampleRate(len(rule.must_catch) - len(missed), len(rule.must_catch))
    alarms = ExampleRate(len(alarmed), len(rule.must_allow))
    return RuleExamples(rule.id, caught, alarms, missed, alarmed, tuple(dict.fromkeys(faults)))


def _catches(policy: Policy, rule: PolicyRule, text: str, faults: list[str]) -> Sequence[bool]:
    """Return for each scope of a rule whether it has a match in a text."""
    verdicts = [policy.judge(text, scope=scope) for scope in sorted(rule.scopes)]
    faults += [fault for verdict in verdicts for fault in verdict.faults]
    return [any(match.rule == rule.id for match in verdict.matches) for verdict in verdicts]
