"""A rule that fails closes the gate; a file with a mistake keeps the last good one and says so."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from gated import Gated, Pieces, gated, run

from heatbath.errors import BadInput
from heatbath.serve.policy.served_policy import load_served_policy
from heatbath.serve.settings import PolicySettings, Settings

GOOD = "rules:\n  - {id: secret, match: {phrases: [boat]}, effect: deny}\n"
OTHER = "rules:\n  - {id: other, match: {phrases: [fish]}, effect: deny}\n"


@pytest.mark.parametrize(
    ("function", "limit", "said"),
    [
        ("fail_always", 1.0, "raised"),
        ("hang", 0.1, "longer than"),
        ("hang_asynchronously", 0.1, "longer than"),
        ("return_nan", 1.0, "raised"),
        ("leave", 1.0, "failed with"),
    ],
)
def test_a_function_that_fails_closes_the_gate(tmp_path: Path, function: str, limit: float, said: str) -> None:
    scores = ", above: 0.5" if function == "return_nan" else ""
    rules = (
        f"rules: [{{id: bad, match: {{function: {{path: 'judges:{function}'{scores}}}}}, effect: warn, "
        f"time_limit: {limit}}}]"
    )

    async def test() -> None:
        async with gated(tmp_path, rules, Pieces(["A boat."])) as server:
            for stream in (False, True):
                reply = await server.chat(stream=stream)
                end = reply.ends[0] if stream else reply.json["choices"][0]
                assert end["finish_reason"] == "content_filter" and b"boat" not in reply.body
                policy = end["thermo"]["policy"]
                assert policy["action"] == "deny" and said in policy["faults"][0]
                assert policy["rules"] == ([] if function == "leave" else ["bad"])
            metrics = (await server.get("/metrics")).body.decode().splitlines()
            assert [line for line in metrics if line.startswith("heatbath_policy_faults_total")] == [
                "heatbath_policy_faults_total 2.0"
            ]

    run(test)


class Hanging:
    """A policy that gives no verdict in time."""

    version, rules, fields, by_id = "0", (), (), {}

    def judge(self, text: str, *, scope: str) -> None:
        time.sleep(1.0)


def test_a_policy_without_a_verdict_in_time_closes_the_gate(tmp_path: Path) -> None:
    async def test() -> None:
        async with gated(tmp_path, GOOD, Pieces(["A fish."]), verdict_seconds=0.1) as server:
            assert server.services.policy is not None
            server.services.policy.current = Hanging()  # type: ignore[assignment]
            started = time.monotonic()
            reply = await server.complete()
            assert reply.status == 400 and time.monotonic() - started < 0.9
            server.services.policy.current.judge = lambda text, *, scope: "yes"  # type: ignore[method-assign, assignment, return-value]
            assert (await server.complete()).json["error"]["code"] == "content_filter"

    run(test)


async def say(server: Gated, text: str) -> str:
    server.engine.texts = [text]
    reason: str = (await server.chat()).json["choices"][0]["finish_reason"]
    return reason


def test_a_file_with_a_mistake_keeps_the_last_good_one(tmp_path: Path) -> None:
    async def test() -> None:
        async with gated(tmp_path, GOOD) as server:
            served, path = server.services.policy, tmp_path / "policy.yaml"
            assert served is not None and not served.refresh()
            first = served.current.version
            path.write_text("rules:\n  - {id: other, effect: deny}\n")
            os.utime(path, (1, 1))
            assert served.refresh() and not served.refresh()
            assert (await say(server, "boat"), await say(server, "fish")) == ("content_filter", "stop")
            health = (await server.get("/health")).json
            assert health["policy"].startswith("policy.yaml:2:") and first in health["policy"]
            assert "heatbath_policy_stale 1.0" in (await server.get("/metrics")).body.decode()
            assert (await server.get("/page/policy")).json["problem"] == health["policy"]
            path.write_text(OTHER)
            os.utime(path, (2, 2))
            assert served.refresh() and served.current.version != first
            assert (await say(server, "boat"), await say(server, "fish")) == ("stop", "content_filter")
            assert (await server.get("/health")).json["policy"] == "ok"

    run(test)


def test_a_file_is_looked_at_while_the_server_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heatbath.serve.policy.served_policy.RELOAD_SECONDS", 0.02)

    async def test() -> None:
        async with gated(tmp_path, GOOD) as server:
            served = server.services.policy
            assert served is not None
            async with served.reload_periodically(server.services.log):
                (tmp_path / "policy.yaml").write_text(OTHER + "\n")
                while served.current.rules[0].id != "other":
                    await asyncio.sleep(0.01)

    run(test)


def test_rules_that_a_window_does_not_allow_are_not_taken_while_it_is_used(tmp_path: Path) -> None:
    async def test() -> None:
        async with gated(tmp_path, GOOD, mode="window") as server:
            served, path = server.services.policy, tmp_path / "policy.yaml"
            assert served is not None
            path.write_text(GOOD.replace("deny", "modify"))
            os.utime(path, (3, 3))
            assert served.refresh() and "policy.mode is window" in str(served.problem)
            assert served.current.rules[0].effect.action == "deny"  # type: ignore[union-attr]

    run(test)


def test_settings_name_a_file_that_can_be_read(tmp_path: Path) -> None:
    assert load_served_policy(Settings().policy, has_review=False) is None
    with pytest.raises(BadInput, match=r"policy.file .*missing.yaml cannot be read"):
        load_served_policy(PolicySettings(file=tmp_path / "missing.yaml"), has_review=False)
    (tmp_path / "bad.yaml").write_text("rules:\n  - {id: x}\n")
    with pytest.raises(BadInput, match=r"bad.yaml:2"):
        load_served_policy(PolicySettings(file=tmp_path / "bad.yaml"), has_review=False)
