"""A policy: rules that judge texts, and rules that are energies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from heatbath.engine.base import ComponentSpec
from heatbath.errors import BadInput, format_value
from heatbath.policy.judgement import build_verdict
from heatbath.policy.matchers import Matcher, build_matcher
from heatbath.policy.normalization import Span, build_views
from heatbath.policy.phrase_index import PhraseIndex
from heatbath.policy.rule import SCOPES, FunctionMatch, Match, PhraseMatch, PolicyRule, VerdictEffect
from heatbath.policy.rule_fields import build_field_specs
from heatbath.policy.rule_reader import read_rules
from heatbath.policy.verdict import Scope, Verdict
from heatbath.policy.yaml_nodes import read_yaml

_FORMAT = 1


class Policy:
    """The rules of a file. Thread-safe.

    Attributes:
        rules: all rules, in the order of the file.
        judging_rules: those with a verdict; the others have an energy.
        version: a digest of what the rules do; comments, descriptions and examples do not change it.
    """

    def __init__(self, rules: Iterable[PolicyRule]) -> None:
        """Build the matchers of the rules. Raises `MissingExtra` for one that needs what is not installed."""
        self.rules = tuple(rules)
        self.version = _digest(self.rules)
        self.judging_rules = tuple(rule for rule in self.rules if isinstance(rule.effect, VerdictEffect))
        self._phrases = PhraseIndex(
            (phrase, number, match.whole_words)
            for number, rule in enumerate(self.judging_rules)
            for match in rule.matches
            if isinstance(match, PhraseMatch)
            for phrase in match.phrases
        )
        self._matchers: tuple[tuple[Matcher, ...], ...] = tuple(
            tuple(build_matcher(match, rule) for match in rule.matches if not isinstance(match, PhraseMatch))
            for rule in self.judging_rules
        )

    @cached_property
    def fields(self) -> tuple[ComponentSpec, ...]:
        """The fields of the rules with an energy, for `Request.fields` and `hb.generate(fields=…)`.

        Plain data, always the same objects: an engine builds them once. Their work is on the record by the rule's id.
        """
        return build_field_specs(self.rules)

    @cached_property
    def by_id(self) -> Mapping[str, PolicyRule]:
        """The rules by their ids."""
        return MappingProxyType({rule.id: rule for rule in self.rules})

    def judge(self, text: str, *, scope: Scope) -> Verdict:
        """Return the verdict of the rules of a scope on a whole text.

        The same text always gets the same verdict, but for rules that exceed their time limit. A rule that raises,
        exceeds its limit or returns no number has the verdict of its `on_fault`, and a sentence in `faults`.

        Raises:
            BadInput: an unknown scope, or a text that is none.
        """
        if scope not in SCOPES:
            raise BadInput(f"scope is {format_value(scope)}: choose from {', '.join(SCOPES)}.", param="scope")
        if not isinstance(text, str):
            raise BadInput(f"a policy judges text, got {type(text).__name__}.", param="text")
        if not text:
            return Verdict("allow", (), (), text)
        views = build_views(text, has_json_escapes=scope == "tool_calls")
        by_phrase = self._phrases.find(views)
        rules: list[PolicyRule] = []
        spans: dict[str, Sequence[Span]] = {}
        failures: dict[str, BaseException] = {}
        for number, (rule, matchers) in enumerate(zip(self.judging_rules, self._matchers, strict=True)):
            if scope not in rule.scopes:
                continue
            rules.append(rule)
            try:
                spans[rule.id] = [*by_phrase.get(number, ()), *(span for find in matchers for span in find(views))]
            except Exception as error:
                spans[rule.id], failures[rule.id] = by_phrase.get(number, ()), error
        return build_verdict(text, scope, rules=rules, spans=spans, failures=failures)


def load_policy(path: str | Path) -> Policy:
    """Load a policy from a YAML file.

    Raises:
        OSError: the file cannot be read.
        BadInput: a mistake in it; the message begins with `file:line`.
        MissingExtra: without the extra `policy`, or with a rule that needs another one.
    """
    return Policy(read_rules(read_yaml(Path(path))[1]))


def _digest(rules: Sequence[PolicyRule]) -> str:
    text = json.dumps([_FORMAT, [_describe_effects(rule) for rule in rules]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _describe_effects(rule: PolicyRule) -> dict[str, object]:
    """Return all that a verdict depends on, as JSON values; a function by its name."""
    return {
        "id": rule.id,
        "scopes": sorted(rule.scopes),
        "matches": [_describe_match(match) for match in rule.matches],
        "effect": {"type": type(rule.effect).__name__, **asdict(rule.effect)},
        "severity": rule.severity,
        "on_fault": rule.on_fault,
        "time_limit": rule.time_limit,
    }


def _describe_match(match: Match) -> dict[str, object]:
    values = asdict(replace(match, function=repr)) if isinstance(match, FunctionMatch) else asdict(match)
    return {"type": type(match).__name__, **{name: value for name, value in values.items() if name != "function"}}
