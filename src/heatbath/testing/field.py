"""The contract suite of a field, with one check per clause."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace

import numpy as np

from heatbath.energy.base import Context, Field
from heatbath.energy.token_bias import LogitBias
from heatbath.testing.comparison import Floats, as_float64, assert_energies, assert_same


def check_field(field: Field, context: Context | None = None, *, tolerance: float = 1e-6) -> None:
    """Raise AssertionError with a sentence when `field` breaks its contract on `context` (three rows unless given).

    Random energies are used where the context has none, since a field may read them.
    """
    context = context or Context([[0, 1, 2, 1], [3], []], [2, 1, 0], 8)
    if context.energies is None:
        context = replace(context, energies=_draw_energies(context))
    for check in CHECKS:
        check(field, context, tolerance)


def check_name(field: Field, context: Context, tolerance: float) -> None:
    """Check that a field has a name, and that a weight does not change it."""
    assert isinstance(field.name, str) and field.name, f"a field needs a name, not {field.name!r}."
    names = [part.name for _, part in (2.0 * field).terms]
    assert names == [part.name for _, part in field.terms], f"the weight changed the names to {names}."


def check_values(field: Field, context: Context, tolerance: float) -> None:
    """Check that energies broadcast to (B, V) and have neither NaN nor -inf."""
    energies = _compute_energies(field, context)
    assert_energies(energies, f"energies of {field.name!r}")


def check_determinism(field: Field, context: Context, tolerance: float) -> None:
    """Check that the same context gives the same energies, and is not changed."""
    tokens, before = [list(row) for row in context.tokens], as_float64(context.energies)
    first, second = _compute_energies(field, context), _compute_energies(field, context)
    assert_same(second, first, tolerance, f"energies of {field.name!r} evaluated twice")
    assert [list(row) for row in context.tokens] == tokens, f"{field.name!r} changed the tokens it was given."
    assert np.array_equal(as_float64(context.energies), before), f"{field.name!r} changed the energies it was given."


def check_rows(field: Field, context: Context, tolerance: float) -> None:
    """Check that a row's energies depend only on its own prefix, not on its place in the batch."""
    together = _compute_energies(field, context)
    count = len(context.tokens)
    for rows in ([row] for row in range(count)):
        alone = _compute_energies(field, context.take(rows))
        assert_same(
            together[rows], alone, tolerance, f"energies of {field.name!r} for row {rows[0]} in a batch and alone"
        )
    order = list(range(count))[::-1]
    reversed_rows = _compute_energies(field, context.take(order))
    assert_same(reversed_rows, together[order], tolerance, f"energies of {field.name!r} with the rows reversed")


def check_finished_rows(field: Field, context: Context, tolerance: float) -> None:
    """Check that a finished row is not an error and does not change the other rows."""
    together = _compute_energies(field, context)
    for row in range(len(context.tokens)):
        finished = [context.is_finished(other) or other == row for other in range(len(context.tokens))]
        others = [other for other in range(len(context.tokens)) if other != row]
        energies = _compute_energies(field, replace(context, finished_mask=finished))
        assert_energies(energies, f"energies of {field.name!r} with row {row} finished")
        what = f"energies of {field.name!r} for the other rows when row {row} is finished"
        assert_same(energies[others], together[others], tolerance, what)


def check_algebra(field: Field, context: Context, tolerance: float) -> None:
    """Check that fields add, weights multiply, and weight 0 gives zeros."""
    energies, other = _compute_energies(field, context), LogitBias({0: 1.0})
    # The field is first in the sum, so the energies it reads are those of the context even if it does not commute.
    assert_same(
        _compute_energies(field + other, context),
        energies + other(context),
        tolerance,
        f"{field.name!r} added to a bias",
    )
    # In a sum that does not commute, weights also change the energies that its later terms read.
    if field.commutes or len(field.terms) == 1:
        assert_same(_compute_energies(2.0 * field, context), 2 * energies, 2 * tolerance, f"twice {field.name!r}")
    assert_same(_compute_energies(0.0 * field, context), np.zeros_like(energies), 0.0, f"{field.name!r} with weight 0")


def check_commutes(field: Field, context: Context, tolerance: float) -> None:
    """Check that a field with `commutes` gives the same total before another field and after it."""
    if not field.commutes:
        return
    energies, other = as_float64(context.energies), LogitBias({0: 1.0, context.vocab_size - 1: -2.0})
    bias = other(context)
    first = energies + _compute_energies(field, context) + bias
    last = energies + bias + _compute_energies(field, replace(context, energies=energies + bias))
    assert_same(last, first, tolerance, f"{field.name!r} declares `commutes`, but its totals after a bias and before")
    assert_same(
        _compute_energies(other + field, context),
        _compute_energies(field, context) + bias,
        tolerance,
        f"a bias added to {field.name!r}",
    )


def check_zero_weight(field: Field, context: Context, tolerance: float) -> None:
    """Check that a field of weight 0 is not evaluated."""
    if field.terms != ((1.0, field),):
        for _, part in field.terms:
            check_zero_weight(part, context, tolerance)
        return

    def refuse(self: Field, context: Context) -> Floats:
        raise AssertionError(f"{field.name!r} was evaluated although its weight is 0.")

    guard = copy(field)
    object.__setattr__(guard, "__class__", type(type(field).__name__, (type(field),), {"__call__": refuse}))
    (LogitBias({0: 1.0}) + 0.0 * guard)(context)
    (0.0 * guard)(context)


CHECKS: tuple[Callable[[Field, Context, float], None], ...] = (
    check_name,
    check_values,
    check_determinism,
    check_rows,
    check_finished_rows,
    check_algebra,
    check_commutes,
    check_zero_weight,
)


def _draw_energies(context: Context) -> Floats:
    return np.random.default_rng(0).normal(size=(len(context.tokens), context.vocab_size), scale=3.0)


def _compute_energies(field: Field, context: Context) -> Floats:
    energies, shape = as_float64(field(context)), (len(context.tokens), context.vocab_size)
    try:
        return np.broadcast_to(energies, shape)
    except ValueError:
        raise AssertionError(f"energies of {field.name!r} have shape {energies.shape}, not {shape}.") from None
