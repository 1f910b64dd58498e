"""Grammars of strangers in children that can be ended: a stand-in sleeps, allocates, exits and recurses."""

import os
import time
from concurrent.futures import wait

import pytest

from heatbath.energy.grammar import build_schema_grammar
from heatbath.energy.grammar_guard import GrammarCheckLost, GrammarGuard, GrammarVerdict
from heatbath.energy.grammar_worker import GrammarLimits
from heatbath.errors import BadInput
from heatbath.models import Vocabulary

BYTES = [bytes([byte]) for byte in range(256)] + [b"<end>"]
VOCABULARY = Vocabulary(257, stop_token_ids=(256,), special_token_ids=frozenset({256}))
LIMITS = GrammarLimits(seconds=1.0, patience=1.2, memory=64 << 20, children=2)


def build_guard(factory="grammar_stand_ins:build", limits=LIMITS):
    return GrammarGuard(BYTES.__getitem__, VOCABULARY, limits=limits, factory=factory)


@pytest.fixture(scope="module")
def guard():
    made = build_guard()
    yield made
    made.close()


@pytest.fixture(scope="module")
def real():
    made = build_guard("heatbath.energy.grammar_probe:build_probe", GrammarLimits())
    yield made
    made.close()


def verdict(guard, grammar, seconds=30):
    return guard.check(grammar).result(timeout=seconds)


@pytest.mark.parametrize(
    ("grammar", "status"),
    [
        ("fine", "usable"),
        ("exit 0", "died"),
        ("exit 3", "died"),
        ("abort", "died"),
        ("recurse", "died"),
        ("allocate", "died"),
    ],
)
def test_a_child_that_ends_or_takes_too_much_gives_a_verdict(guard, grammar, status):
    assert verdict(guard, grammar).status == status
    assert guard.find_verdict(grammar) == verdict(guard, grammar, 0)


def test_processor_time_is_limited(guard):
    # On a busy machine the clock is first.
    assert verdict(guard, "spin").status in ("late", "slow")


def said(status):
    with pytest.raises(BadInput) as raised:
        GrammarVerdict(status, "why.").require_usable("f", LIMITS)
    return raised.value.reason


def test_each_verdict_is_a_sentence():
    assert said("refused") == "why." and "crashed or took more than 64 MiB" in said("died")
    assert "more than 1 s" in said("late") and "more than 1.2 s" in said("slow")
    with pytest.raises(GrammarCheckLost):
        GrammarVerdict("lost").require_usable("f", LIMITS)
    GrammarVerdict("usable").require_usable("f", LIMITS)


def test_a_refusal_has_the_reason_of_the_library(guard, real):
    assert verdict(guard, "refuse because") == GrammarVerdict("refused", "because")
    assert "unclosed" in verdict(real, "start: /a(/").reason
    assert verdict(real, build_schema_grammar({"type": "integer", "minimum": 3})).status == "usable"
    assert "no completion" in verdict(real, "start: /[^\\s\\S]/").reason


def test_slow_ones_block_nobody_and_the_clock_ends_them(guard):
    begun = time.monotonic()
    slow = [guard.check("sleep 99"), guard.check("sleep 98")]
    extra = guard.check("fine too")
    assert not wait([extra], timeout=0.5).done
    for future in slow[:1]:
        assert future.cancel()
    assert extra.result(timeout=5).status == "usable" and time.monotonic() - begun < 3
    assert slow[1].result(timeout=10).status == "slow" and guard.find_verdict("sleep 98") is None


def test_a_cancelled_grammar_is_ended_unless_another_waits(guard, tmp_path):
    note = tmp_path / "pids"
    first, second = guard.check(f"pid {note}"), guard.check(f"pid {note}")
    while not note.exists() or not note.read_text().endswith("\n"):
        time.sleep(0.01)
    (line,) = note.read_text().splitlines()
    pid = int(line.split()[0])
    first.cancel()
    time.sleep(0.1)
    os.kill(pid, 0)
    second.cancel()
    assert _is_gone(pid)
    assert verdict(guard, "fine again").status == "usable"


def test_a_lost_process_is_said_and_started_again(tmp_path):
    made, note = build_guard(), tmp_path / "pids"
    waiting = made.check(f"pid {note}")
    while not note.exists() or not note.read_text().endswith("\n"):
        time.sleep(0.01)
    child, parent = map(int, note.read_text().split())
    os.kill(parent, 9)
    assert waiting.result(timeout=10).status == "lost" and _is_gone(child)
    assert verdict(made, "fine").status == "usable"
    waiting = made.check(f"pid {note}")
    while len(note.read_text().split()) < 4:
        time.sleep(0.01)
    made.close()
    assert waiting.result(timeout=10).status == "lost"
    assert all(_is_gone(pid) for pid in map(int, note.read_text().split()))


def _is_gone(pid, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False
