"""Rate limits per tenant: requests and tokens in any sixty seconds, and concurrent requests."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from heatbath.errors import BadInput
from heatbath.serve.errors import NO_RETRY_HEADERS, ApiError, retry_headers
from heatbath.serve.settings import Allowance, Settings

MINUTE_SECONDS = 60.0
CONCURRENCY_RETRY_SECONDS = 1.0
"""Retry time where too many requests run at once; when one of them will end is not known."""


@dataclass
class Charge:
    """An amount charged at a time (seconds)."""

    time: float
    amount: int


@dataclass
class RateWindow:
    """Charges of the last minute, `limit` at most. Exact: no sixty seconds ever hold more than that."""

    limit: int
    charges: deque[Charge] = field(default_factory=deque)
    used_amount: int = 0

    def drop_expired(self, now: float) -> None:
        """Drop charges that are a minute old."""
        while self.charges and self.charges[0].time <= now - MINUTE_SECONDS:
            self.used_amount -= self.charges.popleft().amount

    def seconds_until(self, amount: int, now: float) -> float:
        """Return the seconds until `amount` fits; inf if it never will."""
        over = self.used_amount + amount - self.limit
        if over <= 0:
            return 0.0
        for charge in self.charges:
            over -= charge.amount
            if over <= 0:
                return charge.time + MINUTE_SECONDS - now
        return math.inf

    def add_charge(self, amount: int, now: float) -> Charge:
        """Charge `amount`, whether it fits or not."""
        charge = Charge(now, amount)
        self.charges.append(charge)
        self.used_amount += amount
        return charge

    def refund(self, charge: Charge, amount: int, now: float) -> None:
        """Give back `amount` of a charge, if it has not expired."""
        self.drop_expired(now)
        if charge.time > now - MINUTE_SECONDS:
            charge.amount -= amount
            self.used_amount -= amount

    def headers(self, kind: str, now: float) -> dict[str, str]:
        """Return OpenAI's headers of what is left; `reset` is when no charge counts any more."""
        reset = self.charges[-1].time + MINUTE_SECONDS - now if self.charges else 0.0
        return {
            f"x-ratelimit-limit-{kind}": str(self.limit),
            f"x-ratelimit-remaining-{kind}": str(max(0, self.limit - self.used_amount)),
            f"x-ratelimit-reset-{kind}": _format_duration(reset),
        }


@dataclass
class Account:
    """One tenant's windows, and the number of its running requests."""

    max_concurrent: int | None
    windows: Mapping[str, RateWindow]
    is_unlimited: bool = False
    num_open: int = 0

    def headers(self, now: float) -> dict[str, str]:
        """Return the headers of all windows."""
        found: dict[str, str] = {}
        for of, window in self.windows.items():
            window.drop_expired(now)
            found |= window.headers(of, now)
        return found


@dataclass
class Lease:
    """An admitted request. Release it exactly once, however it ends: until then it counts as running."""

    limiter: RateLimiter
    account: Account
    charged_tokens: int
    token_charge: Charge | None
    is_settled: bool = False

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the response on the limits."""
        return self.account.headers(self.limiter.current_time())

    def release(self, used_tokens: int) -> None:
        """End the request, which used `used_tokens`; the rest of its charge is given back."""
        if self.is_settled:
            return
        self.is_settled = True
        self.account.num_open -= 1
        if self.token_charge is not None:
            unused = max(0, self.charged_tokens - max(0, used_tokens))
            self.account.windows["tokens"].refund(self.token_charge, unused, self.limiter.current_time())


@dataclass
class RateLimiter:
    """The accounts of all tenants. `clock` is monotonic (seconds); if it is set back, no time passes."""

    allowances: Mapping[str, Allowance] = field(default_factory=dict)
    default_allowance: Allowance = field(default_factory=Allowance)
    clock: Callable[[], float] = time.monotonic
    accounts: dict[str, Account] = field(default_factory=dict)
    last_reading: float | None = None
    elapsed: float = 0.0

    def current_time(self) -> float:
        """Return the seconds since the clock was first read."""
        reading = self.clock()
        self.elapsed += 0.0 if self.last_reading is None else max(0.0, reading - self.last_reading)
        self.last_reading = reading
        return self.elapsed

    def acquire(self, tenant: str, tokens: int) -> Lease:
        """Admit a request of `tenant` that will use up to `tokens` of prompt and completions.

        Raises:
            ApiError: 429 with the seconds to wait, where an allowance is used up.
        """
        account = self.accounts.get(tenant) or self._open_account(tenant)
        if account.is_unlimited:
            account.num_open += 1
            return Lease(self, account, tokens, None)
        now = self.current_time()
        headers = account.headers(now)
        waits = {of: window.seconds_until(_charge_amount(of, tokens), now) for of, window in account.windows.items()}
        longest = max(waits, key=waits.__getitem__, default="")
        if longest and waits[longest]:
            raise _exceeded_error(longest, account.windows[longest].limit, tokens, waits[longest], headers)
        if account.max_concurrent is not None and account.num_open >= account.max_concurrent:
            message = f"{account.num_open} requests of yours are at work, the most there may be: wait for one to end."
            raise _rate_limit_error(message, {**headers, **retry_headers(CONCURRENCY_RETRY_SECONDS)})
        account.num_open += 1
        charges = {of: window.add_charge(_charge_amount(of, tokens), now) for of, window in account.windows.items()}
        return Lease(self, account, tokens, charges.get("tokens"))

    def _open_account(self, tenant: str) -> Account:
        allowance = self.allowances.get(tenant, self.default_allowance)
        limits = {"requests": allowance.requests_per_minute, "tokens": allowance.tokens_per_minute}
        windows = {kind: RateWindow(limit) for kind, limit in limits.items() if limit is not None}
        account = Account(allowance.concurrent, windows, not windows and allowance.concurrent is None)
        self.accounts[tenant] = account
        return account


def build_rate_limiter(settings: Settings) -> RateLimiter:
    """Return the limits of the settings: a key's own where it sets any, else those of `[limits]`.

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
    return RateLimiter(found, default)


def _charge_amount(kind: str, tokens: int) -> int:
    return tokens if kind == "tokens" else 1


def _rate_limit_error(message: str, headers: Mapping[str, str]) -> ApiError:
    return ApiError(429, message, "rate_limit_error", "rate_limit_exceeded", headers=headers)


def _exceeded_error(kind: str, limit: int, tokens: int, wait: float, headers: Mapping[str, str]) -> ApiError:
    if math.isinf(wait):
        message = f"this request may use {tokens} tokens and {limit} a minute are allowed: ask for fewer."
        return _rate_limit_error(message, {**headers, **NO_RETRY_HEADERS})
    message = f"{limit} {kind} a minute are allowed and used up: try again in {math.ceil(wait)} seconds."
    return _rate_limit_error(message, {**headers, **retry_headers(wait)})


def _format_duration(seconds: float) -> str:
    """Return a duration as OpenAI writes it: 12ms, 6.5s, 1m0s."""
    if seconds < 1:
        return f"{math.ceil(max(0.0, seconds) * 1000)}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:g}s" if minutes else f"{round(rest, 3):g}s"
