"""The policy in use: read again when its file changes, and asked for verdicts within a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any, Protocol

from heatbath.engine.base import ComponentSpec
from heatbath.errors import BadInput
from heatbath.policy.verdict import ACTIONS, Scope, Verdict
from heatbath.serve.logging import Logger
from heatbath.serve.policy.judge_pool import JudgePool
from heatbath.serve.policy.policy_counts import PolicyCounts
from heatbath.serve.settings import PolicySettings

RELOAD_SECONDS = 1.0
"""Seconds between two looks at the file."""


class Policy(Protocol):
    """Rules, as a server uses them."""

    @property
    def version(self) -> str:
        """The digest of the file."""

    @property
    def is_rewriting(self) -> bool:
        """True if a rule on what is generated changes texts."""

    def judge(self, text: str, *, scope: Scope) -> Verdict:
        """Return the verdict on a text. May take long, and raise."""

    def fields(self) -> Sequence[ComponentSpec]:
        """Return the fields that act on what is generated."""

    def priority(self, rules: Sequence[str]) -> int:
        """Return how urgent a text is that these rules have matched, the highest of theirs."""

    def describe(self) -> list[dict[str, Any]]:
        """Return the rules for the page: id, scopes, effect, severity."""


class PolicySource(Protocol):
    """The file of a policy, whose last good content stays."""

    @property
    def policy(self) -> Policy:
        """The last good content."""

    @property
    def problem(self) -> str:
        """A sentence on why the file as it is now is not used, empty if it is."""

    def refresh(self) -> None:
        """Read the file if it has changed."""


@dataclass(eq=False)
class ServedPolicy:
    """A policy in use.

    Attributes:
        current: the rules that new requests are judged by; a request is judged by one policy throughout.
        problem: a sentence on why the file as it is now is not used, empty if it is.
        has_review: whether a person can be asked.
    """

    source: PolicySource
    settings: PolicySettings
    has_review: bool = False
    counts: PolicyCounts = field(default_factory=PolicyCounts)
    pool: JudgePool = field(default_factory=JudgePool)
    problem: str = ""
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
                return {token: _passes(policy.judge(text, scope="output")) for token, text in missing.items()}

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
        """While the block runs, look at the file every second and log what comes of it."""

        async def look() -> None:
            while True:
                await asyncio.sleep(RELOAD_SECONDS)
                if await asyncio.to_thread(self.refresh):
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
        if not self.has_review and any(rule["effect"] == "escalate" for rule in self.current.describe()):
            log.warning("rules escalate and there is no review queue: what they match is denied")

    def describe(self) -> dict[str, Any]:
        """Return the state for the page, ready for JSON."""
        counts = self.counts
        rules = [{**rule, "matches": counts.matches[rule["id"]]} for rule in self.current.describe()]
        by_scope: dict[str, dict[str, int]] = {}
        for (scope, action), count in counts.verdicts.items():
            by_scope.setdefault(scope, {})[action] = count
        return {
            "version": self.current.version,
            "mode": self.settings.mode,
            "window": self.settings.window if self.settings.mode == "window" else None,
            "problem": self.problem or None,
            "rules": rules,
            "verdicts": by_scope,
            "choices": dict(counts.actions),
            "faults": counts.faults,
            "work": dict(counts.work),
            "tokens": counts.tokens,
            "verdict_seconds": _mean_seconds(counts.verdict_seconds),
            "hold_seconds": _mean_seconds(counts.hold_seconds),
        }

    def _require_usable(self, policy: Policy) -> None:
        if self.settings.mode == "window" and policy.is_rewriting:
            raise BadInput(
                "policy.mode is window and the policy has rules that change texts, of which a part may be gone when "
                "they match: set policy.mode to hold, or give those rules another effect."
            )


def _deny(text: str, reason: str) -> Verdict:
    return Verdict("deny", (), (), text, (f"{reason}.",))


def _passes(verdict: Verdict) -> bool:
    return verdict.action in ("allow", "warn")


def _mean_seconds(histogram: Any) -> float | None:
    total = sum(histogram.counts)
    return histogram.sum / total if total else None


def sum_work(summary: Mapping[str, Any], names: Sequence[str]) -> dict[str, float]:
    """Return the work, in nats, of the named fields out of the summary of a choice."""
    work = summary.get("work") or {}
    return {name: float(work[name]) for name in names if name in work}
