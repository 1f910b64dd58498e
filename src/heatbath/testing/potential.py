"""The contract suite of a potential, with one check per clause."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from heatbath.energy.base import Context, Potential
from heatbath.testing.comparison import Floats, as_float64, assert_energies, assert_same


def check_potential(potential: Potential, context: Context | None = None, *, tolerance: float = 1e-6) -> None:
    """Raise AssertionError with a sentence when `potential` breaks its contract on `context`.

    The default context has four sequences, three of them finished. A potential that does not score prefixes is
    evaluated on finished sequences only; one that does, on all their prefixes as well. At least one row must be
    finished.
    """
    context = context or Context(
        [[0, 1, 2, 1], [3], [2, 4, 4, 5, 6], []], [2, 0, 1, 0], 8, finished_mask=[True, True, False, True]
    )
    finished = [row for row in range(len(context)) if context.is_finished(row)]
    assert finished, "the context has no finished row: set `finished_mask`."
    case = context if potential.scores_prefixes else context.take(finished)
    for check in CHECKS:
        check(potential, case, tolerance)


def check_name(potential: Potential, context: Context, tolerance: float) -> None:
    """Check that a potential has a name, and that a weight does not change it."""
    assert isinstance(potential.name, str) and potential.name, f"a potential needs a name, not {potential.name!r}."
    names = [part.name for _, part in (2.0 * potential).terms]
    assert names == [part.name for _, part in potential.terms], f"the weight changed the names to {names}."


def check_values(potential: Potential, context: Context, tolerance: float) -> None:
    """Check that energies are one number per row, neither NaN nor -inf."""
    assert_energies(_compute_energies(potential, context), f"energies of {potential.name!r}")


def check_determinism(potential: Potential, context: Context, tolerance: float) -> None:
    """Check that the same context gives the same energies, and is not changed."""
    tokens = [list(row) for row in context.tokens]
    first, second = _compute_energies(potential, context), _compute_energies(potential, context)
    assert_same(second, first, tolerance, f"energies of {potential.name!r} evaluated twice")
    assert [list(row) for row in context.tokens] == tokens, f"{potential.name!r} changed the tokens it was given."


def check_rows(potential: Potential, context: Context, tolerance: float) -> None:
    """Check that a row's energy depends only on its own tokens, not on its place in the batch."""
    together, count, name = _compute_energies(potential, context), len(context), potential.name
    for row in range(count):
        alone = _compute_energies(potential, context.take([row]))
        assert_same(together[[row]], alone, tolerance, f"energies of {name!r} for row {row} in a batch and alone")
    order = [*reversed(range(count)), 0]
    reversed_rows = _compute_energies(potential, replace(context.take(order), row_ids=()))
    assert_same(reversed_rows, together[order], tolerance, f"energies of {name!r} with the rows reversed")


def check_algebra(potential: Potential, context: Context, tolerance: float) -> None:
    """Check that potentials add in any order, weights multiply, and weight 0 gives zeros."""
    energies, other, name = _compute_energies(potential, context), _Lengths(), potential.name
    total = energies + other(context)
    assert_same(_compute_energies(potential + other, context), total, tolerance, f"{name!r} added to another")
    assert_same(_compute_energies(other + potential, context), total, tolerance, f"another added to {name!r}")
    assert_same(_compute_energies(2.0 * potential, context), 2 * energies, 2 * tolerance, f"twice {name!r}")
    assert_same(_compute_energies(0.0 * potential, context), np.zeros_like(energies), 0.0, f"{name!r} with weight 0")


def check_prefixes(potential: Potential, context: Context, tolerance: float) -> None:
    """Check that every prefix of an allowed sequence is allowed, where prefixes are scored.

    A prefix at +inf would stop a population from ever reaching the sequence.
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
        forbidden = np.flatnonzero(np.isinf(energies))
        assert not forbidden.size, (
            f"{potential.name!r} forbids the first {forbidden[0]} tokens of row {row}, but allows the whole sequence."
        )


def check_stop(potential: Potential, context: Context, tolerance: float) -> None:
    """Check that the final stop token does not change the energy."""
    for stop in context.stop_token_ids[:1]:
        for row in (row for row in range(len(context)) if context.is_finished(row)):
            tokens = [*context.tokens[row][: context.prompt_lengths[row]], *context.completion(row)]
            pair = replace(context.take([row, row]), tokens=[tokens, [*tokens, stop]], energies=None)
            without_stop, with_stop = _compute_energies(potential, pair)
            what = f"energies of {potential.name!r} for row {row} with and without its stop token"
            assert_same(np.array([with_stop]), np.array([without_stop]), tolerance, what)


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
