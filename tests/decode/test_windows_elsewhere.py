"""The sets other libraries keep: transformers' warpers on the same logits, and the published cases of llama.cpp.

Their cases pass the temperature before the window, as heatbath does. What differs: ties at a border are kept together
here, and top-k of 0, top-n-sigma of 0 and min-p above 1 are refused or mean what they say instead of "off".
"""

import numpy as np
import pytest
import torch
from transformers.generation import logits_process as warpers

from heatbath.decode import windows
from heatbath.errors import BadInput

PAIRS = [
    (windows.top_k(7), warpers.TopKLogitsWarper(7)),
    (windows.top_k(400), warpers.TopKLogitsWarper(400)),
    (windows.top_p(0.6), warpers.TopPLogitsWarper(0.6)),
    (windows.top_p(0.97), warpers.TopPLogitsWarper(0.97)),
    (windows.min_p(0.05), warpers.MinPLogitsWarper(0.05)),
    (windows.typical(0.2), warpers.TypicalLogitsWarper(0.2)),
    (windows.typical(0.9), warpers.TypicalLogitsWarper(0.9)),
    (windows.epsilon(3e-3), warpers.EpsilonLogitsWarper(3e-3)),
    (windows.epsilon(0.9), warpers.EpsilonLogitsWarper(0.9)),
    (windows.eta(3e-3), warpers.EtaLogitsWarper(3e-3)),
]


@pytest.mark.parametrize(("window", "warper"), PAIRS, ids=[window.label for window, _ in PAIRS])
@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.9])
def test_transformers_keeps_the_same(window, warper, temperature):
    logits = torch.from_numpy(np.random.default_rng(3).normal(0, 3, (40, 3000)).astype(np.float32))
    # In float32 transformers' own rounding would decide at a border: one state of eta at T = 1.9 is 4e-7 nats off it.
    theirs = warper(None, logits.double() / temperature) > -torch.inf
    betas = np.full(40, 1 / temperature)
    assert torch.equal(window(-logits.double(), betas) < torch.inf, theirs)
    # In float32 a state that rounding cannot tell from the border of a threshold is kept, and a share counts as reached
    # where only rounding is missing.
    assert ((window(-logits, betas) < torch.inf) ^ theirs).sum() <= 2


LLAMA_CPP = [
    (windows.top_k(1), [0.1, 0.2, 0.3, 0.4], [3]),
    (windows.top_k(3), [0.1, 0.2, 0.3, 0.4], [1, 2, 3]),
    (windows.top_k(4), [0.1, 0.2, 0.3, 0.4], [0, 1, 2, 3]),
    (windows.top_p(0.7), [0.1, 0.2, 0.3, 0.4], [2, 3]),
    (windows.top_p(0.8), [0.1, 0.2, 0.3, 0.4], [1, 2, 3]),
    (windows.top_p(1.0), [0.1, 0.2, 0.3, 0.4], [0, 1, 2, 3]),
    (windows.min_p(0.0), [0.1, 0.2, 0.3, 0.4], [0, 1, 2, 3]),
    (windows.min_p(0.24), [0.1, 0.2, 0.3, 0.4], [0, 1, 2, 3]),
    (windows.min_p(0.26), [0.1, 0.2, 0.3, 0.4], [1, 2, 3]),
    (windows.min_p(0.49), [0.1, 0.2, 0.3, 0.4], [1, 2, 3]),
    (windows.min_p(0.51), [0.1, 0.2, 0.3, 0.4], [2, 3]),
    (windows.min_p(0.74), [0.1, 0.2, 0.3, 0.4], [2, 3]),
    (windows.min_p(0.76), [0.1, 0.2, 0.3, 0.4], [3]),
    (windows.min_p(1.0), [0.1, 0.2, 0.3, 0.4], [3]),
    (windows.exclude_top_choices(0.09, 0.99), [0.4, 0.3, 0.2, 0.1], [3]),
    (windows.exclude_top_choices(0.19, 0.99), [0.4, 0.3, 0.2, 0.1], [2, 3]),
    (windows.exclude_top_choices(0.29, 0.99), [0.4, 0.3, 0.2, 0.1], [1, 2, 3]),
    (windows.exclude_top_choices(0.39, 0.99), [0.4, 0.3, 0.2, 0.1], [0, 1, 2, 3]),
    (windows.typical(0.5), [0.97, 0.01, 0.01, 0.01], [0]),
    (windows.typical(0.5), [0.4, 0.2, 0.2, 0.2], [1, 2, 3]),
    (windows.top_n_sigma(1.0), [0.1, 0.2, 0.3, 0.4], [2, 3]),
    (windows.top_n_sigma(3.0), [0.1, 0.2, 0.3, 0.4], [0, 1, 2, 3]),
    (windows.p_less(), [0.1, 0.15, 0.2, 0.25, 0.3], [3, 4]),
    (windows.p_less(), [0.2, 0.2, 0.2, 0.2, 0.2], [0, 1, 2, 3, 4]),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("window", "law", "stay"), LLAMA_CPP, ids=[window.label for window, _, _ in LLAMA_CPP])
def test_llama_cpp_keeps_the_same(window, law, stay, dtype):
    """The numbers are those of tests/test-sampling.cpp."""
    energies = -np.log(np.asarray(law, dtype))[None]
    out = windows.apply_window(window, energies, np.ones(1), np.full(1, 0.5))
    assert np.flatnonzero(np.isfinite(out.energies[0])).tolist() == stay
    assert out.kept_mass[0] == pytest.approx(sum(law[i] for i in stay), abs=1e-6)


def test_what_differs():
    tied = np.array([[0.0, 1.0, 1.0, 1.0]])
    assert np.isfinite(windows.top_k(2)(tied, np.ones(1))).sum() == 4
    assert (warpers.TopPLogitsWarper(0.5)(None, torch.from_numpy(-tied)) > -torch.inf).sum() == 2
    assert np.isfinite(windows.top_p(0.5)(tied, np.ones(1))).sum() == 4
    assert np.isfinite(windows.top_n_sigma(0.0)(tied, np.ones(1))).sum() == 1
    for refused in (lambda: windows.top_k(0), lambda: windows.min_p(1.05), lambda: windows.top_p(0)):
        with pytest.raises(BadInput):
            refused()


def test_top_h_bounds_the_entropy_of_what_stays_and_transformers_a_sum_that_is_not_renormalised():
    law = np.array([[0.5, 0.3, 0.1, 0.06, 0.04]])  # two have .535 of the entropy, .573 as they are
    ours = windows.top_h(0.55)(-np.log(law), np.ones(1))
    assert np.isfinite(ours).sum() == 2
    assert (warpers.TopHLogitsWarper(0.55)(None, torch.from_numpy(np.log(law))) > -torch.inf).sum() == 1
