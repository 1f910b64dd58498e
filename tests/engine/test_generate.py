"""Generating: rows that do not depend on their batch, early stops, padding, and traces that agree with the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from heatbath.decode import Ancestral, top_k
from heatbath.energy import LogitBias
from heatbath.engine import GenerationSettings, Run, generate, measure
from heatbath.errors import BadInput, NotANumber
from heatbath.models import MarkovModel, TableModel, UrnModel
from heatbath.record import Frame, Observer

RNG = np.random.default_rng(5)
CHAIN = MarkovModel(RNG.normal(size=(4, 4)))


def stopping(stop: tuple[int, ...] = (0,)) -> TableModel:
    return TableModel(lambda prefix: [0.5 * len(prefix), 0.0, 1.0], length=6, stop_token_ids=stop)


def test_a_row_does_not_depend_on_its_batch() -> None:
    temperatures = np.linspace(0.3, 2.0, 32)
    batch = generate(CHAIN, [[]] * 32, temperature=temperatures, max_tokens=20, seed=7)
    for row in (0, 13, 31):
        alone = generate(CHAIN, [[]], temperature=temperatures[row], max_tokens=20, seed=7, first_row=row)
        assert alone.sequences == [batch.sequences[row]]
        np.testing.assert_array_equal(alone.arrays.energies[0], batch.arrays.energies[row])
    assert batch.sequences != generate(CHAIN, [[]] * 32, temperature=temperatures, max_tokens=20, seed=8).sequences


def test_rows_keep_their_stream_when_others_leave() -> None:
    batch = generate(stopping(), [[]] * 40, max_tokens=6, seed=1)
    assert len({len(row) for row in batch.sequences}) > 2
    for row in range(40):
        assert generate(stopping(), [[]], max_tokens=6, seed=1, first_row=row).sequences == [batch.sequences[row]]


def test_what_ended_says_why_and_is_padding_after() -> None:
    run = generate(stopping(), [], n=200, max_tokens=5)
    for row, finish in zip(run.sequences, run.finish_reasons, strict=True):
        assert finish == ("stop" if row[-1] == 0 else "length")
        assert 0 not in row[:-1]
        assert len(row) == 5 or finish == "stop"
    assert {"stop", "length"} == set(run.finish_reasons)
    padding = ~run.arrays.mask
    assert padding.any() and not run.arrays.tokens[padding].any() and not run.arrays.energies[padding].any()
    assert run.arrays.mask.sum() == run.arrays.lengths.sum() == sum(map(len, run.sequences))


def test_text_leaves_out_the_stop_token() -> None:
    run = generate(stopping(), [], n=20, max_tokens=5)
    for row in range(20):
        text = run.traces[row].text
        assert run.texts[row] == (text[:-1] if run.finish_reasons[row] == "stop" else text)


def test_traces_are_what_measuring_gives() -> None:
    prompt = [1, 2, 3]
    run = generate(CHAIN, prompt, n=3, temperature=0.7, max_tokens=9)
    for row, trace in enumerate(run.traces):
        whole = measure(CHAIN, prompt + run.sequences[row], temperature=0.7)
        assert trace.positions.tolist() == list(range(3, 12))
        assert trace.sequence == row
        for name in whole.record:
            np.testing.assert_allclose(trace.record[name], whole.record[name][3:], rtol=1e-6, atol=1e-9)


def test_nodes_alone_are_those_of_the_full_record() -> None:
    full = generate(CHAIN, [], n=4, max_tokens=6)
    nodes = generate(CHAIN, [], n=4, max_tokens=6, record="nodes")
    np.testing.assert_allclose(nodes.arrays.energies, full.arrays.energies)
    np.testing.assert_allclose(nodes.arrays.log_z.log_z(0.7), full.arrays.log_z.log_z(0.7), atol=1e-6)
    with pytest.raises(BadInput, match="record='full'"):
        nodes.trace(0)


def test_no_record_changes_no_token() -> None:
    off = generate(CHAIN, [], n=8, max_tokens=16, record=None)
    assert off.sequences == generate(CHAIN, [], n=8, max_tokens=16).sequences
    for ask in (lambda: off.traces, lambda: off.arrays.energies, lambda: off.arrays.log_z):
        with pytest.raises(BadInput, match="record='full'"):
            ask()


def test_frequencies_follow_the_law_of_the_model() -> None:
    """2000 chains of 3 tokens; chi-square at 1e-4, so one false alarm in 10,000 seeds. Control: the wrong T fails."""
    model = TableModel(lambda prefix: [0.0, 0.7, 1.1 * len(prefix)], length=3)
    run = generate(model, [], n=2000, temperature=0.8, max_tokens=3)
    seen = np.bincount(run.arrays.tokens @ np.array([9, 3, 1]), minlength=27)

    def p_value(temperature: float) -> float:
        law = np.exp(model.logprobs(1 / temperature))
        return float(stats.chisquare(seen, law * seen.sum() / law.sum()).pvalue)

    assert p_value(0.8) > 1e-4
    assert p_value(1.2) < 1e-4


def test_windows_and_fields_leave_their_mark() -> None:
    run = generate(CHAIN, [], n=50, max_tokens=4, window=top_k(2), fields=[LogitBias({0: 1.0}, name="more")])
    record = run.arrays.record
    assert record is not None and {"kept_mass", "drawn_logprob", "work/more"} <= set(record)
    later = record["kept_mass"][:, 1:]
    assert ((later > 0) & (later < 1)).all()
    rows = list(run.traces[0].to_rows())
    assert {"kept_mass", "drawn_logprob", "work/more"} <= set(rows[0])
    assert run.traces[0].to_table().column("work/more").null_count == 0


def test_a_window_moves_the_logprob_by_the_mass_it_keeps() -> None:
    record = generate(CHAIN, [], n=20, max_tokens=4, window=top_k(2), temperature=0.6).arrays.record
    assert record is not None
    np.testing.assert_allclose(record["drawn_logprob"], record["logprob"] - np.log(record["kept_mass"]), atol=1e-9)


def test_temperature_zero_and_greedy() -> None:
    cold = generate(CHAIN, [2], temperature=0.0, max_tokens=8)
    assert cold.sequences == generate(CHAIN, [2], sampler="greedy", max_tokens=8).sequences
    assert (cold.arrays.record or {})["rank"].tolist() == [[1.0] * 8]
    assert (cold.traces[0].temperature == 0).all()


def test_a_sampler_of_your_own_brings_its_settings() -> None:
    theirs = generate(CHAIN, [], n=3, sampler=Ancestral(0.5), max_tokens=5)
    assert theirs.sequences == generate(CHAIN, [], n=3, temperature=0.5, max_tokens=5).sequences
    assert (theirs.arrays.betas == 2.0).all()


def test_observers_and_callback_see_every_frame() -> None:
    class Count(Observer):
        seen = 0

        def update(self, frame: Frame) -> None:
            assert frame.record is not None and frame.record.shape == frame.rows.shape
            self.seen += len(frame.rows)

    count, steps = Count(), []
    run = generate(stopping(), [], n=30, max_tokens=5, observers=[count], on_step=lambda f: steps.append(f.index))
    assert count.seen == run.arrays.lengths.sum()
    assert steps == list(range(run.arrays.tokens.shape[1]))


def test_a_run_stopped_halfway_keeps_what_is_there() -> None:
    run = Run(CHAIN, [[]] * 3, GenerationSettings(max_tokens=50))
    for frame in run:
        if frame.index == 9:
            break
    result = run.result()
    assert result.arrays.tokens.shape == (3, 10)
    assert result.finish_reasons == ("interrupted",) * 3
    assert result.sequences == [row[:10] for row in generate(CHAIN, [], n=3, max_tokens=50).sequences]


def test_prompts_may_be_text_tokens_or_several() -> None:
    urn = UrnModel(1.0)
    text, tokens = generate(urn, "+-+", n=2, max_tokens=3), generate(urn, [1, 0, 1], n=2, max_tokens=3)
    assert text.sequences == tokens.sequences and text.prompts == ([1, 0, 1], [1, 0, 1])
    both = generate(urn, ["+-+", [0]], n=2, max_tokens=3)
    assert both.prompts == ([1, 0, 1], [1, 0, 1], [0], [0])


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"temperature": -0.1}, "-0.1"),
        ({"temperature": float("nan")}, "nan"),
        ({"temperature": [1.0, 2.0]}, r"shape \(2,\)"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"n": 0}, "n is 0"),
        ({"seed": -1}, "-1"),
        ({"sampler": "magic"}, "magic"),
        ({"sampler": "greedy", "window": top_k(1)}, "window"),
        ({"record": "some"}, "some"),
    ],
)
def test_bad_settings_are_named(options: dict[str, Any], word: str) -> None:
    with pytest.raises(BadInput, match=word):
        generate(CHAIN, [1], **options)


def test_a_prompt_must_leave_room() -> None:
    model = UrnModel(1.0)
    model.context_length = 8
    assert generate(model, [0] * 6, max_tokens=3).arrays.lengths.tolist() == [3]
    with pytest.raises(BadInput, match="at most 3"):
        generate(model, [0] * 6, max_tokens=4)
    with pytest.raises(BadInput, match="longer than the context of 8"):
        generate(model, [0] * 9, max_tokens=1)


def test_nan_stops_with_the_step() -> None:
    class Broken(MarkovModel):
        def next_energies(self, state: Any) -> Any:
            energies = super().next_energies(state)
            return energies * np.nan if (state > 0).all() and len(state) > 2 else energies

    with pytest.raises(NotANumber, match="token"):
        generate(Broken(np.zeros((2, 2))), [], n=3, max_tokens=200)
