"""Forbidden phrases against a search through the bytes of every continuation."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from heatbath.energy import Context
from heatbath.energy.casefold import fold_case, split_incomplete_character
from heatbath.energy.phrases import ForbiddenPhrases, PhraseEnergy
from heatbath.errors import BadInput
from heatbath.testing import check_field

PIECES = [b"a", b"b", b"ab", b"ba", b"aab", b"", b"bb", b"c"]
CONTEXT = Context([[0, 1, 2, 1], [3], [], [7, 0, 0]], [2, 1, 0, 0], len(PIECES), stop_token_ids=(7,))

texts = st.text("abc", min_size=1, max_size=5)
LETTERS = ["a", "A", "é", "É", "ß", "ẞ", "s", "\u212a", "k", "ж", "Ж", "€"]
CUT = sorted(
    {letter.encode()[i:j] for letter in LETTERS for i in range(3) for j in range(i + 1, 4)} | {b"ab", b"aB\xc3"}
)


def forbidden(field, answer, pieces, stop=()):
    energies = field(Context([answer], [0], len(pieces), stop))[0]
    assert energies.dtype == np.float32 and set(energies.tolist()) <= {0.0, np.inf}
    return {token for token, energy in enumerate(energies) if energy}


def expected(phrases, answer, pieces, folded=lambda data: data):
    """Tokens within which a phrase ends, by looking everywhere."""
    before = b"".join(pieces[token] for token in answer)
    done = len(folded(split_incomplete_character(before)[0] if folded is fold_case else before))
    found = set()
    for token, piece in enumerate(pieces):
        whole = folded(split_incomplete_character(before + piece)[0] if folded is fold_case else before + piece)
        ends = range(done + 1, len(whole) + 1)
        if any(whole[:end].endswith(folded(phrase)) for end in ends for phrase in phrases):
            found.add(token)
    return found


@given(phrases=st.lists(texts, min_size=1, max_size=4), answer=st.lists(st.integers(0, 7), max_size=8))
@example(phrases=["abab", "ba"], answer=[2])
@example(phrases=["aab"], answer=[0, 0])
def test_every_way_to_cut_a_phrase_is_met(phrases, answer):
    field = ForbiddenPhrases(phrases, PIECES.__getitem__, len(PIECES))
    encoded = [phrase.encode() for phrase in phrases]
    for length in range(len(answer) + 1):
        assert forbidden(field, answer[:length], PIECES) == expected(encoded, answer[:length], PIECES)


@given(
    phrases=st.lists(st.text("".join(LETTERS), min_size=1, max_size=3), min_size=1, max_size=3),
    answer=st.lists(st.integers(0, len(CUT) - 1), max_size=7),
)
@example(phrases=["É"], answer=[CUT.index(b"\xc3")])
@example(phrases=["aé"], answer=[CUT.index(b"aB\xc3"), CUT.index(b"a"), CUT.index(b"\xc3")])
def test_case_is_ignored_also_in_characters_that_are_cut(phrases, answer):
    field = ForbiddenPhrases(phrases, CUT.__getitem__, len(CUT), ignore_case=True)
    encoded = [phrase.encode() for phrase in phrases]
    assert forbidden(field, answer, CUT) == expected(encoded, answer, CUT, fold_case)


@given(
    phrases=st.lists(st.sampled_from([piece for piece in CUT if piece]), min_size=1, max_size=3),
    answer=st.lists(st.integers(0, 20), max_size=5),
)
def test_phrases_may_be_bytes_that_are_no_text(phrases, answer):
    field = ForbiddenPhrases(phrases, CUT.__getitem__, len(CUT))
    assert forbidden(field, answer, CUT) == expected(phrases, answer, CUT)


def test_folding_is_simple_folding():
    assert fold_case("ÀÉK\u212aſẞ".encode()) == "àékksß".encode()
    assert fold_case("İŒ".encode()) != fold_case("iœ".encode()), "a letter that folds to two stays by itself"
    assert fold_case(b"\xff\xc3A\xc3\x89") == b"\xff\xc3a\xc3\xa9"
    assert split_incomplete_character("é".encode()[:1]) == (b"", b"\xc3") and split_incomplete_character(
        b"a\xe2\x82"
    ) == (b"a", b"\xe2\x82")
    assert split_incomplete_character("aé".encode()) == ("aé".encode(), b"") and split_incomplete_character(
        b"\x82\x82"
    ) == (b"\x82\x82", b"")


def test_what_the_prompt_holds_does_not_matter_and_a_stop_token_adds_no_text():
    field = ForbiddenPhrases(["ab", "c"], PIECES.__getitem__, len(PIECES))
    assert field(Context([[0]], [1], 8))[0, 1] == 0 and field(Context([[0]], [0], 8))[0, 1] == np.inf
    assert field(CONTEXT)[:, 7].tolist() == [0, 0, 0, 0]
    assert forbidden(field, [], PIECES, stop=(7,)) == {2, 4}


def test_many_states_are_forgotten_and_found_again(monkeypatch):
    monkeypatch.setattr("heatbath.energy.phrases._MAX_CACHED_TOKENS", 2)
    field = ForbiddenPhrases(["aab", "bab"], PIECES.__getitem__, len(PIECES))
    for answer in ([0], [1], [0, 0], [0], [1, 0], [0]):
        assert forbidden(field, answer, PIECES) == expected([b"aab", b"bab"], answer, PIECES)


@pytest.mark.parametrize("ignore_case", [False, True])
def test_contract(ignore_case):
    check_field(ForbiddenPhrases(["AB", "b", "caa"], PIECES.__getitem__, len(PIECES), ignore_case=ignore_case), CONTEXT)


@given(phrases=st.lists(texts, min_size=1, max_size=4), answer=st.lists(st.integers(0, 7), max_size=8))
def test_an_energy_is_on_the_tokens_that_would_be_forbidden(phrases, answer):
    context = Context([answer], [0], len(PIECES))
    forbids = ForbiddenPhrases(phrases, PIECES.__getitem__, len(PIECES))(context)[0] == np.inf
    for energy in (2.5, -1.0):
        field = PhraseEnergy(phrases, PIECES.__getitem__, len(PIECES), energy=energy)
        assert field(context)[0].tolist() == np.where(forbids, energy, 0).tolist()


@pytest.mark.parametrize("energy", [np.nan, -np.inf])
def test_an_energy_that_is_none(energy):
    with pytest.raises(BadInput, match="must be finite, or inf to forbid"):
        PhraseEnergy(["a"], PIECES.__getitem__, len(PIECES), energy=energy)


@pytest.mark.parametrize(
    ("phrases", "options", "said"),
    [
        ([], {}, "needs at least one phrase, got none"),
        ([""], {}, "must be non-empty text or bytes, got ''"),
        ("ab", {}, "takes a list of phrases"),
        ([3], {}, "must be non-empty text or bytes, got 3"),
        ([b"\xff"], {"ignore_case": True}, "it is not valid UTF-8"),
    ],
)
def test_bad_phrases(phrases, options, said):
    with pytest.raises(BadInput, match=said):
        ForbiddenPhrases(phrases, PIECES.__getitem__, len(PIECES), **options)


def test_another_vocabulary_names_the_field():
    with pytest.raises(BadInput, match="'forbid_phrases' was built for a vocabulary of 8 tokens, got 4"):
        ForbiddenPhrases(["a"], PIECES.__getitem__, 8)(Context([[0]], [0], 4))
    with pytest.raises(BadInput, match="stop token 9"):
        ForbiddenPhrases(["a"], PIECES.__getitem__, 8)(Context([[0]], [0], 8, stop_token_ids=(9,)))
