"""How much each tenant may use: requests and tokens in any sixty seconds, and requests at once."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from heatbath.errors import BadInput
from heatbath.serve.errors import NEVER, ApiError, later
from heatbath.serve.settings import Allowance, Settings

MINUTE = 60.0
SOON = 1.0
"""Seconds after which a tenant with too many requests at once may try again; nobody knows when one of them ends."""


@dataclass
class Charge:
    """An amount charged at a time (seconds)."""

    at: float
    amount: int


@dataclass
class Window:
    """What was charged in the last minute, of `most` at most. Exact: no sixty seconds ever hold more than `most`."""

    most: int
    charges: deque[Charge] = field(default_factory=deque)
    used: int = 0

    def forget(self, now: float) -> None:
        """Let go of what is a minute old."""
        while self.charges and self.charges[0].at <= now - MINUTE:
            self.used -= self.charges.popleft().amount

    def wait(self, amount: int, now: float) -> float:
        """Seconds until `amount` fits; inf if it never will."""
        over = self.used + amount - self.most
        if over <= 0:
            return 0.0
        for charge in self.charges:
            over -= charge.amount
            if over <= 0:
                return charge.at + MINUTE - now
        return math.inf

    def charge(self, amount: int, now: float) -> Charge:
        """Take `amount`, whether it fits or not."""
        charge = Charge(now, amount)
        self.charges.append(charge)
        self.used += amount
        return charge

    def refund(self, charge: Charge, amount: int, now: float) -> None:
        """Give back `amount` of a charge that is not forgotten yet."""
        self.forget(now)
        if charge.at > now - MINUTE:
            charge.amount -= amount
            self.used -= amount

    def headers(self, of: str, now: float) -> dict[str, str]:
        """What is left, in OpenAI's header names; `reset` is when nothing will count any more."""
        reset = self.charges[-1].at + MINUTE - now if self.charges else 0.0
        return {
            f"x-ratelimit-limit-{of}": str(self.most),
            f"x-ratelimit-remaining-{of}": str(max(0, self.most - self.used)),
            f"x-ratelimit-reset-{of}": _duration(reset),
        }


@dataclass
class Account:
    """One tenant's windows and the number of its requests at work."""

    concurrent: int | None
    windows: Mapping[str, Window]
    open: int = 0

    def headers(self, now: float) -> dict[str, str]:
        """All the headers of its windows."""
        found: dict[str, str] = {}
        for of, window in self.windows.items():
            window.forget(now)
            found |= window.headers(of, now)
        return found


@dataclass
class Lease:
    """A request let in. `settle` it once, however it ends: a lease not settled counts as a request at work."""

    limits: Limits
    account: Account
    charged: int
    tokens: Charge | None
    settled: bool = False

    @property
    def headers(self) -> dict[str, str]:
        """What the answer says of the limits."""
        return self.account.headers(self.limits.now())

    def settle(self, used: int) -> None:
        """The request is over and used so many tokens; the rest of what was charged is given back."""
        if self.settled:
            return
        self.settled = True
        self.account.open -= 1
        if self.tokens is not None:
            unused = max(0, self.charged - max(0, used))
            self.account.windows["tokens"].refund(self.tokens, unused, self.limits.now())


@dataclass
class Limits:
    """The accounts of all tenants. `clock` is monotonic (seconds); if it is set back, no time passes by that."""

    allowances: Mapping[str, Allowance] = field(default_factory=dict)
    default: Allowance = field(default_factory=Allowance)
    clock: Callable[[], float] = time.monotonic
    accounts: dict[str, Account] = field(default_factory=dict)
    reading: float | None = None
    passed: float = 0.0

    def now(self) -> float:
        """Seconds that have passed since the first look at the clock."""
        reading = self.clock()
        self.passed += 0.0 if self.reading is None else max(0.0, reading - self.reading)
        self.reading = reading
        return self.passed

    def admit(self, tenant: str, tokens: int) -> Lease:
        """Let in a request of `tenant` that will use up to `tokens` of prompt and answer.

        Raises:
            ApiError: 429 with the seconds to wait, where there is an allowance and it is used up.
        """
        account = self._account(tenant)
        now = self.now()
        headers = account.headers(now)
        waits = {of: window.wait(_amount(of, tokens), now) for of, window in account.windows.items()}
        longest = max(waits, key=waits.__getitem__, default="")
        if longest and waits[longest]:
            raise _refusal(longest, account.windows[longest].most, tokens, waits[longest], headers)
        if account.concurrent is not None and account.open >= account.concurrent:
            message = f"{account.open} requests of yours are at work, the most there may be: wait for one to end."
            raise _too_many(message, {**headers, **later(SOON)})
        account.open += 1
        charges = {of: window.charge(_amount(of, tokens), now) for of, window in account.windows.items()}
        return Lease(self, account, tokens, charges.get("tokens"))

    def _account(self, tenant: str) -> Account:
        if tenant not in self.accounts:
            allowance = self.allowances.get(tenant, self.default)
            most = {"requests": allowance.requests_per_minute, "tokens": allowance.tokens_per_minute}
            windows = {of: Window(limit) for of, limit in most.items() if limit is not None}
            self.accounts[tenant] = Account(allowance.concurrent, windows)
        return self.accounts[tenant]


def limits_of(settings: Settings) -> Limits:
    """The limits of the settings: a key's own where it sets any, else those of `[limits]`.

    Raises:
        BadInput: two keys of one tenant that set different limits.
    """
    names = list(Allowance.model_fields)
    default = Allowance(**{name: getattr(settings.limits, name) for name in names})
    found: dict[str, Allowance] = {}
    for name, key in settings.keys.items():
        own = {limit: getattr(key, limit) for limit in names if limit in key.model_fields_set}
        tenant, allowance = key.tenant or name, default.model_copy(update=own)
        if found.setdefault(tenant, allowance) != allowance:
            raise BadInput(f"keys.{name} sets other limits than another key of tenant {tenant!r}: make them the same.")
    return Limits(found, default)


def _amount(of: str, tokens: int) -> int:
    return tokens if of == "tokens" else 1


def _too_many(message: str, headers: Mapping[str, str]) -> ApiError:
    return ApiError(429, message, "rate_limit_error", "rate_limit_exceeded", headers=headers)


def _refusal(of: str, most: int, tokens: int, wait: float, headers: Mapping[str, str]) -> ApiError:
    if math.isinf(wait):
        message = f"this request may use {tokens} tokens and {most} a minute are allowed: ask for fewer."
        return _too_many(message, {**headers, **NEVER})
    message = f"{most} {of} a minute are allowed and used up: try again in {math.ceil(wait)} seconds."
    return _too_many(message, {**headers, **later(wait)})


def _duration(seconds: float) -> str:
    """As OpenAI writes it: 12ms, 6.5s, 1m0s."""
    if seconds < 1:
        return f"{math.ceil(max(0.0, seconds) * 1000)}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:g}s" if minutes else f"{round(rest, 3):g}s"
