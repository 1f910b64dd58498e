"""Rules with an energy as fields of the engine."""

from __future__ import annotations

import math
from collections.abc import Iterable

from heatbath.engine.base import ComponentSpec
from heatbath.policy.rule import EnergyEffect, Match, PhraseMatch, PolicyRule, RegexMatch, TokenMatch


def build_field_specs(rules: Iterable[PolicyRule]) -> tuple[ComponentSpec, ...]:
    """Return the fields of the rules with an energy: plain data, labelled with the id of the rule.

    A rule that matches in several ways has a field for each; records number those after the first, as in `id-2`.
    """
    return tuple(
        ComponentSpec(*_describe_field(match, rule.effect.energy), label=rule.id)
        for rule in rules
        if isinstance(rule.effect, EnergyEffect)
        for match in rule.matches
    )


def _describe_field(match: Match, energy: float) -> tuple[str, dict[str, object]]:
    """Return the name of a field and its value."""
    finite = {} if energy == math.inf else {"energy": energy}
    if isinstance(match, PhraseMatch):
        phrases = {"phrases": list(match.phrases), "ignore_case": True}
        return ("phrase_energy" if finite else "forbid"), phrases | finite
    if isinstance(match, TokenMatch):
        return "token_energy", {"tokens": list(match.tokens), **finite}
    assert isinstance(match, RegexMatch)
    return "forbid_regex", {"pattern": match.pattern, "ignore_case": match.ignore_case}
