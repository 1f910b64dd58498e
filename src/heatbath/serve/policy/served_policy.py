"""The policy in use: read again when its file changes, and asked for verdicts within a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from heatbath.errors import BadInput
from heatbath.policy.verdict import ACTIONS, Scope, Verdict
from heatbath.serve.logging import Logger
from heatbath.serve.policy.judge_pool import JudgePool
from heatbath.serve.policy.policy_counts import PolicyCounts
from heatbath.serve.settings import PolicySettings

if TYPE_CHECKING:
    from heatbath.policy.policy import Policy
    from heatbath.policy.rule import PolicyRule

RELOAD_SECONDS = 1.0
"""Seconds between two looks at the file."""


class PolicySource(Protocol):
    """The file of a policy, whose last good content stays; see `heatbath.policy.PolicyFile`."""

    policy: Policy
    problem: str | None

    def refresh(self) -> bool:
        """Read the file if it has changed."""


@dataclass(eq=False)
class ServedPolicy:
    """A policy in use.

    Attributes:
        current: the rules that new requests are judged by; a request is judged by one policy throughout.
        problem: a sentence on why the file as it is now is not used, None if it is.
        has_review: whether a person can be asked.
    """

    source: PolicySource
    settings: PolicySettings
    has_review: bool = False
    counts: PolicyCounts = field(default_factory=PolicyCounts)
    pool: JudgePool = field(default_factory=JudgePool)
    problem: str | None = None
    current: Policy = field(init=False)
    _token_verdicts: dict[str, dict[int, bool]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._require_usable(self.source.policy)
        self.current = self.source.policy
        self.problem = self.source.problem

    async def judge(self, policy: Policy, text: str, scope: Scope) -> Verdict:
        """Return the verdict on a text; a denial with a fault where there is none in time, or the policy fails."""
        started = monotonic()
        try:
            verdict = await self.pool.run(partial(policy.judge, text, scope=scope), self.settings.verdict_seconds)
            if verdict.action not in ACTIONS or not isinstance(verdict.text, str):
                verdict = _deny(text, "the policy gave no usable verdict")
        except TimeoutError:
            verdict = _deny(text, f"the policy gave no verdict within {self.settings.verdict_seconds:g} s")
        except Exception as error:
            # Its message may quote the text.
            verdict = _deny(text, f"the policy failed with {type(error).__name__}")
        self.counts.add_verdict(scope, verdict, monotonic() - started)
        return verdict

    async def judge_tokens(self, policy: Policy, texts: Mapping[int, str]) -> dict[int, bool]:
        """Return for each token whether its text passes by itself; none does where the policy fails or is late."""
        known = self._token_verdicts.setdefault(policy.version, {})
        missing = {token: text for token, text in texts.items() if token not in known}
        if missing:

            def judge_all() -> dict[int, bool]:
                verdicts = {token: policy.judge(text, scope="output") for token, text in missing.items()}
                return {token: _passes(verdict) for token, verdict in verdicts.items() if not verdict.faults}

            try:
                known |= await self.pool.run(judge_all, self.settings.verdict_seconds)
            except Exception:
                self.counts.faults += 1
        return {token: known.get(token, False) for token in texts}

    def refresh(self) -> bool:
        """Read the file if it has changed; True if that was news: other rules, or another problem. May take long."""
        before = self.current, self.problem
        self.source.refresh()
        self.problem = self.source.problem
        if self.source.policy is not self.current:
            try:
                self._require_usable(self.source.policy)
                self._token_verdicts.pop(self.current.version, None)
                self.current = self.source.policy
            except BadInput as error:
                self.problem = str(error)
        return (self.current, self.problem) != before

    @asynccontextmanager
    async def reload_periodically(self, log: Logger) -> AsyncIterator[None]:
        """While the block runs, look at the file every second and log what comes of it, and what is in use at first."""

        async def look() -> None:
            while True:
                await asyncio.sleep(RELOAD_SECONDS)
                if await asyncio.to_thread(self.refresh):
                    self.log_state(log)

        self.log_state(log)
        task = asyncio.create_task(look())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def log_state(self, log: Logger) -> None:
        """Log which rules are in use, and what is wrong with the file."""
        if self.problem:
            log.error(
                "the policy has a mistake, the last good one stays", policy=self.current.version, why=self.problem
            )
        else:
            log.info("policy", version=self.current.version, mode=self.settings.mode)
        escalating = [rule.id for rule in self.current.rules if _find_action(rule) == "escalate"]
        if escalating and not self.has_review:
            log.warning("rules escalate and review.enabled is not set: what they match is denied", rules=escalating)

    def describe(self) -> dict[str, Any]:
        """Return the state for the page, ready for JSON."""
        counts = self.counts
        rules = [self._describe_rule(rule) for rule in self.current.rules]
        by_scope: dict[str, dict[str, int]] = {}
        for (scope, action), count in counts.verdicts.items():
            by_scope.setdefault(scope, {})[action] = count
        return {
            "version": self.current.version,
            "mode": self.settings.mode,
            "window": self.settings.window if self.settings.mode == "window" else None,
            "problem": self.problem,
            "rules": rules,
            "verdicts": by_scope,
            "choices": dict(counts.actions),
            "faults": counts.faults,
            "work": dict(counts.work),
            "tokens": counts.tokens,
            "verdict_seconds": _mean_seconds(counts.verdict_seconds),
            "hold_seconds": _mean_seconds(counts.hold_seconds),
        }

    def _describe_rule(self, rule: PolicyRule) -> dict[str, Any]:
        counts = self.counts
        work = sum(nats for name, nats in counts.work.items() if _is_field_of(name, rule.id))
        return {
            "id": rule.id,
            "description": rule.description,
            "scopes": sorted(rule.scopes),
            "effect": _find_action(rule) or "energy",
            "severity": rule.severity,
            "matches": counts.matches[rule.id],
            "work": None if _find_action(rule) else work,
        }

    def _require_usable(self, policy: Policy) -> None:
        """Raise `BadInput` for rules that cannot do their work once a part of a text has left."""
        if self.settings.mode != "window":
            return
        for rule in policy.rules:
            action = _find_action(rule)
            if action in ("modify", "escalate") and rule.scopes & {"output", "tool_calls"}:
                raise BadInput(
                    f"policy.mode is window and the rule {rule.id!r} is to {action} texts, of which a part may "
                    "have left when it matches: set policy.mode to hold, or let the rule deny or warn."
                )


def load_served_policy(settings: PolicySettings, *, has_review: bool) -> ServedPolicy | None:
    """Read the policy of the settings, None without one.

    Raises:
        BadInput: a mistake in the file, with its line; or rules that the mode of the gate does not allow.
        MissingExtra: without the extra `policy`.
    """
    if settings.file is None:
        return None
    from heatbath.policy.policy_file import PolicyFile

    try:
        return ServedPolicy(PolicyFile(settings.file), settings, has_review)
    except OSError as error:
        raise BadInput(f"policy.file {settings.file} cannot be read ({error.strerror}): check the path.") from None


def _find_action(rule: PolicyRule) -> str | None:
    """Return the action of a rule, None for one that is an energy."""
    return getattr(rule.effect, "action", None)


def _is_field_of(name: str, rule: str) -> bool:
    """Return whether a field is one of a rule, whose further ones have a number."""
    return name == rule or (name.startswith(f"{rule}-") and name.removeprefix(f"{rule}-").isdigit())


def _deny(text: str, reason: str) -> Verdict:
    return Verdict("deny", (), (), text, (f"{reason}.",))


def _passes(verdict: Verdict) -> bool:
    return verdict.action in ("allow", "warn")


def _mean_seconds(histogram: Any) -> float | None:
    total = sum(histogram.counts)
    return histogram.sum / total if total else None


def sum_work(summary: Mapping[str, Any], policy: Policy) -> dict[str, float]:
    """Return the work, in nats, of the fields of a policy out of the summary of a choice."""
    labels = {spec.label for spec in policy.fields if spec.label is not None}
    work = summary.get("work") or {}
    return {name: float(nats) for name, nats in work.items() if any(_is_field_of(name, label) for label in labels)}


def find_priority(policy: Policy, rules: Sequence[str]) -> int:
    """Return the highest priority of rules by their ids, 0 without any."""
    return max((policy.by_id[id].priority for id in rules if id in policy.by_id), default=0)
