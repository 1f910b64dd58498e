"""Rules with an energy: fields of a run, their work on the record, and what they cost on texts."""

import asyncio
import json
import math

import numpy as np
import pytest

from heatbath.engine import LocalEngine, Request, TokensGenerated, generate
from heatbath.engine.local import EngineConfig
from heatbath.errors import BadInput
from heatbath.estimate.proportion import clustered_interval, error_interval, mean_interval, ratio_estimate
from heatbath.models import MarkovModel, Vocabulary
from heatbath.policy.corpus import CorpusText, read_corpus
from heatbath.policy.energy_cost import measure_cost

ENERGIES = np.random.default_rng(1).normal(size=(6, 6))
SYMBOLS = [b"a", b"b", b"c", b" a", b"A", b"!"]
RULES = """
- {id: no-ab, effect: forbid, match: {phrases: [aB]}}
- {id: less-a, effect: {energy: 0.75}, match: {tokens: [a, 5]}}
- {id: more-bc, effect: {energy: -1}, match: {phrases: [bc]}}
- {id: no-cc, effect: forbid, match: {regex: 'c{2}'}}
- {id: judge, effect: deny, match: {phrases: x}}
"""


@pytest.fixture
def model():
    chain = MarkovModel(ENERGIES, symbols=SYMBOLS)
    chain.vocabulary = Vocabulary(6)
    return chain


def free_energies(energies, rules):
    """The free energy before and after each field, from the definition."""
    total, found = np.array(energies, float), []
    for added in rules:
        before = -np.logaddexp.reduce(-total)
        total = total + added
        found.append(-np.logaddexp.reduce(-total) - before)
    return found


def added_energies(text):
    """The energies of the rules for each next token after a text, from their words."""
    ends = [(text + symbol.decode()).lower() for symbol in SYMBOLS]
    new = [len(symbol) for symbol in SYMBOLS]

    def completes(phrase, at):
        return phrase in ends[at][max(0, len(ends[at]) - new[at] - len(phrase) + 1) :]

    return [
        np.array([math.inf if completes("ab", v) else 0.0 for v in range(6)]),
        np.array([0.75 if SYMBOLS[v] in (b"a", b" a", b"A", b"!") else 0.0 for v in range(6)]),
        np.array([-1.0 if completes("bc", v) else 0.0 for v in range(6)]),
        np.array([math.inf if completes("cc", v) else 0.0 for v in range(6)]),
    ]


def test_the_work_of_each_rule_is_on_the_record(model, write_policy):
    policy = write_policy(RULES)
    assert all(json.loads(json.dumps(spec.value)) == spec.value for spec in policy.fields)
    out = generate(model, [[0]], n=8, max_tokens=6, fields=list(policy.fields), seed=2)
    names = ["no-ab", "less-a", "more-bc", "no-cc"]
    for trace, tokens in zip(out.traces, out.sequences, strict=True):
        text = ""
        for step, token in enumerate(tokens):
            energies = ENERGIES[0 if step == 0 else tokens[step - 1]]
            expected = free_energies(energies, added_energies(text))
            assert [trace.record[f"work/{name}"][step] for name in names] == pytest.approx(expected, abs=1e-5)
            text += SYMBOLS[token].decode()
        assert "ab" not in text.lower() and "cc" not in text


def test_requests_share_the_fields_of_a_policy(model, write_policy):
    policy = write_policy(RULES)

    async def run():
        engine = LocalEngine(model, config=EngineConfig(warm_up=False))
        await engine.start()
        requests = [
            Request((0,), f"r{i}", max_tokens=5, fields=policy.fields, seed=i, record="state") for i in range(6)
        ]

        async def collect(request):
            events = [event async for event in engine.submit(request)]
            return [token for event in events if isinstance(event, TokensGenerated) for token in event.tokens]

        found = await asyncio.gather(*map(collect, requests))
        await engine.drain(1)
        return found

    for seed, tokens in enumerate(asyncio.run(run())):
        alone = generate(model, [[0]], max_tokens=5, fields=list(policy.fields), seed=seed)
        assert [token.id for token in tokens] == alone.sequences[0]
        assert [token.record["work/no-ab"] for token in tokens] == pytest.approx(
            alone.traces[0].record["work/no-ab"].tolist()
        )


def test_a_policy_of_many_phrases_is_within_the_limits_of_a_request(model, write_policy):
    phrases = ", ".join(f"phrase number {i}" for i in range(10_000))
    rules = "".join(f"- {{id: r{i}, effect: forbid, match: {{phrases: [b{i}]}}}}\n" for i in range(99))
    policy = write_policy(f"{rules}- {{id: many, effect: forbid, match: {{phrases: [{phrases}]}}}}\n")

    async def run():
        engine = LocalEngine(model, config=EngineConfig(warm_up=False))
        await engine.start()
        request = Request((0,), "r", max_tokens=3, fields=policy.fields, seed=0)
        return [event async for event in engine.submit(request)]

    assert asyncio.run(run())


def test_the_cost_is_that_of_the_definition(model, write_policy):
    policy = write_policy(RULES)
    texts = [CorpusText("bbcac", "one"), CorpusText("aAb!", "one"), CorpusText("c abc", "two")]
    found = measure_cost(policy, model, texts)
    work, mass, count = [], [], 0
    for each in texts:
        tokens = model.encode(each.text)
        for at in range(1, len(tokens)):
            energies = ENERGIES[tokens[at - 1]]
            added = added_energies("".join(SYMBOLS[t].decode() for t in tokens[:at]))
            work.append(free_energies(energies, added))
            p = np.exp(-energies - np.logaddexp.reduce(-energies))
            mass.append(p[np.isinf(sum(added))].sum())
            count += 1
    assert found.tokens == count and found.documents == 2
    assert [each.work.value for each in found.rules.values()] == pytest.approx(np.mean(work, 0), abs=1e-6)
    assert found.total.work.value == pytest.approx(np.sum(work) / count, abs=1e-6)
    assert found.total.forbidden_mass.value == pytest.approx(np.mean(mass), abs=1e-6)
    assert found.rules["less-a"].forbidden_mass.value == 0
    with pytest.raises(BadInput, match="no rule of the policy has an energy"):
        measure_cost(write_policy("- {id: a, effect: deny, match: {phrases: x}}\n"), model, texts)


def test_a_token_that_the_model_does_not_have(model, write_policy):
    policy = write_policy("- {id: a, effect: {energy: 1}, match: {tokens: [abc]}}\n")
    with pytest.raises(BadInput, match="'abc' is no token of"):
        generate(model, [[0]], fields=list(policy.fields))


def test_the_interval_of_clusters_covers_the_share():
    rng, misses, naive = np.random.default_rng(0), 0, 0
    for _ in range(300):
        # Texts of one document are alike: a document alarms always or never.
        hits = (rng.random(60) < 0.2) * 10.0
        low, high = clustered_interval(hits, np.full(60, 10.0))
        misses += not low <= 0.2 <= high
        plain = error_interval(np.array([hits.sum()]), np.array([600.0]))
        naive += not plain[0][0] <= 0.2 <= plain[1][0]
    # 95 % covered: more than 28 of 300 misses have a probability below 0.001; independent texts would miss far more.
    assert misses <= 28 < 90 < naive
    assert clustered_interval(np.zeros(3), np.full(3, 5.0)) == pytest.approx((0.0, 1 - 0.025 ** (1 / 15)))
    assert ratio_estimate(np.array([2.0, 2.0]), np.array([1.0, 1.0])).stderr == 0
    one = ratio_estimate(np.array([2.0]), np.array([1.0]))
    assert one.stderr == math.inf and mean_interval(one) == (-math.inf, math.inf)
    # Two equal clusters with means 1 and 3: their mean 2 has the standard error 1, and t has one degree of freedom.
    low, high = mean_interval(ratio_estimate(np.array([2.0, 6.0]), np.array([2.0, 2.0])))
    assert (low, high) == pytest.approx((2 - 12.706205, 2 + 12.706205), rel=1e-6)


def test_a_corpus(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": f"t{i}", "document": i // 2}) + "\n" for i in range(10)))
    assert [each.text for each in read_corpus(path, limit=3)] == ["t0", "t3", "t6"]
    assert [each.document for each in read_corpus(path)][:3] == ["0", "0", "1"]
    path.write_text('{"texts": "a"}\n')
    with pytest.raises(BadInput, match='line 1: expected "text"'):
        read_corpus(path)
