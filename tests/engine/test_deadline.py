"""A latency budget trades answers, their length and their temperature against a deadline."""

from itertools import count

import numpy as np
import pytest

from heatbath.decode import schedules
from heatbath.engine import generate
from heatbath.errors import BadInput
from heatbath.models import MarkovModel

CHAIN = MarkovModel.random(0, 5)


def budget(seconds: float, *, per_row: float = 0.0, tick: float = 1.0):
    """A budget on a clock that goes on by `tick` at every look."""
    ticks = count()
    return schedules.latency_budget(
        seconds, (1.0, per_row), temperature_range=(0.2, 1.0), clock=lambda: tick * next(ticks)
    )


def test_answers_end_with_the_time():
    out = generate(CHAIN, [], n=3, max_tokens=40, temperature=budget(10.0, tick=2.0))
    assert {len(answer) for answer in out.sequences} == {5} and set(out.finish_reasons) == {"interrupted"}
    temperature = out.traces[0].temperature
    assert temperature[0] == 1.0 and temperature[-1] < 0.6 and (np.diff(temperature) <= 0).all()


def test_what_cannot_fit_is_not_begun():
    out = generate(CHAIN, [], n=8, max_tokens=10, temperature=budget(30.0, per_row=1.0))
    assert len(out) == 2 and {len(answer) for answer in out.sequences} == {10}
    short = generate(CHAIN, [], n=8, max_tokens=10, temperature=budget(6.0, per_row=1.0))
    assert [len(answer) for answer in short.sequences] == [3]


def test_no_time_at_all_is_refused():
    with pytest.raises(BadInput, match="is too short: one token takes"):
        generate(CHAIN, [], max_tokens=10, temperature=budget(0.5))
