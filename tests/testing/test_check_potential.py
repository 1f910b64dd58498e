"""The potential suite fails broken potentials, one sabotage per check."""

import numpy as np
import pytest

from heatbath.energy import Context, Potential
from heatbath.testing import check_potential


class Lengths(Potential):
    """A right potential: half a nat for each token of the answer."""

    name = "lengths"

    def __call__(self, context):
        return np.array([0.5 * len(context.completion(row)) for row in range(len(context))])


class Guide(Lengths):
    scores_prefixes = True


class Nameless(Lengths):
    name = ""


class NaN(Lengths):
    def __call__(self, context):
        return super().__call__(context) * np.nan


class Attracting(Lengths):
    def __call__(self, context):
        return np.full(len(context), -np.inf)


class Table(Lengths):
    def __call__(self, context):
        return np.zeros((len(context), context.vocab_size))


class Restless(Lengths):
    calls = 0

    def __call__(self, context):
        Restless.calls += 1
        return np.full(len(context), float(Restless.calls))


class Mutating(Lengths):
    def __call__(self, context):
        for tokens in context.tokens:
            tokens.append(0)
        return np.zeros(len(context))


class Mixing(Lengths):
    """Every row sees the mean of the batch."""

    def __call__(self, context):
        energies = super().__call__(context)
        return energies - energies.mean()


class Placed(Lengths):
    """A row sees its number, which is no part of its tokens."""

    def __call__(self, context):
        return np.array([float(context.row_id(row)) for row in range(len(context))])


class Stubborn(Lengths):
    def __add__(self, other):
        return self


class Weightless(Lengths):
    def __mul__(self, weight):
        return self

    __rmul__ = __mul__


class Hasty(Guide):
    """Forbids prefixes shorter than what it asks of whole answers."""

    def __call__(self, context):
        return np.where([len(context.completion(row)) < 2 for row in range(len(context))], np.inf, 0.0)


class Unready(Guide):
    """Says it scores prefixes and has no number for them."""

    def __call__(self, context):
        return np.array([0.0 if context.is_finished(row) else np.nan for row in range(len(context))])


class Choosy(Lengths):
    """Claims whole answers alone, and must not be asked about others."""

    def __call__(self, context):
        assert all(context.is_finished(row) for row in range(len(context))), "asked about a prefix"
        return super().__call__(context)


class Stopping(Lengths):
    """Counts the stop token."""

    def __call__(self, context):
        return np.array([float(len(tokens)) for tokens in context.tokens])


STOPPED = Context([[0, 1, 7], [2, 3, 4]], [1, 0], 8, (7,), finished_mask=[True, True])


@pytest.mark.parametrize("potential", [Lengths(), Guide(), Choosy(), 2.0 * Lengths() + Guide()])
def test_right_potentials_pass(potential):
    check_potential(potential)
    check_potential(potential, STOPPED)


@pytest.mark.parametrize(
    ("potential", "said"),
    [
        (Nameless(), "needs a name"),
        (NaN(), "NaN"),
        (Attracting(), "-inf"),
        (Table(), "have shape"),
        (Restless(), "evaluated twice"),
        (Mutating(), "changed the tokens"),
        (Mixing(), "in a batch and alone"),
        (Placed(), "rows reversed"),
        (Stubborn(), "added to another"),
        (Weightless(), "twice"),
        (Hasty(), "forbids the first 0 tokens of row 0, but allows the whole sequence"),
        (Unready(), "NaN"),
        (Stopping(), "with and without its stop token"),
    ],
)
def test_a_broken_potential_fails(potential, said):
    with pytest.raises(AssertionError, match=said):
        check_potential(potential, STOPPED)


def test_a_context_without_whole_answers_is_no_use():
    with pytest.raises(AssertionError, match="no finished row"):
        check_potential(Lengths(), Context([[0]], [0], 2))
