"""The page's own log Z, and what it makes of a record, against ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from process import Running

from heatbath.ensemble import NODE_BETAS, state
from heatbath.record import observe

TEMPERATURES = (0.1, 0.13, 0.2, 0.37, 0.5, 0.8, 1.0, 1.05, 1.7, 2.6, 3.0)

AT = """async ({betas, records, temperatures}) => {
  const {LogZ} = await import("/static/logz.js");
  return records.map(r => {
    const z = new LogZ(betas, r["nodes/log_z"], r["nodes/mean_energy"], r["nodes/variance"]);
    return temperatures.map(t => { const s = z.at(1 / t); return [s.logZ, s.meanEnergy, s.entropy, s.heatCapacity]; });
  });
}"""

REWEIGHED = """async ({betas, record, top, drawn, temperatures}) => {
  const {ensembleOf, reweigh} = await import("/static/ensemble.js");
  const ensemble = ensembleOf({top, drawn, record, betas});
  return {levels: ensemble.levels, states: temperatures.map(t => reweigh(ensemble, t))};
}"""


def energies(scale: float, size: int = 4000) -> Any:
    return np.random.default_rng(int(scale * 10)).gumbel(scale=scale, size=(1, size))


def columns(values: Any, token: int = 0) -> dict[str, Any]:
    record = observe(values, [token])
    return {name: record[name][0].tolist() for name in record}


def test_it_agrees_with_ours_to_a_millionth(visit: Callable[..., Any], server: Running) -> None:
    ensembles = [energies(scale) for scale in (0.3, 1.0, 2.5, 6.0)] + [np.array([[0.0, 8.0, 8.5, 30.0]])]
    page = visit(server.url, live=False).page
    given = {"betas": NODE_BETAS.tolist(), "records": [columns(one) for one in ensembles], "temperatures": TEMPERATURES}
    found = np.array(page.evaluate(AT, given))
    for values, one in zip(ensembles, found, strict=True):
        ours = observe(values, [0]).nodes
        for temperature, (log_z, mean, entropy, capacity) in zip(TEMPERATURES, one, strict=True):
            beta, ground = 1 / temperature, ours.ground[0]
            assert log_z == pytest.approx(ours.log_z(beta)[0] + beta * ground, abs=1e-6)
            assert mean == pytest.approx(ours.mean_energy(beta)[0] - ground, abs=1e-6)
            assert entropy == pytest.approx(ours.entropy(beta)[0], abs=1e-6)
            assert capacity == pytest.approx(ours.heat_capacity(beta)[0], abs=1e-6)


def test_levels_are_reweighed_as_the_model_would(visit: Callable[..., Any], server: Running) -> None:
    values = energies(2.0)
    logprobs = -values[0] - np.logaddexp.reduce(-values[0])
    order = np.argsort(values[0])
    drawn = int(order[40])
    given = {
        "betas": NODE_BETAS.tolist(),
        "record": columns(values, drawn),
        "top": [[f"<{i}>", float(logprobs[i])] for i in order[:20]],
        "drawn": [f"<{drawn}>", float(logprobs[drawn])],
        "temperatures": TEMPERATURES,
    }
    found = visit(server.url, live=False).page.evaluate(REWEIGHED, given)
    assert [level["text"] for level in found["levels"]] == [f"<{i}>" for i in [*order[:20], drawn]]
    assert [level["drawn"] for level in found["levels"]] == [False] * 20 + [True]
    for temperature, one in zip(TEMPERATURES, found["states"], strict=True):
        exact = state(values, 1 / temperature)
        weights = np.exp(-values[0] / temperature - float(exact.log_z[0]))
        # The nodes are kept in single precision, and log Z between them is interpolated.
        assert one["p"] == pytest.approx(weights[[*order[:20], drawn]], rel=1e-4, abs=1e-7)
        assert one["rest"] == pytest.approx(1 - weights[[*order[:20], drawn]].sum(), abs=1e-4)
        assert one["entropy"] == pytest.approx(float(exact.entropy[0]), abs=2e-3)


def test_without_nodes_only_one_temperature_is_known(visit: Callable[..., Any], server: Running) -> None:
    given = {"betas": NODE_BETAS.tolist(), "record": None, "top": [["a", -0.5], ["b", -2.0]], "drawn": ["b", -2.0]}
    found = visit(server.url, live=False).page.evaluate(REWEIGHED, {**given, "temperatures": [1.0, 0.7]})
    assert found["states"][0]["p"] == pytest.approx(np.exp([-0.5, -2.0]))
    assert found["states"][1] is None
