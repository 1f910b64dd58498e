"""Free energy per byte on models whose law is written down, of one vocabulary and of several."""

import numpy as np
import pytest

from heatbath.engine.model_selection import rank_models
from heatbath.errors import BadInput
from heatbath.models import ExactModel, MarkovModel, Vocabulary

CHAINS = [MarkovModel.random(seed, 3) for seed in range(3)]
TEXT = "abcacbbaacbcab"


class Bigrams(ExactModel):
    """Tokens a, b and ab after a start token, each with its own energy."""

    def __init__(self, energies=(0.1, 0.5, 0.0)):
        super().__init__("bigrams", Vocabulary(4, start_token_ids=(3,)), [b"a", b"b", b"ab", b"^"])
        self.own = np.array([*energies, np.inf])

    @property
    def fingerprint(self):
        return "sha256:bigrams"

    def initial_state(self, rows):
        return np.zeros((rows, 1), np.int64)

    def advance(self, state, tokens):
        return state

    def next_energies(self, state):
        return np.tile(self.own, (len(state), 1))


def test_the_lowest_free_energy_per_byte_comes_first():
    found = rank_models({str(i): chain for i, chain in enumerate(CHAINS)}, TEXT)
    tokens = CHAINS[0].encode(TEXT)
    wanted = [-(chain.logprob(tokens) - chain.logprob(tokens[:1])) / (len(TEXT) - 1) for chain in CHAINS]
    assert [best.name for best in found] == [str(i) for i in np.argsort(wanted)]
    assert np.allclose([best.free_energy.value for best in found], sorted(wanted), atol=1e-6)
    assert {(best.num_bytes, best.num_tokens) for best in found} == {(len(TEXT) - 1, len(TEXT) - 1)}


def test_vocabularies_may_differ_and_a_start_token_lets_every_byte_count():
    text = "abaab"
    bigrams, pair = Bigrams(), MarkovModel(np.zeros((2, 2)))
    first, second = rank_models([pair, bigrams], text)
    log_z = np.log(np.exp(-bigrams.own).sum())
    assert (first.name, first.num_bytes, first.num_tokens) == ("bigrams", 5, 3)
    assert np.isclose(first.free_energy.value, (0.1 + 3 * log_z) / 5, atol=1e-6)
    off = log_z + np.array([0.0, 0.1, 0.0]) - first.free_energy.value * np.array([2, 1, 2])
    assert np.isclose(first.free_energy.stderr, np.linalg.norm(off) / 5, atol=1e-6) and first.free_energy.ess == 3
    assert (second.name, second.num_bytes, second.num_tokens) == ("markov", 4, 4)
    assert np.isclose(second.free_energy.value, np.log(2)) and second.free_energy.stderr < 1e-6


def test_the_standard_error_covers_other_texts_of_the_same_kind():
    """150 texts from the model itself: z has variance near 1; the bound is 5 standard errors of a variance."""
    chain = MarkovModel.random(5, 3, scale=1.5)
    rate, rng, z = chain.entropy_rate(), np.random.default_rng(0), []
    law, steps = chain.stationary_distribution(), chain.transition_matrix()
    for _ in range(150):
        tokens = [rng.choice(3, p=law)]
        for _ in range(120):
            tokens.append(rng.choice(3, p=steps[tokens[-1]]))
        (found,) = rank_models([chain], chain.decode(tokens))
        z.append((found.free_energy.value - rate) / found.free_energy.stderr)
    assert abs(np.mean(z)) < 5 / np.sqrt(150) + 0.05 and 0.4 < np.var(z) < 2.0
    assert np.var(np.array(z) * 3) > 2.0


def test_ties_keep_the_order_given():
    found = rank_models({"later": CHAINS[0], "earlier": CHAINS[0]}, TEXT)
    assert [best.name for best in found] == ["later", "earlier"]


def test_a_text_that_a_model_forbids_comes_last():
    never = MarkovModel(np.where(np.eye(3, dtype=bool), np.inf, 0.0))
    assert [best.name for best in rank_models({"never": never, "chain": CHAINS[0]}, "aab")] == ["chain", "never"]
    assert rank_models({"never": never}, "aab")[0].free_energy.value == np.inf


def test_bad_input():
    with pytest.raises(BadInput, match="no models to choose from"):
        rank_models([], TEXT)
    with pytest.raises(BadInput, match="text is empty"):
        rank_models(CHAINS, "")
    with pytest.raises(BadInput, match="nothing that markov can score"):
        rank_models(CHAINS, "a")
    with pytest.raises(BadInput, match="has no symbol"):
        rank_models(CHAINS, "xyz")
