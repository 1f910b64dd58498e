"""The parts that the decode group's figures rest on, on models small enough to know the answer."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from heatbath.bench import decode, masks, peers, power
from heatbath.bench.benchmark import BenchmarkLine, upper_limit_line
from heatbath.decode import SMC, Metropolis, Target
from heatbath.energy import ForbiddenTokens
from heatbath.errors import MissingExtra
from heatbath.installation import install_command
from heatbath.models import MarkovModel

SIZE, LENGTH, ALPHA = 3, 5, 2.5


def _answers(model: MarkovModel) -> list[tuple[int, ...]]:
    """Every answer that ends with the stop token or has the greatest length."""
    found = []
    for tokens in product(range(SIZE), repeat=LENGTH):
        end = tokens.index(power.STOP) + 1 if power.STOP in tokens else LENGTH
        found.append(tokens[:end])
    return sorted(set(found))


def test_the_moments_are_those_of_all_answers_listed() -> None:
    model = MarkovModel.random(3, SIZE, scale=1.5)
    logp = np.asarray([model.logprob(answer) for answer in _answers(model)])
    weight = np.exp(ALPHA * logp)
    mean = float(weight @ logp / weight.sum())
    exact = power.compute_moments(model, ALPHA, LENGTH)
    assert exact.mean == pytest.approx(mean, abs=1e-12)
    assert exact.variance == pytest.approx(weight @ (logp - mean) ** 2 / weight.sum(), abs=1e-12)
    assert exact.log_z == pytest.approx(np.log(weight.sum()), abs=1e-12)


def test_the_cost_of_independent_answers_is_their_length() -> None:
    # At alpha = 1 each particle is an independent answer, so that 20 of them are worth 20. With 2,000 runs the mean
    # square is known to 3 %, and 15 % is five times that.
    model = MarkovModel.random(3, SIZE)
    exact = power.compute_moments(model, 1.0, LENGTH)
    sampler = SMC(Target(), particles=20, replicates=2000)
    state = power.run_to_end(model, sampler, LENGTH)
    spent = power.count_tokens(state) / 2000
    effective = exact.variance / np.mean((power.estimate_means(state) - exact.mean) ** 2)
    assert effective == pytest.approx(20, rel=0.15)
    assert spent == pytest.approx(20 * np.mean(state.buffer.lengths))


def test_a_chain_tells_of_the_sweeps_it_keeps() -> None:
    model = MarkovModel.random(3, SIZE)
    state = power.run_to_end(model, Metropolis(Target(power=ALPHA), chains=6, sweeps=8, burn=0.5), LENGTH)
    assert power.estimate_means(state) == pytest.approx(state.logprob_history[:, 4:].mean(1))
    assert power.count_tokens(state) == state.chains.tokens_spent


def test_ancestors_of_another_library_are_followed_through_every_resampling() -> None:
    even: dict[str, Any] = {"particles": [{"logweight": "0.0"}] * 4}
    last: dict[str, Any] = {"particles": [{"logweight": w} for w in ("0.0", "0.0", "-Infinity", "0.0")]}
    assert peers.compute_ess([even, last]) == pytest.approx(3)
    # 0, 0, 2, 3 and of these 0, 1, 1, 3: founders 0, 0, 0, 3 with weights a third each but for the dead one.
    history = [even, {**even, "ancestors": [0, 0, 2, 3]}, {**last, "ancestors": [0, 1, 1, 3]}]
    assert peers.compute_ess(history) == pytest.approx(1 / ((2 / 3) ** 2 + (1 / 3) ** 2))


def test_rates_leave_the_first_run_out_and_take_turns() -> None:
    calls: list[tuple[str, int]] = []

    def side(name: str, size: float) -> Any:
        def call(number: int) -> float:
            calls.append((name, number))
            return size if number else 1e9

        return call

    rates = peers.compute_ess_rates({"a": side("a", 3.0), "b": side("b", 0.0)}, runs=2)
    assert calls == [(name, number) for number in range(3) for name in "ab"]
    assert rates["a"] > 0 and rates["b"] == 0


def test_a_field_is_asked_at_every_prefix_that_is_open() -> None:
    seconds = masks.time_prefixes(ForbiddenTokens([1]), [[2, 1, 0], [2, 2]], 3, (0,))
    # Three prefixes before the stop token, and three of the answer that has not ended.
    assert seconds.shape == (6,) and (seconds > 0).all()


def test_smc_is_timed_where_it_resamples() -> None:
    line = decode.population_line(MarkovModel.random(0, 8), length=24, repeats=1)
    assert line.unit == "token/s" and line.ours > 0 and line.theirs is not None
    assert float(line.name.split()[-2]) > 0


def test_what_is_not_installed_is_left_out_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    def part() -> Any:
        yield upper_limit_line("first", 1.0, limit=2.0, unit="s")
        raise MissingExtra("the second line", "bench")

    lines: list[BenchmarkLine] = list(decode.skip_missing_extras(part))
    assert [line.name for line in lines] == ["first"]
    assert install_command("bench") in capsys.readouterr().err
