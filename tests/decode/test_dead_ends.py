"""Fields that leave a row nothing: an error for independent rows, a weight of zero for populations."""

import numpy as np
import pytest
from scipy.special import logsumexp

from heatbath.energy import Field, ForbiddenTokens, Potential
from heatbath.engine import generate
from heatbath.errors import BadInput
from heatbath.models import TableModel

TREE = TableModel.random(1, 3, 4, stop_token_ids=(2,))


class AfterFirst(Field):
    """Nothing may follow an answer that begins with token 0."""

    name = "dead_end"

    def __call__(self, context):
        ends = [context.completion(row)[:1] == [0] for row in range(len(context))]
        return np.where(np.asarray(ends)[:, None], np.inf, np.zeros(context.vocab_size))


class Broken(Field):
    name = "broken"

    def __call__(self, context):
        raise KeyError("nothing here")


class Never(Potential):
    name = "never"

    def __call__(self, context):
        return np.full(len(context), np.inf)


def kept() -> np.ndarray:
    return np.asarray([sequence[0] != 0 for sequence in TREE.sequences()])


@pytest.mark.parametrize("sampler", ["smc", "anneal", "tempering", "power"])
def test_a_dead_end_costs_a_particle_and_not_the_run(sampler):
    options = {"smc": {"particles": 500}, "power": {"particles": 500, "alpha": 2.0}}.get(sampler, {"alpha": 2.0})
    if sampler == "anneal":
        options |= {"particles": 1000, "ladder": 4}
    if sampler == "tempering":
        options |= {"chains": 40, "ladder": 3, "sweeps": 20}
    out = generate(TREE, [], max_tokens=4, sampler=sampler, fields=AfterFirst(), **options)
    share = np.exp(out.weighted_samples.log_weight - logsumexp(out.weighted_samples.log_weight))
    assert share[[sequence[0] == 0 for sequence in out.sequences]].sum() < 1e-9
    if sampler != "tempering":
        exact = logsumexp(options.get("alpha", 1.0) * TREE.logprobs()[kept()])
        assert abs(out.log_z - exact) < 5 * out.log_z_stderr


def test_independent_rows_say_where_and_why():
    with pytest.raises(BadInput, match=r"field 'dead_end' at token 1: .*all \+inf") as caught:
        generate(TREE, [], n=50, max_tokens=4, fields=AfterFirst())
    assert caught.value.partial.arrays.lengths.tolist() == [1] * 50


def test_fields_that_leave_nothing_at_once_are_refused_by_all():
    for sampler in ("ancestral", "greedy", "beam", "best-of"):
        with pytest.raises(BadInput, match="field 'forbid' at token 0"):
            generate(TREE, [], max_tokens=4, sampler=sampler, fields=ForbiddenTokens([0, 1, 2]))
    with pytest.raises(BadInput, match="at token 1 every particle"):
        generate(TREE, [], max_tokens=4, sampler="smc", fields=ForbiddenTokens([0, 1, 2]))


def test_a_field_that_raises_is_named_with_the_token():
    with pytest.raises(BadInput, match="field 'broken' at token 0 raised KeyError"):
        generate(TREE, [], max_tokens=4, fields=Broken())


def test_a_target_without_an_answer_is_told():
    with pytest.raises(BadInput, match="forbidden by 'never'") as caught:
        generate(TREE, [], max_tokens=4, sampler="smc", potentials=Never())
    assert len(caught.value.partial) == 64
    with pytest.raises(BadInput, match="at rung 1 every sequence is forbidden by 'never'"):
        generate(TREE, [], max_tokens=4, sampler="anneal", potentials=Never())


WITH_POTENTIALS = {
    "best-of": {"n": 4},
    "smc": {"particles": 4},
    "power": {"particles": 4},
    "power-metropolis": {"method": "metropolis", "chains": 2, "sweeps": 3},
    "power-lookahead": {"method": "lookahead", "n": 2, "candidates": 2, "rollouts": 1, "horizon": 2, "block": 2},
    "anneal": {"particles": 4, "ladder": 2},
    "tempering": {"chains": 2, "ladder": 2, "sweeps": 4},
}


@pytest.mark.parametrize("name", WITH_POTENTIALS)
def test_no_sampler_selects_a_sequence_that_the_potentials_forbid(name):
    with pytest.raises(BadInput, match=r"'never'.*increase") as caught:
        options = WITH_POTENTIALS[name]
        generate(
            TREE, [], max_tokens=4, sampler=name.partition("-m")[0].partition("-l")[0], potentials=Never(), **options
        )
    assert len(caught.value.partial) > 0


class Sometimes(Potential):
    """Forbids what begins with token 0."""

    name = "sometimes"

    def __call__(self, context):
        first = [context.completion(row)[:1] == [0] for row in range(len(context))]
        return np.where(first, np.inf, 1.0)


def test_the_best_of_n_gives_forbidden_sequences_no_weight():
    out = generate(TREE, [], max_tokens=4, sampler="best-of", n=40, potentials=Sometimes(), seed=1)
    is_forbidden = np.asarray([tokens[0] == 0 for tokens in out.sequences])
    assert is_forbidden.any() and not is_forbidden[out.best_index]
    assert np.array_equal(np.isneginf(out.weighted_samples.log_weight), is_forbidden)
    assert out.ess == (~is_forbidden).sum()


def test_a_replicate_that_dies_counts_as_nothing():
    """Mean of Z estimates over 40 runs of 32 replicates of 2 particles, four standard errors: error rate 1e-4."""
    exact = np.exp(logsumexp(TREE.logprobs()[kept()]))
    runs = [
        generate(TREE, [], max_tokens=4, sampler="smc", fields=AfterFirst(), particles=2, replicates=32, seed=seed)
        for seed in range(40)
    ]
    found = np.exp([out.weighted_samples.log_z.value for out in runs])
    died = [np.isneginf(out.weighted_samples.log_weight.reshape(32, 2)).all(1).any() for out in runs]
    assert any(died), "with no replicate dead there is nothing to test"
    assert abs(found.mean() - exact) < 4 * found.std(ddof=1) / np.sqrt(len(found))
