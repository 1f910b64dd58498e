"""The field suite fails broken fields, one sabotage per check."""

import numpy as np
import pytest

from heatbath.energy import Context, Field, LogitBias
from heatbath.testing import check_field


class Lengths(Field):
    """A right field: its row depends on the row's length."""

    name = "lengths"

    def __call__(self, context):
        return np.outer([len(tokens) for tokens in context.tokens], np.ones(context.vocab_size)).astype(float)


class Nameless(Lengths):
    name = ""


class NaN(Lengths):
    def __call__(self, context):
        return super().__call__(context) * np.nan


class Attracting(Lengths):
    def __call__(self, context):
        return np.full(context.vocab_size, -np.inf)


class Narrow(Lengths):
    def __call__(self, context):
        return np.zeros(context.vocab_size - 1)


class Restless(Lengths):
    def __init__(self):
        self.calls = 0

    def __call__(self, context):
        self.calls += 1
        return np.full(context.vocab_size, float(self.calls))


class Mutating(Lengths):
    def __call__(self, context):
        for tokens in context.tokens:
            tokens.append(0)
        return np.zeros(context.vocab_size)


class Mixing(Lengths):
    """Every row sees the longest row."""

    def __call__(self, context):
        return super().__call__(context).max(0, keepdims=True)


class Placed(Lengths):
    """A row sees its own number."""

    def __call__(self, context):
        return np.outer(np.arange(len(context.tokens)), np.ones(context.vocab_size)).astype(float)


class Stubborn(Lengths):
    """Does not add."""

    def __add__(self, other):
        return self


class Weightless(Lengths):
    """Forgets its weight."""

    def __mul__(self, weight):
        return self

    __rmul__ = __mul__


class Reading(Lengths):
    """A right field that depends on its place: it doubles the energies so far."""

    commutes = False

    def __call__(self, context):
        return np.array(context.energies)


class Swapping(Reading):
    """Depends on its place and says that it does not."""

    commutes = True


class Scribbling(Lengths):
    """Writes into the energies it was given."""

    def __call__(self, context):
        context.energies[:] += 1
        return np.zeros(context.vocab_size)


class Finishing(Lengths):
    """An ended row changes the rest of its batch."""

    def __call__(self, context):
        return super().__call__(context) + any(context.finished_mask)


class Undone(Lengths):
    """Has nothing to say of an ended row."""

    def __call__(self, context):
        return np.where(np.array([context.is_finished(row) for row in range(len(context))])[:, None], np.nan, 0.0)


class Costly(Lengths):
    """Is asked for its energies whatever its weight."""

    def __mul__(self, weight):
        return Costing(self, weight)

    __rmul__ = __mul__


class Costing(Costly):
    def __init__(self, field, weight):
        self.field, self.weight, self.name = field, weight, field.name

    def __call__(self, context):
        return self.field(context) * self.weight


def test_a_right_field_passes():
    check_field(Lengths())
    check_field(Reading())
    check_field(2.0 * Lengths() + Reading())
    check_field(LogitBias({3: 1.0}), Context([[0]], [1], 5))


@pytest.mark.parametrize(
    ("field", "said"),
    [
        (Nameless(), "needs a name"),
        (NaN(), "NaN"),
        (Attracting(), "-inf"),
        (Narrow(), "have shape"),
        (Restless(), "evaluated twice"),
        (Mutating(), "changed the tokens"),
        (Mixing(), "in a batch and alone"),
        (Placed(), "in a batch and alone"),
        (Stubborn(), "added to a bias"),
        (Weightless(), "twice"),
        (Swapping(), "declares `commutes`"),
        (Scribbling(), "changed the energies"),
        (Finishing(), "when row 0 is finished"),
        (Undone(), "with row 0 finished hold a NaN"),
        (Costly(), "was evaluated although"),
    ],
)
def test_a_broken_field_fails(field, said):
    with pytest.raises(AssertionError, match=said):
        check_field(field)
