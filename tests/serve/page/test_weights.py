"""The playground over a real model: what it shows is what the model says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from process import Running

import heatbath as hb

pytestmark = pytest.mark.weights


def test_the_ladder_turned_to_another_temperature_is_the_models(
    visit: Callable[..., Any], real: Running, smollm2: Any
) -> None:
    page = visit(real.url).page
    page.set_default_timeout(60_000)
    page.select_option("[name=endpoint]", "/v1/completions")
    page.fill("[name=temperature]", "0")
    page.fill("[name=max_tokens]", "3")
    page.click("[name=send]")
    page.locator("#playground .status", has_text="finished").wait_for()
    assert page.locator("#playground .tokens .token").all_text_contents()[0] == " Paris"
    session = smollm2.open([smollm2.encode("The capital of France is")])
    energies = np.asarray(session.energies(), np.float64)
    for temperature in (0.5, 1.0, 2.0):
        page.locator("#turn").evaluate(
            "(slider, t) => { slider.value = t; slider.dispatchEvent(new Event('input')); }", temperature
        )
        state = hb.state(energies, 1 / temperature)
        shown = page.locator("#playground .figures dd").all_text_contents()
        p, entropy, capacity = (float(text.split()[0]) for text in shown[:3])
        assert p == pytest.approx(100 * float(state.p_max[0]), rel=6e-3)
        assert entropy == pytest.approx(float(state.entropy[0]), rel=6e-3)
        assert capacity == pytest.approx(float(state.heat_capacity[0]), rel=6e-3)
