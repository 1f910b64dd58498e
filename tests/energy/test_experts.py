"""Products and mixtures of models, against laws of whole answers that can be enumerated."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp
from stepping import context_of, steered_logprobs

from heatbath.energy import Context, LogitBias
from heatbath.errors import BadInput
from heatbath.experts.mixtures import MixtureOfExperts, ProductOfExperts, validate_vocabularies
from heatbath.models import MarkovModel, RestrictedModel, TableModel
from heatbath.testing import check_field

MODELS = [TableModel.random(seed, 3, 5, stop_token_ids=(2,), scale=1.5) for seed in (0, 1, 2)]
PRIOR = [0.5, 0.2, 0.3]


@pytest.mark.parametrize("count", [2, 3])
def test_answers_of_a_mixture_follow_the_mixture_of_laws(count):
    prior = np.array(PRIOR[:count]) / sum(PRIOR[:count])
    wanted = logsumexp(np.stack([model.logprobs() for model in MODELS[:count]]), b=prior[:, None], axis=0)
    found = steered_logprobs(MODELS[0], MixtureOfExperts(MODELS[:count], prior))
    assert np.abs(found - wanted).max() < 1e-12


def test_fixed_weights_are_another_law():
    """The control: averaging the members at every token forgets which of them the answer speaks for."""

    class Fixed(MixtureOfExperts):
        def _mixture_energies(self, context):
            _, logp_mbv = self._evidence.update(context)
            return logp_mbv[0] - logsumexp(logp_mbv, b=self.prior[:, None, None], axis=0)

    wanted = logsumexp(np.stack([model.logprobs() for model in MODELS]), b=np.array(PRIOR)[:, None], axis=0)
    assert np.abs(steered_logprobs(MODELS[0], Fixed(MODELS, PRIOR)) - wanted).max() > 0.1


def test_posterior_weights_from_any_path_to_the_rows():
    chains = [MarkovModel.random(seed, 3) for seed in (0, 1)]
    rng = np.random.default_rng(0)
    mixture, rows = MixtureOfExperts(chains, [0.25, 0.75]), [[0], [1]]
    for turn in range(60):
        if turn % 7 == 6:
            rows = [rng.integers(3, size=rng.integers(1, 6)).tolist() for _ in range(3)]
        else:
            rows = [[*rows[i], int(rng.integers(3))] for i in rng.integers(len(rows), size=3)]
        context = context_of(chains[0], rows, prompts=[[0]] * len(rows))
        likelihood = np.array([[chain.logprob(row) - chain.logprob(row[:1]) for chain in chains] for row in rows])
        wanted = np.exp(log_softmax(np.log([0.25, 0.75]) + likelihood, axis=1))
        assert np.allclose(mixture.posterior_weights(context), wanted, atol=1e-12)


def test_the_same_tokens_after_another_prompt_are_other_evidence():
    mixture = MixtureOfExperts(MODELS)
    short = context_of(MODELS[0], [[0, 1, 1]])
    assert np.allclose(mixture.posterior_weights(replace(short, prompt_lengths=[3])), 1 / 3)
    assert not np.allclose(mixture.posterior_weights(short), 1 / 3, atol=0.01)


def test_a_product_is_normalised_token_by_token():
    field = ProductOfExperts(MODELS[1:], [0.5, -0.25])
    context = context_of(MODELS[0], [[0], [1, 0], []])
    parts = [log_softmax(-model.open(context.tokens).energies(), -1) for model in MODELS]
    wanted = log_softmax(parts[0] + 0.5 * parts[1] - 0.25 * parts[2], -1)
    assert np.allclose(log_softmax(-(context.energies + field(context)), -1), wanted, atol=1e-12)
    assert field.commutes


def test_a_product_of_equals_is_a_colder_model():
    found = steered_logprobs(MODELS[0], ProductOfExperts([MODELS[0]], [1.0]))
    assert np.abs(found - MODELS[0].logprobs(2.0)).max() < 1e-12


def test_contract():
    context = context_of(MODELS[0], [[0, 1, 1], [1], []], prompts=[[0, 1], [], []])
    check_field(ProductOfExperts(MODELS[1:]), context)
    check_field(MixtureOfExperts(MODELS, PRIOR), context)
    assert not MixtureOfExperts(MODELS).commutes


def test_members_may_read_another_prompt():
    mixture = MixtureOfExperts([MODELS[0], MODELS[0]], prompt_of=lambda prompt: [1])
    context = context_of(MODELS[0], [[0, 0]], prompts=[[0]])
    (own,), (other,) = (log_softmax(-MODELS[0].open([row]).energies()[:, :], -1) for row in ([0, 0], [1, 0]))
    likelihood = [log_softmax(-MODELS[0].open([[first]]).energies()[0])[0] for first in (0, 1)]
    wanted = logsumexp(np.stack([own, other]), b=np.exp(log_softmax(likelihood))[:, None], axis=0)
    assert np.allclose(log_softmax(-(context.energies + mixture(context)), -1)[0], wanted, atol=1e-12)


def test_rows_that_ended_are_left_alone():
    for field in (ProductOfExperts(MODELS[1:]), MixtureOfExperts(MODELS)):
        context = context_of(MODELS[0], [[0, 1], [0, 2]])
        assert not field(replace(context, finished_mask=[False, True]))[1].any()
        assert field(replace(context, finished_mask=[False, True]))[0].any()
        assert not field(replace(context, finished_mask=[True, True])).any()


def test_a_mixture_after_another_field_is_refused():
    context = context_of(MODELS[0], [[0], [1]])
    biased = replace(context, energies=context.energies + LogitBias({1: 2.0})(context))
    with pytest.raises(BadInput, match="'mixture': the energies so far of row . are not those of its first model"):
        MixtureOfExperts(MODELS)(biased)


def test_a_host_that_forbids_more_than_a_member():
    host = RestrictedModel(MODELS[0], [1])
    context = replace(context_of(MODELS[0], [[0]]), energies=host.open([[0]]).energies())
    with pytest.raises(BadInput, match="the host forbids token 1 of row 0"):
        MixtureOfExperts([host, MODELS[1]])(context)
    energies = MixtureOfExperts([host, RestrictedModel(MODELS[1], [1])])(context)
    assert energies[0, 1] == 0 and np.isfinite(energies).all()


def test_a_member_that_forbids_the_answer_has_lost():
    ban = RestrictedModel(MODELS[1], [1])
    mixture = MixtureOfExperts([MODELS[0], ban])
    context = context_of(MODELS[0], [[0, 1, 0]])
    assert mixture.posterior_weights(context).tolist() == [[1, 0]] and np.allclose(mixture(context), 0, atol=1e-12)


def test_bad_input():
    other = MarkovModel(np.zeros((3, 3)), symbols=[b"a", b"c", b"b"])
    with pytest.raises(BadInput, match=r"vocabularies differ: token 1 is b'b' in one model and b'c' in another"):
        MixtureOfExperts([MODELS[0], other])
    with pytest.raises(BadInput, match="vocabularies differ"):
        validate_vocabularies([MODELS[0], MarkovModel.random(0, 4)])
    with pytest.raises(BadInput, match="vocabularies differ"):
        ProductOfExperts(MODELS[1:])(Context([[0]], [0], 4))
    with pytest.raises(BadInput, match="at least one model to combine, got none"):
        ProductOfExperts([])
    with pytest.raises(BadInput, match="one finite number for each of 2"):
        ProductOfExperts(MODELS[:2], [1.0])
    with pytest.raises(BadInput, match="at least one other model, got 1"):
        MixtureOfExperts(MODELS[:1])
    for prior in ([0.0, 0.0], [1.0, -0.5]):
        with pytest.raises(BadInput, match="`prior` must be at least 0"):
            MixtureOfExperts(MODELS[:2], prior)
    with pytest.raises(BadInput, match="needs the energies of the model"):
        MixtureOfExperts(MODELS)(Context([[0]], [0], 3))
