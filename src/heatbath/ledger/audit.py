"""The audit of a log: entries by confidence, phase, rule, model, kind and time, with what became known later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from heatbath.ledger.entry import Entry, parse_entry


@dataclass(frozen=True)
class AuditFilter:
    """Conditions that an entry must all meet; None is no condition.

    Attributes:
        below, above: limits of the confidence; an entry without one meets neither.
        phase: flag of the phase.
        rule: name of a rule that the gate applied.
        since, until: times, RFC 3339 in UTC or the beginning of one; `until` itself is left out.
    """

    kind: str | None = None
    model: str | None = None
    rule: str | None = None
    phase: str | None = None
    below: float | None = None
    above: float | None = None
    since: str | None = None
    until: str | None = None

    def accepts(self, entry: Entry) -> bool:
        """Return whether an entry meets all conditions."""
        if self.kind not in (None, entry.kind) or self.model not in (None, find_model(entry)):
            return False
        if self.rule is not None and self.rule not in find_rules(entry):
            return False
        if self.phase not in (None, find_phase(entry)):
            return False
        is_timely = (self.since is None or entry.time >= self.since) and (self.until is None or entry.time < self.until)
        return is_timely and self._accepts_confidence(find_confidence(entry))

    def _accepts_confidence(self, confidence: float | None) -> bool:
        if confidence is None:
            return self.below is None and self.above is None
        return (self.below is None or confidence < self.below) and (self.above is None or confidence >= self.above)


@dataclass
class AuditRow:
    """An entry that was found, its number, and the outcomes, reviews and erasures that came after it."""

    number: int
    entry: Entry
    later: list[tuple[int, Entry]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {**_as_json(self.number, self.entry), "later": [_as_json(*each) for each in self.later]}

    def cells(self) -> list[str]:
        """Return the columns of `AUDIT_COLUMNS`."""
        entry, confidence = self.entry, find_confidence(self.entry)
        return [
            str(self.number),
            entry.time,
            entry.kind,
            find_model(entry) or "-",
            "-" if confidence is None else f"{confidence:.3f}",
            find_phase(entry) or "-",
            str(_look_up(entry.data, "gate", "verdict") or "-"),
            ", ".join(find_rules(entry)) or "-",
            "; ".join(f"{each.kind} {_describe_later(each)}".strip() for _, each in self.later) or "-",
        ]


AUDIT_COLUMNS = ("number", "time", "kind", "model", "confidence", "phase", "gate", "rules", "later")


def audit_entries(entries: Iterable[tuple[int, bytes]], chosen: AuditFilter) -> list[AuditRow]:
    """Return the entries that meet a filter, in their order, each with what later entries say of it."""
    rows: list[AuditRow] = []
    by_reference: dict[str | int, AuditRow] = {}
    for number, body in entries:
        entry = parse_entry(body)
        reference = entry.data.get("decision", entry.data.get("entry"))
        if isinstance(reference, str | int) and reference in by_reference:
            by_reference[reference].later.append((number, entry))
        if chosen.accepts(entry):
            row = AuditRow(number, entry)
            rows.append(row)
            by_reference[number] = by_reference[entry.id] = row
    return rows


def find_model(entry: Entry) -> str | None:
    """Return the name of the model of an entry."""
    return _find_text(entry, "model", "name")


def find_phase(entry: Entry) -> str | None:
    """Return the phase flag of an entry."""
    return _find_text(entry, "phase", "flag")


def find_confidence(entry: Entry) -> float | None:
    """Return the confidence of an entry."""
    value = _look_up(entry.data, "confidence", "value")
    return float(value) if isinstance(value, int | float) else None


def find_rules(entry: Entry) -> list[str]:
    """Return the names of the rules that the gate applied."""
    rules = _look_up(entry.data, "gate", "rules")
    if not isinstance(rules, list):
        return []
    return [str(each.get("name")) if isinstance(each, Mapping) else str(each) for each in rules]


def _find_text(entry: Entry, name: str, inner: str) -> str | None:
    value = _look_up(entry.data, name, inner)
    return None if value is None else str(value)


def _look_up(data: Mapping[str, Any], name: str, inner: str) -> Any:
    """Return `data[name][inner]`, or `data[name]` where that is no object."""
    value = data.get(name)
    return value.get(inner) if isinstance(value, Mapping) else value


def _describe_later(entry: Entry) -> str:
    return str(entry.data.get("label", entry.data.get("verdict", entry.data.get("reason", ""))))


def _as_json(number: int, entry: Entry) -> dict[str, Any]:
    return {
        "number": number,
        "id": entry.id,
        "time": entry.time,
        "kind": entry.kind,
        "data": dict(entry.data),
        "content": dict(entry.content),
    }
