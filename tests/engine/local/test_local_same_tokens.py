"""The engine draws what `generate` draws, whatever else is in the batch."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import numpy as np
import pytest
from asking import answers, asked, idle, running
from scipy import stats

from heatbath.decode import RowRandom
from heatbath.engine import SAMPLERS, generate
from heatbath.engine.base import ComponentSpec, Request
from heatbath.engine.registry import FIELDS, SCHEDULES, WINDOWS, BuildContext, build
from heatbath.models import MarkovModel, TableModel, Vocabulary

RNG = np.random.default_rng(5)
CHAIN = MarkovModel(RNG.normal(size=(6, 6)))
CHAIN.vocabulary = Vocabulary(6, stop_token_ids=(5,))


def steered(request: Request) -> dict[str, Any]:
    """The settings of `generate` for a request."""
    setting = BuildContext(CHAIN, request.max_tokens)
    return {
        "temperature": request.temperature
        if request.schedule is None
        else build(SCHEDULES, (request.schedule.name, request.schedule.value), setting),
        "window": [build(WINDOWS, (each.name, each.value), setting) for each in request.windows],
        "fields": [build(FIELDS, (each.name, each.value), setting) for each in request.fields],
        "max_tokens": request.max_tokens,
        "seed": request.seed,
        "sampler": request.sampler,
        "ignore_eos": request.ignore_eos,
        **request.options,
    }


def expected(request: Request) -> list[list[int]]:
    return generate(CHAIN, list(request.prompt), n=request.n, **steered(request)).sequences


def various(count: int, seed: int) -> list[Request]:
    """Requests of every kind that draws token by token."""
    dice = random.Random(seed)
    windows = [
        (),
        (ComponentSpec("top_p", 0.8),),
        (ComponentSpec("top_k", 3),),
        (ComponentSpec("min_p", 0.1), ComponentSpec("top_k", 4)),
    ]
    windows += [(ComponentSpec("exclude_top_choices", {"threshold": 0.1, "probability": 0.5}),)]
    fields = [
        (),
        (),
        (),
        (ComponentSpec("bias", {"1": 1.5}),),
        (ComponentSpec("repetition", 1.3), ComponentSpec("forbid_tokens", [2])),
    ]
    fields += [(ComponentSpec("gumbel_noise", 1.0),), (ComponentSpec("min_length", 3),)]
    schedules = [None, None, None, ComponentSpec("linear", {"start": 2.0, "end": 0.2}), ComponentSpec("mirostat", 1.0)]
    out = []
    for number in range(count):
        greedy = dice.random() < 0.15
        out.append(
            Request(
                prompt=tuple(dice.randrange(5) for _ in range(dice.randint(1, 4))),
                id=str(number),
                n=dice.randint(1, 4),
                max_tokens=dice.randint(1, 50),
                temperature=dice.choice([0.0, 0.5, 1.0, 1.7]),
                schedule=None if greedy else dice.choice(schedules),
                windows=() if greedy else dice.choice(windows),
                fields=dice.choice(fields),
                sampler="greedy" if greedy else "ancestral",
                seed=dice.randrange(1000),
                record=dice.choice([None, "state", "full"]),
                top_logprobs=dice.choice([0, 0, 2]),
                ignore_eos=dice.random() < 0.5,
                tenant=dice.choice("abc"),
            )
        )
    return out


COMPANY = various(3, 2)


@pytest.mark.parametrize("seed", range(2))
def test_a_request_alone_gives_the_tokens_of_generate(seed: int) -> None:
    for request in various(6, seed):
        (answered,) = answers(CHAIN, [request])
        assert answered.sequences == expected(request), request
        assert answered.began.seed == request.seed
        assert answered.ended.deterministic


def test_a_request_gives_the_same_tokens_among_others_that_come_and_go() -> None:
    requests = various(24, 7)

    async def ask() -> list[Any]:
        dice = random.Random(1)
        async with running(CHAIN) as engine:

            async def later(request: Request) -> Any:
                await asyncio.sleep(dice.random() * 0.1)
                return await asked(engine, request)

            found = await asyncio.gather(*map(later, requests))
            await idle(engine)
            return list(found)

    for request, answered in zip(requests, asyncio.run(ask()), strict=True):
        assert answered.sequences == expected(request), request


def test_another_seed_gives_other_tokens() -> None:
    one, other = answers(CHAIN, [Request((0,), str(seed), max_tokens=40, seed=seed) for seed in (1, 2)])
    assert one.ids() != other.ids()


def test_without_a_seed_each_request_draws_its_own_and_says_which() -> None:
    one, other = answers(CHAIN, [Request((0,), str(i), max_tokens=30, ignore_eos=True) for i in range(2)])
    assert one.began.seed != other.began.seed and one.ids() != other.ids()
    again = generate(CHAIN, [0], max_tokens=30, seed=one.began.seed, ignore_eos=True)
    assert again.sequences == [one.ids()]


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "langevin"])
def test_every_sampler_gives_what_generate_gives(name: str) -> None:
    options = {"smc": {"particles": 4}, "power": {"particles": 4}, "anneal": {"particles": 8}}.get(name, {})
    request = Request((1, 2), "x", max_tokens=6, seed=3, sampler=name, options=options, temperature=0.8)
    whole = generate(CHAIN, [1, 2], **steered(request))
    answered, *others = answers(CHAIN, [request, *COMPANY])
    assert answered.sequences == whole.sequences
    assert answered.ended.best_index == whole.best_index
    assert answered.ended.log_weights == pytest.approx(whole.weighted_samples.log_weight.tolist())
    log_z = whole.reliable_log_z
    assert answered.ended.log_z == (None if log_z is None else pytest.approx(log_z.value))
    assert answered.ended.unreliable_reason == whole.unreliable_reason
    assert answered.ended.tokens_spent == whole.tokens_spent
    assert answered.ended.diagnostics == pytest.approx(dict(whole.diagnostics), nan_ok=True)
    assert [answered.text(choice) for choice in range(len(whole))] == whole.texts
    for request, answered in zip(COMPANY, others, strict=True):
        assert answered.sequences == expected(request)


def test_two_populations_at_once_do_not_disturb_one_another() -> None:
    requests = [
        Request((1,), str(i), max_tokens=8, seed=i, sampler="smc", options={"particles": 4}, temperature=0.6)
        for i in range(6)
    ]
    for request, answered in zip(requests, answers(CHAIN, requests), strict=True):
        assert answered.sequences == expected(request)


def test_frequencies_follow_the_law_of_the_model() -> None:
    """40 requests of 50 answers of 3 tokens; chi-square at 1e-4. Control: the law at another temperature fails."""
    model = TableModel(lambda prefix: [0.0, 0.7, 1.1 * len(prefix)], length=3)
    requests = [Request((), str(i), n=50, max_tokens=3, temperature=0.8) for i in range(40)]
    seen = np.zeros(27)
    for answered in answers(model, requests):
        for tokens in answered.sequences:
            seen[np.dot(tokens, [9, 3, 1])] += 1

    def p_value(temperature: float) -> float:
        law = np.exp(model.logprobs(1 / temperature))
        return float(stats.chisquare(seen, law * seen.sum() / law.sum()).pvalue)

    assert p_value(0.8) > 1e-4
    assert p_value(1.3) < 1e-4


def test_a_stream_is_the_same_in_any_company_and_can_go_back() -> None:
    rng, alone = RowRandom(), RowRandom(9, [2])
    rng.join([(9, 0), (9, 1)])
    for _ in range(50):
        rng.uniform()
    rng.join([(9, 2)])
    rng.keep_rows(np.array([1, 2]))
    mine = []
    for step in range(200):
        if step % 67 == 66:
            mark = rng.mark()
            for _ in range(70):
                rng.uniform()
            rng.rewind(mark)
        mine.append(rng.uniform()[1])
    assert mine == [alone.uniform()[0] for _ in range(200)]
