"""The contract of a field, checked one clause at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from heatbath.energy.base import Context, Field
from heatbath.energy.tokens import LogitBias
from heatbath.testing.compare import Floats, assert_energies, assert_same, floats


def check_field(field: Field, context: Context | None = None, *, tolerance: float = 1e-6) -> None:
    """Raise AssertionError with a sentence when `field` breaks its contract on `context` (three rows unless given)."""
    context = context or Context([[0, 1, 2, 1], [3], []], [2, 1, 0], 8)
    for check in CHECKS:
        check(field, context, tolerance)


def check_name(field: Field, context: Context, tolerance: float) -> None:
    """A field has a name, and keeps it when it is weighed."""
    assert isinstance(field.name, str) and field.name, f"a field needs a name, not {field.name!r}."
    named = [part.name for _, part in (2.0 * field).terms]
    assert named == [part.name for _, part in field.terms], f"the weight changed the names to {named}."


def check_values(field: Field, context: Context, tolerance: float) -> None:
    """Energies broadcast to (B, V) and hold neither NaN nor -inf."""
    energies = _rows(field, context)
    assert_energies(energies, f"energies of {field.name!r}")


def check_same_again(field: Field, context: Context, tolerance: float) -> None:
    """The same context gives the same energies, and is left as it was."""
    tokens = [list(row) for row in context.tokens]
    first, second = _rows(field, context), _rows(field, context)
    assert_same(second, first, tolerance, f"energies of {field.name!r} asked for twice")
    assert [list(row) for row in context.tokens] == tokens, f"{field.name!r} changed the tokens it was given."


def check_rows(field: Field, context: Context, tolerance: float) -> None:
    """A row's energies depend on its own prefix alone, whatever its place in the batch."""
    together = _rows(field, context)
    count = len(context.tokens)
    for rows in ([row] for row in range(count)):
        alone = _rows(field, context.take(rows))
        assert_same(
            together[rows], alone, tolerance, f"energies of {field.name!r} for row {rows[0]} in a batch and alone"
        )
    backwards = list(range(count))[::-1]
    turned = _rows(field, context.take(backwards))
    assert_same(turned, together[backwards], tolerance, f"energies of {field.name!r} with the rows turned round")


def check_algebra(field: Field, context: Context, tolerance: float) -> None:
    """Fields add in any order, weights multiply, and weight 0 is absence."""
    energies, other = _rows(field, context), LogitBias({0: 1.0})
    total = energies + other(context)
    assert_same(_rows(field + other, context), total, tolerance, f"{field.name!r} added to a bias")
    assert_same(_rows(other + field, context), total, tolerance, f"a bias added to {field.name!r}")
    assert_same(_rows(2.0 * field, context), 2 * energies, 2 * tolerance, f"twice {field.name!r}")
    assert_same(_rows(0.0 * field, context), np.zeros_like(energies), 0.0, f"{field.name!r} with weight 0")


CHECKS: tuple[Callable[[Field, Context, float], None], ...] = (
    check_name,
    check_values,
    check_same_again,
    check_rows,
    check_algebra,
)


def _rows(field: Field, context: Context) -> Floats:
    energies, shape = floats(field(context)), (len(context.tokens), context.vocab_size)
    try:
        return np.broadcast_to(energies, shape)
    except ValueError:
        raise AssertionError(f"energies of {field.name!r} have shape {energies.shape}, not {shape}.") from None
