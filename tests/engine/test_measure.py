"""Measuring: strides, batches and files change nothing of what each token gets."""

from __future__ import annotations

import gc
import io
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatbath.engine import join_traces, measure, measure_stream
from heatbath.engine.chunking import build_stride, split_documents, token_stream
from heatbath.errors import BadInput, NotANumber
from heatbath.models import ExactModel, MarkovModel, UrnModel, Vocabulary
from heatbath.record import Trace

RNG = np.random.default_rng(11)
CHAIN = MarkovModel(RNG.normal(size=(4, 4)))


class Snow(ExactModel):
    """Bytes of "☃é " as tokens, each as likely as its number; a start token when `start`."""

    def __init__(self, start: bool = True, context: int | None = None) -> None:
        symbols = [b"^", b" ", b"a", b"\xe2", b"\x98", b"\x83", b"\xc3", b"\xa9"]
        super().__init__("snow", Vocabulary(8, start_token_ids=(0,) if start else ()), symbols)
        self.context_length = context

    @property
    def fingerprint(self) -> str:
        return "sha256:snow"

    def initial_state(self, rows: int) -> Any:
        return np.zeros((rows, 1), np.int64)

    def advance(self, state: Any, tokens: Any) -> Any:
        return tokens[:, None]

    def next_energies(self, state: Any) -> Any:
        return -np.arange(8.0) * (1 + state) / 8


class Broken(Snow):
    """NaN after token 2."""

    def next_energies(self, state: Any) -> Any:
        return np.where(state == 2, np.nan, super().next_energies(state))


def same(one: Trace, other: Trace) -> None:
    assert one.tokens.tolist() == other.tokens.tolist()
    assert one.positions.tolist() == other.positions.tolist()
    assert one.text == other.text
    for name in one.record:
        np.testing.assert_allclose(one.record[name], other.record[name], rtol=1e-6, atol=1e-9, equal_nan=True)


def test_chain_rule() -> None:
    tokens = RNG.integers(0, 4, 50)
    trace = measure(CHAIN, tokens)
    law = np.concatenate([window.energies for window in CHAIN.score([tokens.tolist()])])
    expected = -law[np.arange(49), tokens[1:]] - np.log(np.exp(-law).sum(-1))
    np.testing.assert_allclose(trace.record["logprob"][1:], expected, atol=1e-12)


@given(st.integers(1, 120), st.integers(8, 40))
def test_strides_of_a_chain_change_nothing(n: int, context: int) -> None:
    tokens = np.random.default_rng(n).integers(0, 4, n).tolist()
    same(measure(CHAIN, tokens, context=context), measure(CHAIN, tokens))


def test_strides_forget_what_is_out_of_reach() -> None:
    tokens = "+" * 20 + "-" * 20
    near, far = measure(UrnModel(1.0), tokens, context=8), measure(UrnModel(1.0), tokens)
    assert near.record["logprob"][-1] > far.record["logprob"][-1] + 0.5


@given(st.lists(st.integers(0, 60), min_size=1, max_size=8), st.integers(8, 40))
def test_documents_together_are_as_one_by_one(lengths: list[int], context: int) -> None:
    documents = [RNG.integers(0, 4, n).tolist() for n in lengths]
    pieces: dict[int, list[Trace]] = {}
    for piece in measure_stream(CHAIN, documents, context=context):
        pieces.setdefault(piece.sequence, []).append(piece)
    assert list(pieces) == [i for i, tokens in enumerate(documents) if tokens]
    for i, parts in pieces.items():
        same(join_traces(parts), measure(CHAIN, documents[i], context=context))


@given(st.lists(st.integers(0, 60), min_size=1, max_size=6), st.integers(0, 5), st.integers(0, 60))
def test_a_run_goes_on_after_any_piece(lengths: list[int], sequence: int, position: int) -> None:
    documents = [RNG.integers(0, 4, n).tolist() for n in lengths]
    whole = list(measure_stream(CHAIN, documents, context=8))
    ends = [(piece.sequence, int(piece.positions[-1])) for piece in whole]
    done = max((end for end in ends if end <= (sequence, position)), default=(-1, -1))
    rest = list(measure_stream(CHAIN, documents, context=8, after=done))
    assert [(p.sequence, p.positions.tolist()) for p in rest] == [
        (p.sequence, p.positions.tolist()) for p, end in zip(whole, ends, strict=True) if end > done
    ]


@given(st.text(alphabet="☃é a", min_size=1, max_size=60), st.integers(8, 16), st.booleans())
def test_pieces_end_where_characters_do(text: str, context: int, bos: bool) -> None:
    pieces = list(measure_stream(Snow(), [text], context=context, bos=bos))
    assert "".join(piece.text for piece in pieces) == text
    assert not any("�" in piece.text for piece in pieces)
    assert np.concatenate([piece.positions for piece in pieces]).tolist() == list(range(len(text.encode())))


def test_each_stretch_keeps_half_a_context() -> None:
    model = Snow(context=16)
    cut = list(split_documents(model, ["a" * 100], build_stride(model, bos=True, context=None)))
    assert all(len(piece.tokens) <= 16 for piece in cut)
    assert all(len(piece.tokens) - piece.num_scored >= 8 for piece in cut[1:])
    assert sum(piece.num_scored for piece in cut) == 100


def test_bos_gives_the_first_token_its_record() -> None:
    with_start, without = measure(Snow(), "aa a", bos=True), measure(Snow(), "aa a")
    assert with_start.scored_mask.all() and with_start.text == without.text == "aa a"
    assert without.scored_mask.tolist() == [False, True, True, True]
    np.testing.assert_allclose(with_start.record["energy"][1:], without.record["energy"][1:])
    same(measure(Snow(), [0, 2, 2, 1, 2], bos=True), with_start)


def test_one_token_alone_has_no_numbers() -> None:
    trace = measure(CHAIN, [3])
    assert len(trace) == 1 and not trace.scored_mask.any()
    assert np.isnan(trace.logprob(0.5)).all()
    assert trace.to_table().num_rows == 1


def test_a_file_is_read_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heatbath.engine.chunking._BLOCK_CHARACTERS", 2048)
    text = " ".join("a☃é"[RNG.integers(3)] * int(RNG.integers(1, 9)) for _ in range(2_000))
    assert len(text) > 3 * 2048
    assert list(token_stream(Snow(), io.StringIO(text))) == Snow().encode(text)


class Framed(Snow):
    """Puts `first`, a space and `last` around a document."""

    def __init__(self, first: list[int], last: list[int]) -> None:
        super().__init__()
        self.first, self.last = first, last

    def encode(self, text: str, *, document_start: bool = True) -> list[int]:
        tokens = super().encode(f" {text}" if document_start and text else text)
        return [*self.first, *tokens, *self.last] if document_start else tokens


@pytest.mark.parametrize(("first", "last"), [([0], [2]), ([0], []), ([], [2, 2]), ([], [])])
def test_a_file_is_framed_once(first: list[int], last: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heatbath.engine.chunking._BLOCK_CHARACTERS", 512)
    text = " ".join("a☃é"[RNG.integers(3)] * int(RNG.integers(1, 9)) for _ in range(500))
    model = Framed(first, last)
    for document in (text, "a", "", text[:200]):
        assert list(token_stream(model, io.StringIO(document))) == model.encode(document)
    assert list(token_stream(model, text)) == model.encode(text)


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: measure(CHAIN, []), "empty"),
        (lambda: measure(CHAIN, ""), "empty"),
        (lambda: measure(CHAIN, [1, 2], temperature=-1.0), "-1"),
        (lambda: measure(CHAIN, [1, 2], temperature=float("nan")), "nan"),
        (lambda: measure(CHAIN, [1, 2], bos=True), "document start"),
        (lambda: measure(CHAIN, [1, 2], context=2), "at least 8 tokens, got 2"),
        (lambda: measure(CHAIN, [1, 99]), "99"),
    ],
)
def test_bad_input_is_named(call: Any, word: str) -> None:
    with pytest.raises(BadInput, match=word):
        call()


def test_nan_stops_with_the_position() -> None:
    with pytest.raises(NotANumber, match=r"snow .* token 1"):
        measure(Broken(), "a☃")


def peak(call: Any) -> int:
    gc.collect()
    tracemalloc.start()
    call()
    top = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return top


def drain(documents: Any) -> None:
    for _ in measure_stream(Snow(), documents, context=64):
        pass


def test_memory_does_not_grow_with_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heatbath.engine.chunking._BLOCK_CHARACTERS", 1024)
    files = [io.StringIO("aa a☃ " * n) for n in (200, 200, 1600)]
    drain(files[:1])
    peaks = [peak(lambda file=file: drain([file])) for file in files[1:]]
    assert peaks[1] < 1.3 * peaks[0]


def test_memory_does_not_grow_with_the_number_of_texts() -> None:
    drain("aa a☃" for _ in range(32))
    peaks = [peak(lambda n=n: drain("aa a☃" for _ in range(n))) for n in (32, 192)]
    assert peaks[1] < 1.3 * peaks[0]
