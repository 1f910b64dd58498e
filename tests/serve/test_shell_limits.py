"""The allowance of a tenant: never more than it says in any minute, and back what was not used."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatbath.errors import BadInput
from heatbath.serve.errors import ApiError
from heatbath.serve.rate_limits import MINUTE_SECONDS, Lease, RateLimiter, build_rate_limiter
from heatbath.serve.settings import Allowance, Settings


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def limits(clock: Clock, **allowance: int) -> RateLimiter:
    return RateLimiter(default_allowance=Allowance(**allowance), clock=clock)


def admitted(limits: RateLimiter, tokens: int, tenant: str = "a") -> Lease | None:
    try:
        return limits.acquire(tenant, tokens)
    except ApiError:
        return None


step = st.tuples(st.floats(-5, 40), st.integers(0, 60), st.floats(0, 1))


@given(steps=st.lists(step, max_size=60), requests=st.integers(1, 8), tokens=st.integers(1, 100))
def test_no_minute_ever_holds_more_than_the_allowance(
    steps: list[tuple[float, int, float]], requests: int, tokens: int
) -> None:
    clock = Clock()
    found = limits(clock, requests_per_minute=requests, tokens_per_minute=tokens)
    times: list[tuple[float, int]] = []
    for seconds, amount, part in steps:  # the clock goes back at times
        clock.now += seconds
        lease = admitted(found, amount)
        if lease is not None:
            used = math.floor(amount * part)
            times.append((found.current_time(), used))
            lease.release(used)
    for end, _ in times:
        inside = [used for at, used in times if end - MINUTE_SECONDS < at <= end]
        assert len(inside) <= requests
        assert sum(inside) <= tokens


@given(steps=st.lists(st.tuples(st.floats(0, 40), st.integers(1, 50)), max_size=40))
def test_what_is_refused_is_let_in_after_the_seconds_that_were_named(steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    found = limits(clock, requests_per_minute=3, tokens_per_minute=50)
    for seconds, amount in steps:
        clock.now += seconds
        try:
            found.acquire("a", amount)
        except ApiError as error:
            wait = int(error.headers["retry-after-ms"]) / 1000
            assert 0 < wait <= MINUTE_SECONDS + 0.001
            assert math.ceil(wait) == int(error.headers["retry-after"])
            clock.now += wait + 1e-6
            assert admitted(found, amount) is not None


def test_what_was_not_used_is_given_back_once() -> None:
    found = limits(Clock(), tokens_per_minute=100)
    lease = found.acquire("a", 100)
    assert admitted(found, 1) is None
    lease.release(30)
    lease.release(0)
    assert admitted(found, 71) is None
    assert admitted(found, 70) is not None


def test_a_refund_after_a_minute_gives_nothing() -> None:
    clock = Clock()
    found = limits(clock, tokens_per_minute=100)
    lease = found.acquire("a", 100)
    clock.now += MINUTE_SECONDS
    assert admitted(found, 100) is not None
    lease.release(0)
    assert admitted(found, 1) is None


def test_a_clock_set_back_lets_nothing_in_and_locks_nobody_out() -> None:
    clock = Clock()
    found = limits(clock, requests_per_minute=1)
    assert admitted(found, 1) is not None
    clock.now -= 10_000
    assert admitted(found, 1) is None
    clock.now += MINUTE_SECONDS
    assert admitted(found, 1) is not None


def test_requests_at_once_are_counted_until_they_are_settled() -> None:
    found = limits(Clock(), concurrent=2)
    first, second = found.acquire("a", 1), found.acquire("a", 1)
    with pytest.raises(ApiError, match="2 requests") as caught:
        found.acquire("a", 1)
    assert caught.value.status == 429 and caught.value.headers["retry-after"] == "1"
    assert admitted(found, 1, "b") is not None, "another tenant's"
    first.release(1)
    first.release(1)
    assert admitted(found, 1) is not None and admitted(found, 1) is None
    second.release(1)


def test_a_request_larger_than_the_allowance_is_not_asked_to_come_back() -> None:
    with pytest.raises(ApiError, match="101 tokens and 100") as caught:
        limits(Clock(), tokens_per_minute=100).acquire("a", 101)
    assert caught.value.status == 429
    assert caught.value.headers["x-should-retry"] == "false" and "retry-after" not in caught.value.headers


def test_the_headers_say_what_is_left_and_when_it_is_whole_again() -> None:
    clock = Clock()
    found = limits(clock, requests_per_minute=10, tokens_per_minute=1000)
    lease = found.acquire("a", 400)
    clock.now += 2.5
    assert lease.headers == {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "9",
        "x-ratelimit-reset-requests": "57.5s",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "600",
        "x-ratelimit-reset-tokens": "57.5s",
    }
    lease.release(100)
    assert lease.headers["x-ratelimit-remaining-tokens"] == "900"
    clock.now += 57.2
    assert lease.headers["x-ratelimit-reset-tokens"] == "300ms"
    assert limits(clock).acquire("a", 1).headers == {}


def test_nothing_is_charged_for_what_is_refused() -> None:
    clock = Clock()
    found = limits(clock, requests_per_minute=2, tokens_per_minute=100)
    found.acquire("a", 90)
    for _ in range(5):
        assert admitted(found, 20) is None
    assert admitted(found, 10) is not None


def test_a_key_has_the_limits_it_sets_and_the_others_of_everybody() -> None:
    key = {"sha256": "0" * 64, "requests_per_minute": 5}
    found = build_rate_limiter(Settings(limits={"concurrent": 3, "requests_per_minute": 1}, keys={"a": key}))
    assert found.allowances["a"] == Allowance(requests_per_minute=5, concurrent=3)
    assert found.default_allowance == Allowance(requests_per_minute=1, concurrent=3)


def test_keys_of_one_tenant_have_one_allowance() -> None:
    one, other = {"sha256": "0" * 64, "tenant": "t"}, {"sha256": "1" * 64, "tenant": "t", "concurrent": 1}
    with pytest.raises(BadInput, match=r"keys\.b sets other limits"):
        build_rate_limiter(Settings(keys={"a": one, "b": other}))
