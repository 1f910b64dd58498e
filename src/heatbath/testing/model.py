"""The contract suite of a model, with one check per clause."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from heatbath.ensemble import state
from heatbath.models.base import Model, Tokens
from heatbath.testing.comparison import Floats, as_float64, assert_bad_input, assert_energies, assert_same

_MAX_SEQUENCES = 4096


@dataclass(frozen=True)
class _Case:
    """A model, test sequences of two tokens or more, and the tolerance of energies in nats."""

    model: Model
    sequences: list[list[int]]
    tolerance: float


def check_model(
    model: Model, sequences: Sequence[Tokens] | None = None, *, tolerance: float = 1e-6, seed: int = 0
) -> None:
    """Raise AssertionError with a sentence when `model` breaks its contract.

    `sequences` of two tokens or more are drawn with `seed` unless given. `tolerance` is in nats: arithmetic that
    depends on padding needs about 1e-4 in float32 and 0.5 in bfloat16.
    """
    case = _Case(model, [list(s) for s in sequences] if sequences else _draw_sequences(model, seed), tolerance)
    for check in CHECKS:
        check(case)


def check_shapes(case: _Case) -> None:
    """Check that energies have a row per prompt and a column per token, and are one array until the next push."""
    session = case.model.open(_prompts(case))
    energies = session.energies()
    expected = (len(case.sequences), case.model.vocabulary.size)
    assert tuple(energies.shape) == expected, f"energies have shape {tuple(energies.shape)}, not {expected}."
    assert session.energies() is energies, "energies() must give the same array until the next push or fork."


def check_numbers(case: _Case) -> None:
    """Check that there is no NaN and no -inf, and that every row has a token that is not forbidden."""
    energies = as_float64(case.model.open(_prompts(case)).energies())
    assert_energies(energies, "energies")
    empty = np.flatnonzero(np.isinf(energies).all(-1))
    assert not empty.size, f"every token is forbidden in row {empty[0] if empty.size else ''}."


def check_push(case: _Case) -> None:
    """Check that a push appends one token to every row and gives the energies of the longer prompt."""
    session = case.model.open(_prompts(case))
    before = [list(tokens) for tokens in session.tokens]
    last = [sequence[-1] for sequence in case.sequences]
    session.energies()
    session.push(last)
    after = [list(tokens) for tokens in session.tokens]
    assert after == [[*row, token] for row, token in zip(before, last, strict=True)], "push must append its tokens."
    if _has_room(case):
        reopened = as_float64(case.model.open(after).energies())
        assert_same(as_float64(session.energies()), reopened, case.tolerance, "energies after a push and of the prompt")


def check_batch(case: _Case) -> None:
    """Check that a row's energies do not depend on the other rows or their lengths."""
    together = as_float64(case.model.open(_prompts(case)).energies())
    for row, prompt in enumerate(_prompts(case)):
        alone = as_float64(case.model.open([prompt]).energies())[0]
        assert_same(together[row], alone, case.tolerance, f"energies of row {row} in a batch and alone")


def check_fork(case: _Case) -> None:
    """Check that a fork repeats, drops and reorders rows, and then gives the energies of those rows opened anew."""
    session = case.model.open([prompt[:-1] or prompt for prompt in _prompts(case)])
    session.energies()
    rows = [len(case.sequences) - 1, 0, 0]
    session.fork(rows)
    expected_rows = case.model.open([prompt[:-1] or prompt for prompt in _prompts(case)]).tokens
    forked = [list(expected_rows[row]) for row in rows]
    assert [list(tokens) for tokens in session.tokens] == forked, "fork must keep the given rows, in that order."
    fresh = case.model.open(forked)
    assert_same(as_float64(session.energies()), as_float64(fresh.energies()), case.tolerance, "energies of forked rows")
    tokens = [case.sequences[row][-1] for row in rows]
    tokens[2] = case.sequences[rows[0]][0]
    session.push(tokens)
    fresh.push(tokens)
    if _has_room(case):
        found, expected = as_float64(session.energies()), as_float64(fresh.energies())
        assert_same(found, expected, case.tolerance, "energies of forked rows after a push")


def check_score(case: _Case) -> None:
    """Check that `score` gives every position after the first once, in order, with the energies of a session."""
    scored: dict[int, list[int]] = {row: [] for row in range(len(case.sequences))}
    for row, position, target, energies in _iterate_scores(case.model, case.sequences):
        scored[row].append(position)
        assert target == case.sequences[row][position], f"score names a wrong target at row {row}, {position}."
        session = as_float64(case.model.open([case.sequences[row][:position]]).energies())[0]
        what = f"energies of score and of a session at row {row}, position {position}"
        assert_same(energies, session, case.tolerance, what)
    for row, positions in scored.items():
        expected = list(range(1, len(case.sequences[row])))
        assert positions == expected, f"score gave positions {positions} of row {row}, not {expected}."


def check_causal(case: _Case) -> None:
    """Check that the probabilities of all continuations of a token, by `score`, sum to one. Small vocabularies only."""
    size, length = case.model.vocabulary.size, min(map(len, case.sequences))
    while length > 2 and size**length > _MAX_SEQUENCES:
        length -= 1
    if size**length > _MAX_SEQUENCES:
        return
    every = [list(tokens) for tokens in product(range(size), repeat=length)]
    logp = np.zeros(len(every))
    for window in case.model.score(every):
        values: Any = state(window.energies, 1.0, index=np.asarray(window.targets)).logprob
        np.add.at(logp, np.asarray(window.rows), as_float64(values))
    totals = np.exp(logp).reshape(size, -1).sum(-1)
    worst = float(np.abs(totals - 1).max())
    assert worst <= max(1e-9, case.tolerance), f"continuations of one token have total probability 1 ± {worst:.3g}."


def check_start(case: _Case) -> None:
    """An empty prompt is the document start."""
    start = list(case.model.vocabulary.start_token_ids)
    session = case.model.open([[], _prompts(case)[0]])
    assert list(session.tokens[0]) in ([], start), f"an empty prompt must start as {start}."
    expected = as_float64(case.model.open([start]).energies())[0]
    assert_same(
        as_float64(session.energies())[0], expected, case.tolerance, "energies of an empty prompt and of the start"
    )


def check_fingerprint(case: _Case) -> None:
    """Check that the fingerprint is a SHA-256 and does not change."""
    first = case.model.fingerprint
    case.model.open(_prompts(case)).energies()
    assert re.fullmatch("sha256:[0-9a-f]{64}", first), f"the fingerprint {first!r} is not 'sha256:' and 64 digits."
    assert case.model.fingerprint == first, "the fingerprint changed between two readings."


def check_text(case: _Case) -> None:
    """Check that the bytes of tokens are those of the decoded text, and that encoding it gives them back."""
    special = case.model.vocabulary.special_token_ids
    for sequence in case.sequences:
        plain = [token for token in sequence if token not in special]
        text = case.model.decode(plain)
        joined = b"".join(map(case.model.token_bytes, plain))
        assert text == joined.decode("utf-8", errors="replace"), f"decode gives {text!r}, the bytes are {joined!r}."
        if "\ufffd" in text:
            continue
        encoded = b"".join(case.model.token_bytes(token) for token in case.model.encode(text) if token not in special)
        # Some tokenizers put a space before the first word.
        assert encoded.lstrip(b" ") == joined.lstrip(b" "), f"encode makes {encoded!r} of {joined!r}."


def check_refusals(case: _Case) -> None:
    """Check that tokens outside the vocabulary and rows that do not exist raise `BadInput`."""
    model, (first, *_) = case.model, _prompts(case)
    for token in (model.vocabulary.size, -1):
        prompt = [*first[:1], token]
        assert_bad_input(lambda prompt=prompt: model.open([prompt]).energies(), f"a prompt with token {token}")  # type: ignore[misc]
        assert_bad_input(lambda token=token: model.open([first]).push([token]), f"a push of token {token}")  # type: ignore[misc]
        assert_bad_input(lambda token=token: list(model.score([[*first[:1], token]])), f"scoring token {token}")  # type: ignore[misc]
    assert_bad_input(lambda: model.open([first]).push([first[0]] * 2), "a push of two tokens to one row")
    assert_bad_input(lambda: model.open([first]).fork([1]), "a fork to a row that does not exist")
    assert_bad_input(lambda: model.open([first]).fork([]), "a fork to no rows")


CHECKS = (
    check_shapes,
    check_numbers,
    check_push,
    check_batch,
    check_fork,
    check_score,
    check_causal,
    check_start,
    check_fingerprint,
    check_text,
    check_refusals,
)


def _draw_sequences(model: Model, seed: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    longest = 6 if model.context_length is None else min(6, model.context_length)
    excluded = {*model.vocabulary.stop_token_ids, *model.vocabulary.special_token_ids}
    tokens = [token for token in range(model.vocabulary.size) if token not in excluded]
    return [rng.choice(tokens, size=max(2, longest - shorter)).tolist() for shorter in (0, 2, 1, 3)]


def _prompts(case: _Case) -> list[list[int]]:
    return [sequence[:-1] for sequence in case.sequences]


def _has_room(case: _Case) -> bool:
    """Test that the sequences leave room for one more token in the context."""
    return case.model.context_length is None or max(map(len, case.sequences)) < case.model.context_length


def _iterate_scores(model: Model, sequences: Sequence[Tokens]) -> Iterator[tuple[int, int, int, Floats]]:
    for window in model.score(sequences):
        rows, positions, targets = map(int, window.rows), map(int, window.positions), map(int, window.targets)
        yield from zip(rows, positions, targets, as_float64(window.energies), strict=True)
