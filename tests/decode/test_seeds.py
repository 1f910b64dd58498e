"""Row-wise randomness: a row's numbers depend on seed and id alone."""

import numpy as np
import pytest

from heatbath.decode import RowRandom
from heatbath.errors import BadInput


def drawn(rng, steps):
    return np.stack([rng.uniform() for _ in range(steps)])


def test_a_row_draws_the_same_in_any_batch():
    together = drawn(RowRandom(7, 5), 150)
    assert (drawn(RowRandom(7, [3]), 150)[:, 0] == together[:, 3]).all()
    assert (drawn(RowRandom(7, [4, 1]), 150) == together[:, [4, 1]]).all()


def test_rows_and_seeds_differ():
    numbers = np.concatenate([drawn(RowRandom(seed, 3), 3).ravel() for seed in (0, 1)])
    assert len(set(numbers)) == 18 and (numbers >= 0).all() and (numbers < 1).all()


@pytest.mark.parametrize("steps", [0, 10, 64, 70])
def test_dropping_rows_leaves_the_others_as_they_were(steps):
    whole, thinned = RowRandom(0, 4), RowRandom(0, 4)
    for _ in range(steps):
        whole.uniform(), thinned.uniform()
    thinned.keep_rows([2, 0])
    assert (drawn(thinned, 100) == drawn(whole, 100)[:, [2, 0]]).all()


def test_copies_and_negative_seeds_are_refused():
    with pytest.raises(BadInput, match="repeat"):
        RowRandom(0, 2).keep_rows([0, 0])
    with pytest.raises(BadInput, match="0 or more"):
        RowRandom(-1, 2)
