"""The contract of a potential, checked one clause at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from heatbath.energy.base import Context, Potential
from heatbath.testing.comparison import Floats, as_float64, assert_energies, assert_same


def check_potential(potential: Potential, context: Context | None = None, *, tolerance: float = 1e-6) -> None:
    """Raise AssertionError with a sentence when `potential` breaks its contract on `context`.

    Four answers unless given, three of them whole. A potential that does not score prefixes is asked about the whole
    answers alone; one that does, about every prefix of them too. At least one row must have `ended`.
    """
    context = context or Context(
        [[0, 1, 2, 1], [3], [2, 4, 4, 5, 6], []], [2, 0, 1, 0], 8, finished_mask=[True, True, False, True]
    )
    ended = [row for row in range(len(context)) if context.is_finished(row)]
    assert ended, "the context to check a potential on has no whole answer: give one with ended rows."
    asked = context if potential.scores_prefixes else context.take(ended)
    for check in CHECKS:
        check(potential, asked, tolerance)


def check_name(potential: Potential, context: Context, tolerance: float) -> None:
    """A potential has a name, and keeps it when it is weighed."""
    assert isinstance(potential.name, str) and potential.name, f"a potential needs a name, not {potential.name!r}."
    named = [part.name for _, part in (2.0 * potential).terms]
    assert named == [part.name for _, part in potential.terms], f"the weight changed the names to {named}."


def check_values(potential: Potential, context: Context, tolerance: float) -> None:
    """Energies are one number a row, neither NaN nor -inf."""
    assert_energies(_compute_energies(potential, context), f"energies of {potential.name!r}")


def check_determinism(potential: Potential, context: Context, tolerance: float) -> None:
    """The same context gives the same energies, and is left as it was."""
    tokens = [list(row) for row in context.tokens]
    first, second = _compute_energies(potential, context), _compute_energies(potential, context)
    assert_same(second, first, tolerance, f"energies of {potential.name!r} asked for twice")
    assert [list(row) for row in context.tokens] == tokens, f"{potential.name!r} changed the tokens it was given."


def check_rows(potential: Potential, context: Context, tolerance: float) -> None:
    """A row's energy depends on its own tokens alone, whatever its place in the batch."""
    together, count, name = _compute_energies(potential, context), len(context), potential.name
    for row in range(count):
        alone = _compute_energies(potential, context.take([row]))
        assert_same(together[[row]], alone, tolerance, f"energies of {name!r} for row {row} in a batch and alone")
    turned = [*reversed(range(count)), 0]
    found = _compute_energies(potential, replace(context.take(turned), row_ids=()))
    assert_same(found, together[turned], tolerance, f"energies of {name!r} with the rows turned round")


def check_algebra(potential: Potential, context: Context, tolerance: float) -> None:
    """Potentials add in any order, weights multiply, and weight 0 is absence."""
    energies, other, name = _compute_energies(potential, context), _Lengths(), potential.name
    total = energies + other(context)
    assert_same(_compute_energies(potential + other, context), total, tolerance, f"{name!r} added to another")
    assert_same(_compute_energies(other + potential, context), total, tolerance, f"another added to {name!r}")
    assert_same(_compute_energies(2.0 * potential, context), 2 * energies, 2 * tolerance, f"twice {name!r}")
    assert_same(_compute_energies(0.0 * potential, context), np.zeros_like(energies), 0.0, f"{name!r} with weight 0")


def check_prefixes(potential: Potential, context: Context, tolerance: float) -> None:
    """Where prefixes are scored, every prefix of an answer that is allowed is allowed.

    A prefix at +inf would stop a population from ever reaching the answer.
    """
    if not potential.scores_prefixes:
        return
    allowed = np.isfinite(_compute_energies(potential, context))
    for row in np.flatnonzero(allowed).tolist():
        if not context.is_finished(row):
            continue
        start = context.prompt_lengths[row]
        rows = [context.tokens[row][:end] for end in range(start, len(context.tokens[row]))]
        if not rows:
            continue
        prefixes = replace(
            context, tokens=rows, prompt_lengths=[start] * len(rows), finished_mask=(), row_ids=(), energies=None
        )
        energies = _compute_energies(potential, prefixes)
        assert_energies(energies, f"energies of {potential.name!r} for prefixes of row {row}")
        lost = np.flatnonzero(np.isinf(energies))
        assert not lost.size, (
            f"{potential.name!r} forbids the first {lost[0]} tokens of the answer of row {row}, which it allows whole."
        )


def check_stop(potential: Potential, context: Context, tolerance: float) -> None:
    """The stop token that ended an answer is no part of it."""
    for stop in context.stop_token_ids[:1]:
        for row in (row for row in range(len(context)) if context.is_finished(row)):
            answer = [*context.tokens[row][: context.prompt_lengths[row]], *context.completion(row)]
            pair = replace(context.take([row, row]), tokens=[answer, [*answer, stop]], energies=None)
            bare, stopped = _compute_energies(potential, pair)
            what = f"energies of {potential.name!r} for the answer of row {row} with and without its stop token"
            assert_same(np.array([stopped]), np.array([bare]), tolerance, what)


CHECKS: tuple[Callable[[Potential, Context, float], None], ...] = (
    check_name,
    check_values,
    check_determinism,
    check_rows,
    check_algebra,
    check_prefixes,
    check_stop,
)


@dataclass(frozen=True)
class _Lengths(Potential):
    name: str = "lengths"

    def __call__(self, context: Context) -> Floats:
        return np.array([float(len(tokens)) for tokens in context.tokens])


def _compute_energies(potential: Potential, context: Context) -> Floats:
    energies = as_float64(potential(context))
    assert energies.shape == (len(context),), (
        f"energies of {potential.name!r} have shape {energies.shape}, not {(len(context),)}."
    )
    return energies
