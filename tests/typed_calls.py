"""The public interface as type checkers and editors see it: mypy checks this file, and nothing runs it.

A call that is marked as wrong must be wrong, or mypy reports the mark: see `warn_unused_ignores`.
"""

from __future__ import annotations

from typing import assert_type

import numpy as np

import heatbath as hb


def check_generate(model: hb.Model) -> None:
    """Arguments of `hb.generate` have types; a name or a value that is wrong is seen before anything runs."""
    out = hb.generate(model, "a", n=2, temperature=0.8, top_p=0.9, max_tokens=16, stop="\n", seed=0)
    assert_type(out, hb.Generation)
    assert_type(out.texts, list[str])
    assert_type(out.log_z, float | None)
    assert_type(out.traces, list[hb.Trace])
    hb.generate(model, [1, 2], temperature=[0.5, 1.0], fields=["dry=0.8", {"regex": "a+"}], record="state")
    hb.generate(model, "a", sampler="smc", particles=8, potentials="regex=a+", stop_token_ids=[0])
    hb.generate(model, "a", top_q=0.9)  # type: ignore[call-arg]
    hb.generate(model, "a", max_new_tokens=9)  # type: ignore[call-arg]
    hb.generate(model, "a", max_tokens="9")  # type: ignore[arg-type]
    hb.generate(model, "a", record="everything")  # type: ignore[arg-type]
    hb.generate("smollm2-135m", "a")  # type: ignore[arg-type]


def check_the_rest() -> None:
    """What the other functions give."""
    model = hb.load("smollm2-135m", dtype="float32")
    assert_type(model, hb.TransformersModel)
    trace = hb.measure(model, "a", temperature=0.7)
    assert_type(trace, hb.Trace)
    trace.logprob(0.5).sum()
    chart = hb.sweep(model)
    assert_type(chart, hb.PhaseMap)
    assert_type(chart.advice.range, tuple[float, float] | None)
    assert_type(hb.state(np.zeros(4)), hb.State)
    hb.measure(model, "a", temperature="warm")  # type: ignore[arg-type]
