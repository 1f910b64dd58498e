"""Rates of false alarms of a policy on ordinary text: of each rule, and of all rules together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import numpy.typing as npt

from heatbath.errors import BadInput
from heatbath.estimate.proportion import clustered_interval
from heatbath.policy.corpus import CorpusText, document_numbers
from heatbath.policy.policy import Policy
from heatbath.policy.verdict import ACTIONS, Action, Scope, Verdict


@dataclass(frozen=True)
class AlarmRate:
    """The texts that something acted on, of `texts`; the 95 % interval takes documents as independent."""

    count: int
    texts: int
    low: float
    high: float

    @property
    def share(self) -> float:
        return self.count / self.texts


@dataclass(frozen=True)
class AlarmRates:
    """The false alarms of a policy on texts that it has no reason to act on.

    Attributes:
        rules: of each rule of the scope that is no exception.
        any_rule: of all rules together.
        by_action: the texts whose verdict is each action.
        independent: the joint share that the rates of the rules give if they were independent.
        faults: the texts with a rule that could not be evaluated.
    """

    scope: Scope
    documents: int
    rules: dict[str, AlarmRate]
    any_rule: AlarmRate
    by_action: dict[Action, AlarmRate]
    independent: float
    faults: int


def measure_alarms(
    policy: Policy,
    corpus: Sequence[CorpusText],
    *,
    scope: Scope,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> AlarmRates:
    """Judge every text of a corpus and return the rates.

    Raises:
        BadInput: no text, or no rule of this scope.
    """
    names = [rule.id for rule in policy.judging_rules if scope in rule.scopes and not rule.is_exception]
    if not names or not corpus:
        missing = f"no rule that judges {scope}" if corpus else "no text"
        raise BadInput(f"there is {missing}: nothing can be measured.", param="scope")
    verdicts: list[Verdict] = []
    for done, each in zip(count(1), corpus, strict=False):
        verdicts.append(policy.judge(each.text, scope=scope))
        progress(done, len(corpus))
    documents = np.asarray(document_numbers(corpus))
    rules = {name: _rate([name in verdict.rules for verdict in verdicts], documents) for name in names}
    return AlarmRates(
        scope,
        int(documents.max()) + 1,
        rules,
        _rate([not rules.keys().isdisjoint(verdict.rules) for verdict in verdicts], documents),
        {action: _rate([verdict.action == action for verdict in verdicts], documents) for action in ACTIONS},
        1 - math.prod(1 - rate.share for rate in rules.values()),
        sum(bool(verdict.faults) for verdict in verdicts),
    )


def _rate(acted: Sequence[bool], documents: npt.NDArray[np.int64]) -> AlarmRate:
    trials = np.bincount(documents).astype(np.float64)
    low, high = clustered_interval(np.bincount(documents, acted).astype(np.float64), trials)
    return AlarmRate(sum(acted), len(acted), low, high)
