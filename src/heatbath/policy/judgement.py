"""From the spans that rules matched to a verdict: exceptions, the strictest action, and the changed text."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from heatbath.policy.normalization import Span
from heatbath.policy.rule import PolicyRule, VerdictEffect
from heatbath.policy.verdict import ACTIONS, Action, RuleMatch, Scope, Verdict


def build_verdict(
    text: str,
    scope: Scope,
    *,
    rules: Sequence[PolicyRule],
    spans: Mapping[str, Sequence[Span]],
    failures: Mapping[str, BaseException],
) -> Verdict:
    """Return the verdict on a text from the spans and the failures of its rules, by their ids."""
    shield = _Shield(span for rule in rules if rule.is_exception for span in spans.get(rule.id, ()))
    kept = {
        rule.id: merge_spans(found if rule.is_exception else [span for span in found if not shield.covers(span)])
        for rule in rules
        if (found := spans.get(rule.id))
    }
    kept = {id: found for id, found in kept.items() if found}
    matching = [rule for rule in rules if rule.id in kept]
    actions = [_action(rule) for rule in matching]
    actions += [rule.on_fault for rule in rules if rule.id in failures and not rule.is_exception]
    faults = [_describe_failure(rule, failures[rule.id]) for rule in rules if rule.id in failures]
    changed = _replace(text, scope, [(rule, kept[rule.id]) for rule in matching if _action(rule) == "modify"])
    if scope == "tool_calls" and changed != text and _is_json(text) and not _is_json(changed):
        actions.append("deny")
        faults.append("the changed arguments of a tool call are not valid JSON.")
        changed = text
    return Verdict(
        action=max(actions, key=ACTIONS.index, default="allow"),
        rules=tuple(rule.id for rule in rules if rule.id in kept or rule.id in failures),
        matches=tuple(RuleMatch(rule.id, *span) for rule in matching for span in kept[rule.id]),
        text=changed,
        faults=tuple(faults),
    )


def merge_spans(spans: Iterable[Span]) -> list[Span]:
    """Return spans in order, those that overlap or touch as one."""
    merged: list[Span] = []
    for start, end in sorted(set(spans)):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


class _Shield:
    """The spans of exceptions: a span within one of them is covered."""

    def __init__(self, spans: Iterable[Span]) -> None:
        ordered = sorted(spans)
        self._starts = [start for start, _ in ordered]
        self._ends = list(accumulate((end for _, end in ordered), max))

    def covers(self, span: Span) -> bool:
        number = bisect_right(self._starts, span[0])
        return number > 0 and self._ends[number - 1] >= span[1]


def _action(rule: PolicyRule) -> Action:
    assert isinstance(rule.effect, VerdictEffect)
    return rule.effect.action


def _describe_failure(rule: PolicyRule, error: BaseException) -> str:
    """Describe a failure without the message, which may quote the text."""
    reason = (
        f"took longer than {rule.time_limit:g} s"
        if isinstance(error, TimeoutError)
        else f"raised {type(error).__name__}"
    )
    outcome = "its matches shield nothing" if rule.is_exception else f"its verdict is {rule.on_fault}"
    return f"the rule {rule.id!r} {reason}: {outcome}."


def _replace(text: str, scope: Scope, matches: Sequence[tuple[PolicyRule, Sequence[Span]]]) -> str:
    """Return the text with the spans of rules replaced; where they overlap, by the rule of the highest severity."""
    ordered = sorted(
        (start, end, -rule.priority, number) for number, (rule, spans) in enumerate(matches) for start, end in spans
    )
    parts: list[str] = []
    done, place = 0, 0
    while place < len(ordered):
        start, end, *best = ordered[place]
        place += 1
        while place < len(ordered) and ordered[place][0] < end:
            end, best = max(end, ordered[place][1]), min(best, list(ordered[place][2:]))
            place += 1
        parts += [text[done:start], _replacement(matches[best[1]][0], scope)]
        done = end
    return "".join([*parts, text[done:]])


def _replacement(rule: PolicyRule, scope: Scope) -> str:
    assert isinstance(rule.effect, VerdictEffect)
    text = rule.effect.replacement
    return json.dumps(text)[1:-1] if scope == "tool_calls" else text


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
