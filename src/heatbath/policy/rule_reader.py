"""Rules from the nodes of a YAML file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeVar, cast

from heatbath.errors import BadInput, format_value
from heatbath.policy.match_reader import read_matches
from heatbath.policy.rule import (
    DEFAULT_REPLACEMENT,
    DEFAULT_TIME_LIMIT,
    SCOPES,
    SEVERITIES,
    EnergyEffect,
    PhraseMatch,
    PolicyRule,
    RegexMatch,
    Severity,
    TokenMatch,
    VerdictEffect,
)
from heatbath.policy.verdict import ACTIONS, Action, Scope
from heatbath.policy.yaml_nodes import YamlSection, YamlValue

T = TypeVar("T")
FORBID = "forbid"
FAULT_ACTIONS: tuple[Action, ...] = ("allow", "warn", "escalate", "deny")
_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
_MAX_ID = 64
_MAX_ENERGY = 1000.0
_SCOPE_WORDS: Mapping[str, tuple[Scope, ...]] = MappingProxyType(
    {**{scope: (scope,) for scope in SCOPES}, "both": ("input", "output")}
)


def read_rules(document: YamlValue) -> tuple[PolicyRule, ...]:
    """Return the rules of a file, in its order.

    Raises:
        BadInput: with the line, for a value that a rule cannot have.
        MissingExtra: for a rule that needs what is not installed.
    """
    file = document.section()
    rules: list[PolicyRule] = []
    lines: dict[str, int] = {}
    for each in file.require("rules", "a list of rules").items():
        rule = _read_rule(each)
        if rule.id in lines:
            raise each.error(f"the rule {rule.id!r} is there already, in line {lines[rule.id]}: give another id.")
        lines[rule.id] = each.line
        rules.append(rule)
    file.finish()
    return tuple(rules)


def _read_rule(place: YamlValue) -> PolicyRule:
    place.label = "rule"
    section = place.section()
    id = _read_id(section.require("id", "a short name such as card-numbers"))
    effect = _read_effect(section)
    matches = read_matches(section.require("match", "what to match, such as phrases"), isinstance(effect, EnergyEffect))
    scopes = _read_scopes(section, effect)
    rule = PolicyRule(
        id=id,
        line=place.line,
        scopes=scopes,
        matches=matches,
        effect=effect,
        severity=cast(Severity, _read(section, "severity", lambda value: value.choice(SEVERITIES), "medium")),
        on_fault=_read_on_fault(section, effect),
        time_limit=_read(section, "time_limit", lambda value: value.number(0.001, 60.0), DEFAULT_TIME_LIMIT),
        description=_read(section, "description", YamlValue.text, ""),
        must_catch=_read(section, "must_catch", YamlValue.texts, ()),
        must_allow=_read(section, "must_allow", YamlValue.texts, ()),
    )
    section.finish()
    _validate_kinds(place, rule)
    return rule


def _read(section: YamlSection, name: str, convert: Callable[[YamlValue], T], default: T) -> T:
    value = section.take(name)
    return default if value is None else convert(value)


def _read_id(value: YamlValue) -> str:
    id = value.text()
    if len(id) > _MAX_ID or not _ID_CHARACTERS.issuperset(id):
        raise value.error(
            f"the id {format_value(id)} cannot be used: give at most {_MAX_ID} letters, digits, hyphens, dots and "
            f"underscores."
        )
    return id


def _read_effect(section: YamlSection) -> VerdictEffect | EnergyEffect:
    value = section.require("effect", "deny, or another effect")
    replacement = section.take("replacement")
    if value.is_section:
        effect = value.section()
        energy = effect.require("energy", "energy: 2.0").number(-_MAX_ENERGY, _MAX_ENERGY)
        effect.finish()
        result: VerdictEffect | EnergyEffect = EnergyEffect(energy)
    elif (word := value.choice((*ACTIONS, FORBID))) == FORBID:
        result = EnergyEffect(math.inf)
    else:
        text = DEFAULT_REPLACEMENT if replacement is None else _read_replacement(replacement)
        result = VerdictEffect(cast(Action, word), text)
    if replacement is not None and not (isinstance(result, VerdictEffect) and result.action == "modify"):
        raise replacement.error("`replacement` is for the effect modify: leave it out.")
    return result


def _read_replacement(value: YamlValue) -> str:
    """Return a text, which may be empty here."""
    return "" if value.node.id == "scalar" and value.node.value == "" and value.node.style else value.text()


def _read_scopes(section: YamlSection, effect: VerdictEffect | EnergyEffect) -> frozenset[Scope]:
    value = section.take("scope")
    if value is None:
        return frozenset({"output"})
    words = [each.choice(tuple(_SCOPE_WORDS)) for each in value.items()]
    scopes = frozenset(scope for word in words for scope in _SCOPE_WORDS[word])
    if isinstance(effect, EnergyEffect) and scopes != {"output"}:
        raise value.error("an energy acts on what is generated: leave `scope` out, or write output.")
    return scopes


def _read_on_fault(section: YamlSection, effect: VerdictEffect | EnergyEffect) -> Action:
    value = section.take("on_fault")
    if value is None:
        return "deny"
    if isinstance(effect, EnergyEffect) or effect.action == "allow":
        raise value.error("`on_fault` is for rules that judge: an exception that fails shields nothing; leave it out.")
    return cast(Action, value.choice(FAULT_ACTIONS))


def _validate_kinds(place: YamlValue, rule: PolicyRule) -> None:
    """Raise `BadInput` where the effect of a rule cannot act on what it matches."""
    if isinstance(rule.effect, VerdictEffect):
        if any(isinstance(match, TokenMatch) for match in rule.matches):
            raise place.error(f"the rule {rule.id!r} judges text: match phrases; `tokens` is for energies.")
        return
    if rule.must_catch or rule.must_allow:
        raise place.error(f"the rule {rule.id!r} has an energy: examples are for rules that judge; leave them out.")
    if rule.effect.energy == math.inf:
        if not all(isinstance(match, PhraseMatch | TokenMatch | RegexMatch) for match in rule.matches):
            raise place.error(f"the rule {rule.id!r} forbids: match phrases, tokens or a regex.")
        _validate_avoidance(place, rule)
    elif not all(isinstance(match, PhraseMatch | TokenMatch) for match in rule.matches):
        raise place.error(
            f"the rule {rule.id!r} has a finite energy: match phrases or tokens; a regex can be forbidden."
        )


def _validate_avoidance(place: YamlValue, rule: PolicyRule) -> None:
    """Raise `BadInput` for a regular expression that can be matched but not forbidden, such as one with look-around."""
    from heatbath.energy.grammar import build_avoidance_grammar

    for match in rule.matches:
        if isinstance(match, RegexMatch):
            try:
                build_avoidance_grammar(match.pattern, ignore_case=match.ignore_case)
            except BadInput as error:
                raise place.error(
                    f"the rule {rule.id!r} forbids a regex that cannot be: {error.reason or error}"
                ) from error
