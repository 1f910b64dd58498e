"""The keyword arguments of `hb.generate`: the names of the command line and HTTP, stop texts, and wrong types."""

from __future__ import annotations

import math
from typing import Any, get_type_hints

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from heatbath.decode import Ancestral, windows
from heatbath.decode.schedules import linear
from heatbath.energy import PresencePenalty, RepetitionPenalty
from heatbath.energy.potentials import Length
from heatbath.engine import SAMPLERS, WINDOWS, GenerationOptions, GenerationSettings, Run, generate
from heatbath.engine.generation_options import OTHER_NAMES, SETTINGS_NAMES
from heatbath.errors import BadInput, HeatbathError
from heatbath.models import MarkovModel, Vocabulary

LETTERS = [b"a", b"b", b"c", b"\xc3", b"\xa9", b"<end>"]
RNG = np.random.default_rng(3)
TABLE = RNG.normal(0.0, 1.0, (6, 6)) + np.array([0, 0, 0, 0, 0, 2])
MODEL = MarkovModel(TABLE, symbols=LETTERS)
MODEL.vocabulary = Vocabulary(6, stop_token_ids=(5,))


def test_the_types_list_every_argument() -> None:
    names = set(get_type_hints(GenerationOptions))
    windows_by_name = {name for spec in WINDOWS.values() for name in (spec.name, *spec.aliases)}
    options = {option for spec in SAMPLERS.values() for option in spec.options} - {"n"}
    assert names == SETTINGS_NAMES | {"schedule"} | windows_by_name | options
    assert not set(OTHER_NAMES) & names and not windows_by_name & options


@pytest.mark.parametrize(
    ("named", "built"),
    [
        ({"top_p": 0.8}, [windows.top_p(0.8)]),
        ({"top_k": 3, "min_p": None}, [windows.top_k(3)]),
        ({"min_p": 0.1, "top_k": 4}, [windows.top_k(4), windows.min_p(0.1)]),
        ({"typical_p": 0.7}, [windows.typical(0.7)]),
        ({"typical": 0.7}, [windows.typical(0.7)]),
        ({"eta_cutoff": 0.1, "epsilon": 0.05}, [windows.epsilon(0.05), windows.eta(0.1)]),
        ({"p_less": True, "p_less_norm": False}, [windows.p_less()]),
        ({"window": "top_p=0.8"}, [windows.top_p(0.8)]),
        ({"window": [windows.top_k(4), "top_p=0.8"], "min_p": 0.01}, None),
        ({"window": {"top_p": 0.8}}, [windows.top_p(0.8)]),
        ({"exclude_top_choices": {"threshold": 0.2, "probability": 0.5}}, [windows.exclude_top_choices(0.2, 0.5)]),
    ],
)
def test_windows_by_name(named: dict[str, Any], built: list[Any] | None) -> None:
    given_windows = built or [windows.top_k(4), windows.top_p(0.8), windows.min_p(0.01)]
    out = generate(MODEL, [], n=20, max_tokens=8, seed=4, **named)
    assert out.sequences == generate(MODEL, [], n=20, max_tokens=8, seed=4, window=given_windows).sequences


def test_components_as_on_the_command_line_and_over_http() -> None:
    whole = generate(
        MODEL,
        [],
        n=9,
        max_tokens=8,
        fields=[RepetitionPenalty(1.3), PresencePenalty(0.4)],
        temperature=linear(2.0, 0.5, 8),
    )
    for fields in (["repetition=1.3", "presence=0.4"], {"repetition": 1.3, "presence": 0.4}):
        for schedule in ('linear={"start": 2.0, "end": 0.5}', {"linear": {"start": 2.0, "end": 0.5}}):
            out = generate(MODEL, [], n=9, max_tokens=8, fields=fields, schedule=schedule)
            assert out.sequences == whole.sequences
    asked: dict[str, Any] = {"sampler": "smc", "particles": 4, "max_tokens": 6, "seed": 1}
    weighed = generate(MODEL, [], potentials=[Length(3, 1.0)], **asked)
    assert generate(MODEL, [], potentials="length=3", **asked).sequences == weighed.sequences
    with pytest.raises(BadInput, match="give one of them"):
        generate(MODEL, [], temperature=1.0, schedule="constant=1")


@pytest.mark.parametrize("sampler", ["ancestral", "greedy", "vote", "best-of", "smc"])
@pytest.mark.parametrize("stop", ["ab", ["ca", "bc", "é"], "\ufffd"])
def test_a_stop_ends_text_tokens_and_trace(sampler: str, stop: str | list[str]) -> None:
    """Compared with the texts of runs without a stop, cut at the first that is complete."""
    asked: dict[str, Any] = {"sampler": sampler, "max_tokens": 12, "seed": 5, "ignore_eos": True}
    asked |= {"n": 30} if sampler in ("ancestral", "vote", "best-of") else {}
    free, cut = generate(MODEL, [], **asked), generate(MODEL, [], stop=stop, **asked)
    stops = [stop] if isinstance(stop, str) else stop
    for row, text in enumerate(free.texts):
        ends = [text.index(each) + len(each) for each in stops if each in text]
        if not ends:
            assert (cut.texts[row], cut.finish_reasons[row]) == (text, free.finish_reasons[row])
            continue
        first = min(ends)
        found = max((each for each in stops if text[:first].endswith(each)), key=len)
        assert cut.texts[row] == text[: first - len(found)] and cut.finish_reasons[row] == "stop"
        tokens = cut.sequences[row]
        assert tokens == free.sequences[row][: len(tokens)]
        spoken = MODEL.decode(tokens)
        assert found in spoken or found == "\ufffd"
        assert cut.traces[row].tokens.tolist() == tokens
    assert cut.finish_reason == cut.finish_reasons[cut.best_index] and cut.text == cut.texts[cut.best_index]
    if sampler == "ancestral":
        assert cut.tokens_spent == sum(map(len, cut.sequences)) <= free.tokens_spent


def test_log_probabilities_at_one_and_at_the_temperature() -> None:
    asked: dict[str, Any] = {"n": 12, "max_tokens": 6, "temperature": 0.6, "seed": 2}
    for record in ("full", "nodes", "state", None):
        out = generate(MODEL, [], record=record, **asked)
        for row, tokens in enumerate(out.sequences):
            one, cold = _logprob(tokens, 1.0), _logprob(tokens, 0.6)
            known = out.samples[row]
            if record in ("full", "nodes"):
                assert known.logprob == pytest.approx(one, abs=1e-4)
            else:
                assert math.isnan(known.logprob)
            if record in ("full", "state"):
                assert known.logprob_at_temperature == pytest.approx(cold, abs=1e-6)
            else:
                assert math.isnan(known.logprob_at_temperature)
    plain = generate(MODEL, [], record="state", **{**asked, "temperature": 1.0})
    np.testing.assert_array_equal(plain.logprob, plain.logprob_at_temperature)


def _logprob(tokens: list[int], temperature: float) -> float:
    total = 0.0
    for place, token in enumerate(tokens):
        energies = TABLE[tokens[place - 1]] if place else np.zeros(6)
        weights = np.exp(-energies / temperature)
        total += math.log(weights[token] / weights.sum())
    return total


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_the_names_of_other_libraries_get_a_sentence(name: str) -> None:
    with pytest.raises(BadInput, match=f"generate has no argument '{name}': ") as caught:
        generate(MODEL, [], **{name: 1})
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"max_new_tokens": 4}, "write max_tokens="),
        ({"do_sample": True}, "temperature=0"),
        ({"num_return_sequences": 2}, "write n="),
        ({"temperature": None}, "temperature is None: give a number from 0 up"),
        ({"window": "top_p"}, "the window top_p needs a value: write top_p=0.9"),
        ({"fields": "dry"}, "the field dry needs a value: write dry=0.8"),
        ({"stop": 5}, "stop is 5: give a text or a list of texts; token ids go into stop_token_ids"),
        ({"stop_token_ids": "\n"}, "texts go into stop"),
        ({"stop_token_ids": [6]}, "from 0 to 5"),
        ({"schedule": "..."}, "there is no schedule '...'"),
        ({"record": True}, 'record is True: give "full" for everything'),
        ({"record": False}, "record is False: give None for nothing"),
        ({"record": "all"}, "give 'full', 'state', 'nodes' or None"),
        ({"temprature": 1.0}, "did you mean 'temperature'"),
        ({"top_k": 2.5}, "top_k is 2.5: give a whole number"),
        ({"top_p": 7.0}, "`top_p` must be in (0, 1], got 7.0"),
        ({"sampler": "smc", "particles": "many"}, "`particles` must be an integer, got 'many'"),
        ({"sampler": "best-of", "by": "length"}, "give 'logprob' or 'mean_logprob'"),
        ({"sampler": "smc", "proposal": 5}, "proposal is 5"),
        ({"options": {"alpha": 2}}, "no argument 'options'"),
    ],
)
def test_what_is_wrong_gets_one_sentence(asked: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput) as caught:
        generate(MODEL, [], **asked)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("prompt", [None, 5, 5.5, b"a", {"a": 1}, [1.5], [None], [True], [[0], None], object(), [9]])
def test_a_prompt_of_another_type_gets_one_sentence(prompt: Any) -> None:
    with pytest.raises(BadInput, match="prompt|token id"):
        generate(MODEL, prompt, max_tokens=2)


def test_a_model_by_name_gets_one_sentence() -> None:
    with pytest.raises(BadInput, match="heatbath.load"):
        generate("smollm2-135m", "a")  # type: ignore[arg-type]


WRONG = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(),
    st.text(max_size=3),
    st.binary(max_size=2),
    st.lists(st.one_of(st.none(), st.integers(-2, 8), st.floats(), st.text(max_size=2)), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.sampled_from([object(), int, len, 1j, np.nan, np.ones(2), np.ones((2, 2)), {1}, MODEL, Ancestral()]),
)
KEYWORDS = [*sorted(get_type_hints(GenerationOptions)), "n", "on_step", "observers"]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(name=st.sampled_from(KEYWORDS), value=WRONG, data=st.data())
def test_no_value_of_an_argument_ends_in_an_error_from_the_inside(name: str, value: Any, data: st.DataObject) -> None:
    taking = [sampler for sampler, spec in SAMPLERS.items() if name in spec.options] or ["ancestral"]
    asked: dict[str, Any] = {"max_tokens": 2, "sampler": data.draw(st.sampled_from(taking)), name: value}
    if name in ("on_step", "key") and callable(value):
        return  # its errors are the caller's own
    try:
        generate(MODEL, [0], **asked)
    except HeatbathError as error:
        assert str(error) and "\n" not in str(error)


@settings(max_examples=60, deadline=None)
@example(name="window", value=np.ones(2))
@example(name="edges", value={"melt": 1 << 64})
@example(name="edges", value={"melt": 10**400})
@given(name=st.sampled_from(sorted(SETTINGS_NAMES - {"sampler"})), value=WRONG)
def test_settings_of_a_run_are_checked_too(name: str, value: Any) -> None:
    try:
        asked = GenerationSettings(**{"max_tokens": 2, name: value})
        for _ in Run(MODEL, [[0]], asked):
            pass
    except HeatbathError as error:
        assert str(error)


def test_stop_tokens_are_added_to_those_of_the_model_unless_it_is_told_to_ignore_them() -> None:
    asked: dict[str, Any] = {"n": 60, "max_tokens": 12, "seed": 8}
    last = {
        name: {row[-1] for row, reason in zip(out.sequences, out.finish_reasons, strict=True) if reason == "stop"}
        for name, out in {
            "own": generate(MODEL, [], **asked),
            "both": generate(MODEL, [], stop_token_ids=[1, 1], **asked),
            "given": generate(MODEL, [], stop_token_ids=[1], ignore_eos=True, **asked),
            "none": generate(MODEL, [], ignore_eos=True, **asked),
        }.items()
    }
    assert last == {"own": {5}, "both": {1, 5}, "given": {1}, "none": set()}
    with pytest.raises(BadInput, match="ignore_eos is 1: give True or False"):
        generate(MODEL, [], ignore_eos=1, max_tokens=2)  # type: ignore[arg-type]


def test_a_message_with_the_words_of_another_library_is_on_one_line() -> None:
    message = "`x` cannot be read (first line\n   ^ here\r\n\n last line): write  it again."
    assert str(BadInput(message)) == "`x` cannot be read (first line ^ here last line): write  it again."
    with pytest.raises(BadInput, match="unexpected keyword argument"):
        generate(MODEL, [], epsilon={"\n": 0})  # type: ignore[typeddict-item]
