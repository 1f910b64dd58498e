"""Ancestral and greedy draws: exact distributions, bookkeeping that adds up, rows that mind their own business."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from heatbath.decode import Ancestral, Greedy, RowRandom, Task, evaluate_step, min_p, run, top_k, top_p
from heatbath.decode import rng as decode_rng
from heatbath.energy import Field, ForbiddenTokens, LogitBias
from heatbath.errors import BadInput, NotANumber
from heatbath.models import MarkovModel, TableModel, UrnModel
from heatbath.models.base import Session, Vocabulary
from heatbath.models.exact.base import log_probabilities
from heatbath.testing import check_sampler

TREE = TableModel.random(4, 4, 4, stop_token_ids=(3,), scale=1.5)


def tilted(model: TableModel, beta: float, change) -> np.ndarray:
    """Log-probabilities of a tree whose energies `change` has altered at every prefix."""
    rows = {}

    def rule(prefix):
        rows[prefix] = change(model.open([list(prefix)]).energies()[0])
        return rows[prefix]

    return TableModel(rule, model.tree.length, stop_token_ids=model.tree.stop_token_ids).logprobs(beta)


def on(model, prompts):
    return Task(model, prompts, 1000, model.vocabulary.stop_token_ids)


def at(session):
    """A task whose model opens this session."""
    return on(SimpleNamespace(open=lambda prompts: session, vocabulary=Vocabulary(3)), session.tokens)


def first_steps(sampler, task, count, seed=0):
    steps = (step for _, step in run(sampler, RowRandom(seed, len(task.prompts)), task))
    return [next(steps) for _ in range(count)]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7, np.inf])
def test_draws_follow_the_tempered_distribution(temperature):
    """Error rate 1e-5 each over seeds."""
    check_sampler(Ancestral(temperature), TREE, logprobs=TREE.logprobs(1 / temperature))


@pytest.mark.parametrize("error", [0.95, 0.98, 1.02])
def test_a_temperature_two_percent_off_is_seen(error, monkeypatch):
    """Without the check of its claims, so that the draws alone must give it away."""
    monkeypatch.setattr("heatbath.testing.token_sampler.check_claim", lambda draws, target: None)
    with pytest.raises(AssertionError, match="standard errors off"):
        check_sampler(Ancestral(error), samples=30_000)


def test_fields_change_the_distribution_as_energies_do():
    bias = np.array([0.7, 0.0, -0.4, 0.2])
    exact = tilted(TREE, 1.25, lambda energies: energies - bias + [0, np.inf, 0, 0])
    sampler = Ancestral(0.8, fields=[LogitBias(dict(enumerate(bias))), ForbiddenTokens([1])])
    check_sampler(sampler, TREE, logprobs=exact)


def test_a_window_cuts_the_tempered_distribution():
    def cut(energies):
        return np.where(np.argsort(np.argsort(energies)) < 2, energies, np.inf)

    check_sampler(Ancestral(0.8, window=top_k(2)), TREE, logprobs=tilted(TREE, 1.25, cut))


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("window", [None, top_k(3), [top_p(0.8), min_p(0.1)]])
def test_fields_and_window_add_up_to_the_change_of_log_probability(temperature, window):
    model = MarkovModel.random(8, 6, scale=3.0)
    fields = [LogitBias({0: 2.5, 4: -1.5}), 0.5 * LogitBias({2: 3.0}, name="half") + ForbiddenTokens([5])]
    for step in first_steps(Ancestral(temperature, window=window, fields=fields), on(model, [[0], [1, 2], []] * 20), 5):
        assert list(step.work) == list(step.field_energy) == ["logit_bias", "half", "forbid"]
        parts = sum(step.work[name] - step.field_energy[name] for name in step.work)
        change = step.betas * parts - np.log(step.kept_mass)
        rows = np.arange(60)
        exact = log_probabilities(step.energies, 1 / temperature)[rows, step.tokens]
        assert np.allclose(step.model_logprob, exact, atol=1e-9)
        assert np.allclose(step.logprob - exact, change, rtol=0, atol=1e-6)
        assert np.abs(change).max() > 0.1


def test_the_work_of_a_ban_is_the_free_energy_of_what_is_left():
    model = MarkovModel.random(1, 4)
    (step,) = first_steps(Ancestral(2.0, fields=ForbiddenTokens([1])), on(model, [[]]), 1)
    left = 1 - np.exp(log_probabilities(model.open([[]]).energies(), 0.5))[0, 1]
    assert step.work["forbid"] == pytest.approx(-2.0 * np.log(left))
    assert step.field_energy["forbid"] == 0 and step.kept_mass == 1


def test_work_at_the_ends_of_temperature():
    model = MarkovModel(np.zeros((2, 2)), [1.0, 3.0])
    bias = LogitBias({0: -5.0, 1: 1.0})
    cold, hot, barred = (
        first_steps(Ancestral(temperature, fields=field), on(model, [[]]), 1)[0].work[field.name]
        for temperature, field in ((0.0, bias), (np.inf, bias), (np.inf, ForbiddenTokens([0])))
    )
    assert cold == 1.0 and hot == pytest.approx(2.0) and barred == np.inf


def test_fields_of_one_name_are_told_apart():
    (step,) = first_steps(
        Ancestral(fields=[ForbiddenTokens([0]), ForbiddenTokens([1])]), on(MarkovModel.random(0, 4), [[]]), 1
    )
    assert list(step.work) == ["forbid", "forbid-2"] and step.tokens[0] in (2, 3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_tensor_energies_in_any_precision_add_up(dtype):
    sampler = Ancestral(0.7, window=top_p(0.9), fields=[LogitBias({3: 0.1, 7: -2.0}), ForbiddenTokens([1])])
    (step,) = first_steps(
        sampler, at(_Constant(torch.randn(50, 40, generator=torch.manual_seed(0)).mul(8).to(dtype))), 1
    )
    parts = sum(step.work[name] - step.field_energy[name] for name in step.work)
    change = step.betas * parts - np.log(step.kept_mass)
    assert np.allclose(step.logprob - step.model_logprob, change, rtol=0, atol=1e-5 if dtype != torch.float64 else 1e-9)
    assert not (step.tokens == 1).any() and step.energies.dtype == dtype


def test_a_small_bias_is_not_lost_in_half_precision():
    """Near 200 neighbouring bfloat16 numbers are 1 apart."""
    energies = torch.full((4, 3), 200.0, dtype=torch.bfloat16)
    (step,) = first_steps(Ancestral(fields=LogitBias({0: 0.1, 1: 0.1, 2: 0.1})), at(_Constant(energies)), 1)
    assert np.allclose(step.field_energy["logit_bias"], -0.1, atol=1e-4)


class _Constant(Session):
    """Always the same energies."""

    def __init__(self, energies):
        self._energies, self._tokens = energies, [[] for _ in range(len(energies))]

    tokens = property(lambda self: self._tokens)

    def energies(self):
        return self._energies

    def push(self, tokens):
        self._tokens = [[*row, token] for row, token in zip(self._tokens, tokens, strict=True)]

    def fork(self, indices):
        self._energies, self._tokens = self._energies[indices], [self._tokens[i] for i in indices]


def test_without_fields_and_windows_energies_are_not_copied_and_drawn_once(monkeypatch):
    calls, real = [], decode_rng.quantile
    monkeypatch.setattr(decode_rng, "quantile", lambda *given: calls.append(given[0]) or real(*given))
    ((batch, step),) = [next(run(Ancestral(), RowRandom(0, 3), on(UrnModel(), [[]] * 3)))]
    assert (
        step.energies is step.final_energies is batch.session.energies()
        and len(calls) == 1
        and calls[0] is step.energies
    )
    assert step.work == {} and step.kept_mass.tolist() == [1, 1, 1]


def test_a_row_does_not_depend_on_its_batch():
    model, prompts = MarkovModel.random(0, 5), [[0], [1, 2, 3], [], [4]]
    sampler = Ancestral([0.5, 1.0, 2.0, 0.0])
    together = np.stack([step.tokens for step in first_steps(sampler, on(model, prompts), 90)])
    for row, temperature in enumerate((0.5, 1.0, 2.0, 0.0)):
        steps = run(Ancestral(temperature), RowRandom(0, [row]), on(model, [prompts[row]]))
        alone = [next(steps)[1].tokens[0] for _ in range(90)]
        assert together[:, row].tolist() == alone


def test_dropping_rows_leaves_the_others_as_they_were():
    model, sampler = MarkovModel.random(0, 5), Ancestral([0.5, 1.0, 2.0])
    whole = np.stack([step.tokens for step in first_steps(sampler, on(model, [[], [1], [2, 3]]), 12)])
    rng, batch, columns = RowRandom(0, 3), sampler.init(on(model, [[], [1], [2, 3]])), []
    for t in range(12):
        if t == 5:
            rng.keep_rows([2, 0])
            batch = batch.select_rows([2, 0])
        batch, step = evaluate_step(sampler, rng, batch)
        columns.append(step.tokens)
    assert (np.stack(columns[5:]) == whole[5:, [2, 0]]).all()
    assert batch.prompt_lengths.tolist() == [2, 0] and batch.betas.tolist() == [0.5, 2.0]
    assert list(batch.session.tokens[1]) == whole[:11, 0].tolist()


def test_zero_temperature_draws_among_ground_states_and_greedy_takes_the_first():
    """Each of two ties is 1000 ± 22.4 of 2000 draws; five standard deviations, error rate 6e-7."""
    model = MarkovModel(np.zeros((3, 3)), [2.0, 1.0, 1.0])
    (step,) = first_steps(Ancestral(0.0), on(model, [[]] * 2000), 1)
    assert set(step.tokens) == {1, 2} and abs((step.tokens == 1).sum() - 1000) < 5 * np.sqrt(500)
    assert np.allclose(step.logprob, -np.log(2))
    (greedy,) = first_steps(Greedy(), on(model, [[]] * 5), 1)
    assert greedy.tokens.tolist() == [1] * 5 and np.isinf(greedy.betas).all()


def test_greedy_follows_its_fields():
    model = MarkovModel(np.zeros((3, 3)), [2.0, 1.0, 1.5])
    steps = first_steps(Greedy(ForbiddenTokens([1])), on(model, [[]]), 2)
    assert [step.tokens[0] for step in steps] == [2, 0] and steps[0].work["forbid"] == 0.5


class _Shaped(Field):
    name = "odd"

    def __init__(self, energies):
        self.energies = np.asarray(energies, float)

    def __call__(self, context):
        return self.energies


@pytest.mark.parametrize(
    ("field", "error", "said"),
    [
        (_Shaped(np.zeros(5)), BadInput, r"'odd' at token 0: it gave energies of shape \(5,\)"),
        (_Shaped(np.zeros((4, 2, 3))), BadInput, "do not broadcast"),
        (_Shaped([0.0, np.nan, 0.0]), NotANumber, "'odd'.*row 0"),
        (ForbiddenTokens([0, 1, 2]), BadInput, "'forbid'.*row 0"),
    ],
)
def test_a_field_at_fault_is_named(field, error, said):
    with pytest.raises(error, match=said):
        first_steps(Ancestral(fields=field), on(MarkovModel.random(0, 3), [[], []]), 1)


@pytest.mark.parametrize("temperatures", [-0.1, np.nan, [1.0, -1.0], [1.0] * 3])
def test_bad_temperatures_are_refused(temperatures):
    with pytest.raises(BadInput, match="temperature"):
        Ancestral(temperatures).init(on(UrnModel(), [[], []]))
