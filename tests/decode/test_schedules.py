"""Ramps, phases, intents, deadlines and crossings."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatbath.decode import schedules
from heatbath.decode.schedules import INTENTS, LatencyBudget, Schedule, find_edge_crossings, latency_budget
from heatbath.energy.base import Context
from heatbath.errors import BadInput


def context(lengths, prompt=2):
    return Context([[7] * (prompt + n) for n in lengths], [prompt] * len(lengths), 11)


def at(schedule, *places):
    memory = schedule.init(len(places))
    assert isinstance(schedule, Schedule) and memory.shape[0] == len(places)
    values = schedule.temperatures(context(places), None, memory)
    assert values.shape == (len(places),) and (values >= 0).all()
    return values.tolist()


def test_ramps_at_their_corners():
    assert at(schedules.constant(0.0), 0, 5) == [0.0, 0.0]
    assert at(schedules.linear(1.0, 0.2, 4), 0, 1, 4, 9) == pytest.approx([1.0, 0.8, 0.2, 0.2])
    assert at(schedules.cosine(1.0, 0.0, 4), 0, 2, 4, 9) == pytest.approx([1.0, 0.5, 0.0, 0.0])
    assert at(schedules.geometric(2.0, 0.5, 0.3), 0, 1, 2, 9) == pytest.approx([2.0, 1.0, 0.5, 0.3])
    assert at(schedules.logarithmic(1.0, 1.0), 0, 8) == pytest.approx([1 / np.log(2), 1 / np.log(10)])
    assert at(schedules.by_position([(0, 1.0), (3, 0.0), (5, 2.0)]), 0, 2, 3, 4, 5, 99) == [
        1.0,
        1.0,
        0.0,
        0.0,
        2.0,
        2.0,
    ]


@given(st.floats(0, 3), st.floats(0, 3), st.integers(1, 50))
def test_ramps_stay_between_their_ends_and_go_one_way(start, end, steps):
    places = list(range(60))
    for schedule in (schedules.linear(start, end, steps), schedules.cosine(start, end, steps)):
        values = np.asarray(at(schedule, *places))
        assert values[0] == pytest.approx(start) and values[steps:] == pytest.approx(end)
        assert (np.diff(values) * np.sign(end - start) >= -1e-12).all()
    cooling = np.asarray(at(schedules.geometric(start, 0.9, 0.1), *places))
    assert (np.diff(cooling) <= 0).all() and (np.diff(at(schedules.logarithmic(start + 1.0), *places)) < 0).all()


@given(st.lists(st.integers(0, 1), max_size=8), st.lists(st.integers(0, 1), max_size=3), st.integers(0, 1))
def test_a_phase_ends_when_the_marker_is_in_the_answer(answer, prompt, stop):
    schedule = schedules.by_phase([1, 0], before=1.2, after=0.0)
    seen = Context([prompt + answer], [len(prompt)], 2)
    ended = any(answer[i : i + 2] == [1, 0] for i in range(len(answer)))
    assert schedule.temperatures(seen, None, schedule.init(1)).tolist() == [0.0 if ended else 1.2]


@given(st.lists(st.sampled_from(["is", " is", "i", "s", " ", "capital", "é"]), max_size=8), st.booleans())
def test_a_phase_ends_when_the_text_has_the_marker(pieces, prompted):
    vocabulary = [piece.encode() for piece in pieces] + [b"\xc3", b"\xa9"]
    for marker in ("is", "al is", "é"):
        schedule = schedules.by_phase(marker, before=1.2, after=0.0, token_bytes=vocabulary.__getitem__)
        tokens, prompt = list(range(len(pieces))), [0] if pieces and prompted else []
        seen = Context([prompt + tokens, [len(pieces), len(pieces) + 1]], [len(prompt), 0], len(vocabulary))
        expected = [0.0 if marker in "".join(pieces) else 1.2, 0.0 if marker == "é" else 1.2]
        assert schedule.temperatures(seen, None, schedule.init(2)).tolist() == expected


def test_intents_name_the_nearest():
    assert at(schedules.by_intent("extract"), 3) == [0.0]
    story = schedules.by_intent("story")
    assert at(story, 0) == [1.2] and [w.label for w in story.windows(story.init(1))] == ["min_p=0.1"]
    assert all(intent.rationale for intent in INTENTS.values())
    with pytest.raises(BadInput, match=r"'sumarise' \(did you mean 'summarize'\?\)"):
        schedules.by_intent("sumarise")
    with pytest.raises(BadInput, match="did you mean"):
        schedules.by_intent("")


class Clock:
    """Seconds that pass when told."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_a_deadline_cools_and_shortens_by_the_clock_it_is_given():
    clock = Clock()
    budget = latency_budget(10.0, (0.5, 0.25), temperature_range=(0.2, 1.0), cooling_fraction=0.5, clock=clock)
    memory = budget.init(2)
    seen, left = [], []
    for _ in range(11):
        seen.append(budget.temperatures(context([0, 0]), None, memory)[0])
        left.append(budget.remaining_tokens(memory)[0])
        clock.now += 1.0
        memory = budget.update_memory(memory, None)
    assert seen[:6] == [1.0] * 6
    assert seen[6:] == pytest.approx([0.84, 0.68, 0.52, 0.36, 0.2])
    assert left == [10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert budget.remaining_tokens(memory)[0] == 0 and budget.temperatures(context([0, 0]), None, memory)[0] == 0.2


def test_the_pace_follows_the_steps_that_were_timed():
    clock = Clock()
    budget = latency_budget(100.0, (1.0, 0.0), clock=clock)
    memory = budget.init(3)[[0, 2]]
    for _ in range(40):
        clock.now += 0.1
        memory = budget.update_memory(memory, None)
    assert memory[:, 2] == pytest.approx(0.1, rel=2e-3) and (np.abs(budget.remaining_tokens(memory) - 960) <= 3).all()


@given(st.floats(0.1, 100), st.floats(1e-3, 1), st.floats(1e-3, 1), st.integers(1, 20), st.integers(1, 60))
def test_a_plan_fits_and_nothing_larger_would(deadline, per_step, per_row, rows, tokens):
    budget = latency_budget(deadline, (per_step, per_row), temperature_range=(0.0, 0.8))
    if deadline < (per_step + per_row) * 0.999:
        with pytest.raises(BadInput, match="the deadline of .* is too short"):
            budget.plan(rows, tokens)
        return
    if deadline < (per_step + per_row) * 1.001:
        return
    plan = budget.plan(rows, tokens)
    assert plan.seconds <= deadline * (1 + 1e-6) and plan.samples <= rows and plan.max_tokens <= tokens
    assert plan.samples == rows or (per_step + (plan.samples + 1) * per_row) * tokens > deadline
    assert plan.max_tokens == tokens or plan.samples == 1
    assert 0 <= plan.temperature <= 0.8
    if plan.samples == rows > 1:
        assert plan.temperature == pytest.approx(0.8)


def test_crossings_name_edge_and_direction():
    edges = {"freezes": 0.5, "melts": 1.0}
    assert find_edge_crossings([0.3, 0.6, 1.2, 0.1], edges) == [
        (1, "freezes", 1),
        (2, "melts", 1),
        (3, "melts", -1),
        (3, "freezes", -1),
    ]
    assert find_edge_crossings([0.4, 0.5, 0.5, 0.49], edges) == [(1, "freezes", 1), (3, "freezes", -1)]
    assert find_edge_crossings([], edges) == find_edge_crossings([1.0], edges) == []
    with pytest.raises(BadInput, match="NaN"):
        find_edge_crossings([0.1, np.nan], edges)


@given(st.lists(st.sampled_from([0.0, 0.3, 0.5, 0.7, 2.0]), min_size=1, max_size=9))
def test_crossings_of_an_edge_add_up(temperatures):
    found = find_edge_crossings(temperatures, {"edge": 0.5})
    signs = [sign for _, _, sign in found]
    assert sum(signs) == int(temperatures[-1] >= 0.5) - int(temperatures[0] >= 0.5)
    assert all(a == -b for a, b in pairwise(signs))


BAD = [
    lambda: schedules.constant(-0.1),
    lambda: schedules.constant(np.nan),
    lambda: schedules.linear(1.0, np.inf, 3),
    lambda: schedules.linear(1.0, 0.0, 0),
    lambda: schedules.geometric(1.0, 1.1),
    lambda: schedules.logarithmic(1.0, 0.0),
    lambda: schedules.by_position([]),
    lambda: schedules.by_position([(1, 1.0)]),
    lambda: schedules.by_position([(0, 1.0), (0, 2.0)]),
    lambda: schedules.by_phase([], before=1.0, after=0.0),
    lambda: schedules.by_phase("", before=1.0, after=0.0, token_bytes=bytes),
    lambda: schedules.by_phase("is", before=1.0, after=0.0),
    lambda: schedules.by_phase([1], before=1.0, after=-1.0),
    lambda: latency_budget(0.0, (1.0, 1.0)),
    lambda: latency_budget(1.0, (0.0, 0.0)),
    lambda: latency_budget(1.0, (1.0, 1.0), temperature_range=(1.0, 0.5)),
    lambda: latency_budget(1.0, (1.0, 1.0), cooling_fraction=0.0),
    lambda: latency_budget(1.0, (0.1, 0.1)).plan(0, 3),
]


@pytest.mark.parametrize("make", BAD)
def test_settings_out_of_range_are_refused_in_one_sentence(make):
    with pytest.raises(BadInput, match=r"(must|expected|too short).*\.$"):
        make()


def test_budgets_are_plain_data():
    assert latency_budget(1.0, (0.1, 0.1)) == LatencyBudget(1.0, 0.1, 0.1, 1.0, 0.0, 0.5, __import__("time").monotonic)
