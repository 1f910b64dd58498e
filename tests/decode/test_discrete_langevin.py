"""Discrete Langevin chains on a tiny transformer whose answers can all be listed: they keep the law they claim."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.special import log_softmax, softmax
from tokenizers import Tokenizer, decoders, models
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from heatbath.decode import RowRandom, Target, Task, top_k
from heatbath.decode.langevin import Langevin, LangevinState
from heatbath.decode.langevin_proposal import LangevinTarget
from heatbath.decode.sequences import evaluate_step
from heatbath.energy import LogitBias
from heatbath.energy.base import Context, Potential
from heatbath.energy.potentials import FunctionPotential
from heatbath.engine import generate
from heatbath.errors import BadInput
from heatbath.models.exact.table import TableModel
from heatbath.models.hf.introspection import TokenGradients
from heatbath.models.hf.model_metadata import ModelMetadata
from heatbath.models.hf.transformers_model import TransformersModel
from heatbath.models.hub.pretrained_loader import suppress_library_output

Floats = npt.NDArray[np.float64]
SIZE, STOP, PROMPT = 5, (4,), (0, 3)
ERROR_RATE = 1e-4


@cache
def tiny(tied: bool = True) -> TransformersModel:
    """A random float64 transformer with a vocabulary of five letters, the last of which ends an answer."""
    config = LlamaConfig(
        vocab_size=SIZE, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=4, max_position_embeddings=16, initializer_range=0.35,
        tie_word_embeddings=tied, bos_token_id=0, eos_token_id=4, pad_token_id=4,
    )  # fmt: skip
    with suppress_library_output(), torch.random.fork_rng():
        torch.manual_seed(1)
        module = AutoModelForCausalLM.from_config(config, dtype=torch.float64)
    backend = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate("abcde")}, merges=[]))
    backend.decoder = decoders.ByteLevel()
    words = PreTrainedTokenizerFast(tokenizer_object=backend)
    return TransformersModel(
        module,
        words,
        name="tiny",
        compute_fingerprint=lambda: "sha256:0",
        metadata=ModelMetadata(start=(0,), stop=STOP),
    )


class Listed:
    """The tiny model, its slopes at all sequences of some length worked out once."""

    def __init__(self, length: int, *, tied: bool = True) -> None:
        self.whole = tiny(tied)
        self.name, self.vocabulary = "listed", self.whole.vocabulary
        self.context_length, self.open, self.embeddings = 16, self.whole.open, self.whole.embeddings
        self.token_bytes, self.fingerprint = self.whole.token_bytes, "sha256:0"
        self.sequences = list(itertools.product(range(SIZE), repeat=length))
        self._found: dict[float, TokenGradients] = {}

    def token_gradients(self, sequences: Sequence[Sequence[int]], length: int, *, beta: float) -> TokenGradients:
        if beta not in self._found:
            self._found[beta] = self.whole.token_gradients([[*PROMPT, *x] for x in self.sequences], length, beta=beta)
        at = [int(np.ravel_multi_index(tuple(x[len(PROMPT) :]), (SIZE,) * length)) for x in sequences]
        return TokenGradients(self._found[beta].logprobs[at], self._found[beta].embedding_gradient[at])


@dataclass(frozen=True)
class Twos(Potential):
    """Likes token 2, and says so of every place."""

    name: str = "twos"

    def __call__(self, context: Context) -> Floats:
        return np.asarray([-0.8 * list(row[len(PROMPT) :]).count(2) for row in context.tokens])

    def token_gradient(self, context: Context) -> Floats:
        length = len(context.tokens[0]) - len(PROMPT)
        return np.broadcast_to(-0.8 * np.eye(SIZE)[2], (len(context), length, SIZE))


NO_DOUBLES = FunctionPotential(
    lambda answer: np.inf if len(answer) > 1 and answer[0] == answer[1] else 0.0, "no doubles"
)


@dataclass(frozen=True)
class Case:
    """A setting of the sampler, and how long the answers are."""

    length: int = 3
    positions: int | None = 1
    step_size: float = 1.0
    target: Target = field(default_factory=Target)
    tied: bool = True

    def sampler(self, chains: int = 1, sweeps: int = 2) -> Langevin:
        return Langevin(self.target, chains, sweeps, 0.5, self.step_size, self.positions)

    @property
    def task(self) -> Task:
        return Task(listed(self.length, self.tied), [list(PROMPT)], self.length, STOP)

    @property
    def states(self) -> list[tuple[int, ...]]:
        """Answers of full length, a stop token nowhere but in the last place."""
        return [x for x in itertools.product(range(SIZE), repeat=self.length) if STOP[0] not in x[:-1]]

    def law(self) -> Floats:
        """The target on `states`, from teacher-forced energies."""
        model, target, states = tiny(self.tied), self.target, self.states
        total = np.zeros(len(states))
        for window in model.score([[*PROMPT, *x] for x in states]):
            logprobs = log_softmax(-window.energies.double().numpy() / target.temperature, axis=1)
            mine = np.asarray(window.positions) >= len(PROMPT)
            np.add.at(total, np.asarray(window.rows)[mine], logprobs[np.arange(len(mine)), window.targets][mine])
        parts = target.potentials if isinstance(target.potentials, Sequence) else [target.potentials]
        tokens = [[*PROMPT, *x] for x in states]
        context = Context(tokens, [len(PROMPT)] * len(tokens), SIZE, STOP, [True] * len(tokens))
        return np.asarray(softmax(target.power * total - sum(part(context) for part in parts)))


@cache
def listed(length: int, tied: bool) -> Any:
    return Listed(length, tied=tied)


class Walker:
    """Chance that follows a script and notes the ways not taken."""

    def __init__(self, script: tuple[int, ...]) -> None:
        self.script, self.probability = script, 1.0
        self.taken: tuple[int, ...] = ()
        self.others: list[tuple[int, ...]] = []

    def choose_index(self, probabilities: Floats) -> int:
        ways = np.flatnonzero(probabilities).tolist()
        if len(self.taken) < len(self.script):
            way = self.script[len(self.taken)]
        else:
            way = ways[0]
            self.others += [(*self.taken, other) for other in ways[1:]]
        self.taken = (*self.taken, way)
        self.probability *= float(probabilities[way])
        return int(way)

    def draw_tokens(self, energies: Any, betas: Floats) -> npt.NDArray[np.int64]:
        (row,) = energies.numpy()
        return np.asarray([self.choose_index(softmax(-betas[0] * row))])

    def uniform(self) -> Floats:
        raise AssertionError

    def for_rows(self, rows: Sequence[int]) -> Walker:
        return self


def walks(step: Callable[[Walker], Any]) -> Iterator[tuple[Any, float]]:
    """Every outcome of a step and its probability."""
    scripts: list[tuple[int, ...]] = [()]
    while scripts:
        walker = Walker(scripts.pop())
        yield step(walker), walker.probability
        scripts += walker.others


def placed(case: Case, answer: Sequence[int]) -> LangevinState:
    """One chain that stands on an answer."""
    state = case.sampler().init(case.task)
    return replace(state, points=state.langevin_target.evaluate(np.asarray([answer])))


def transitions(case: Case, states: Sequence[Sequence[int]]) -> Floats:
    """Probability of going from each of `states` to each other in one sweep, every random path walked."""
    number = {tuple(x): n for n, x in enumerate(states)}
    matrix, sampler = np.zeros((len(states), len(states) + 1)), case.sampler()
    for n, x in enumerate(states):
        state = placed(case, x)
        for (after, _), probability in walks(partial(lambda state, rng: evaluate_step(sampler, rng, state), state)):
            assert after.points is not None
            matrix[n, number.get(tuple(after.points.tokens[0].tolist()), -1)] += probability
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-9)
    return matrix[:, :-1]


CASES = {
    "one place": Case(2),
    "untied": Case(2, tied=False),
    "both places, cold": Case(2, 2, target=Target(temperature=0.7, power=2.0)),
    "all places, far": Case(2, None, np.inf, Target(power=2.0)),
    "small steps": Case(2, None, 0.05, Target(power=0.5)),
    "slope of a potential": Case(2, None, 2.0, Target(power=2.0, potentials=[Twos(), 0.5 * Twos("more")])),
    "forbidden answers": Case(2, 1, 2.0, Target(temperature=1.5, potentials=NO_DOUBLES)),
    "potentials alone": Case(2, None, 2.0, Target(power=0.0, potentials=Twos())),
    "one token": Case(1, None, 1.0, Target(power=3.0)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_detailed_balance_over_every_random_path(case: Case) -> None:
    law, matrix = case.law(), transitions(case, case.states)
    flow = law[:, None] * matrix
    np.testing.assert_allclose(flow, flow.T, atol=1e-9, rtol=0)
    assert (flow - np.diag(np.diag(flow))).max() > 1e-6


@pytest.mark.parametrize("positions", [1, 2, 3])
def test_detailed_balance_between_answers_of_three_tokens(positions: int) -> None:
    case, some = Case(3, positions, target=Target(0.7, 2.0)), [(0, 0, 0), (0, 1, 2), (0, 1, 0), (3, 1, 4)]
    law = case.law()[[case.states.index(x) for x in some]]
    flow = law[:, None] * transitions(case, some)
    np.testing.assert_allclose(flow, flow.T, atol=1e-9, rtol=0)
    # From (0, 1, 2) to (0, 0, 0) two places change.
    assert (flow[1, 0] > 1e-6) == (positions > 1)


@pytest.fixture
def unmended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ratio of proposals left out of the acceptance."""
    right = LangevinTarget.acceptance_probability
    monkeypatch.setattr(
        LangevinTarget, "acceptance_probability", lambda self, now, new, ratio: right(self, now, new, 0 * ratio)
    )


@pytest.mark.usefixtures("unmended")
def test_a_dropped_hastings_term_breaks_detailed_balance() -> None:
    case = CASES["all places, far"]
    flow = case.law()[:, None] * transitions(case, case.states)
    assert np.abs(flow - flow.T).max() > 1e-3


def run(sampler: Langevin, task: Task, seed: int = 0) -> LangevinState:
    rng, state = RowRandom(seed, sampler.chains), sampler.init(task)
    while not state.is_finished:
        state, _ = evaluate_step(sampler, rng, state)
    return state


def far_off(case: Case, chains: int = 1000, sweeps: int = 45) -> float:
    """Total variation between chains and law, beyond its Monte Carlo floor.

    The floor is the mean of total variation, at most half the sum of sqrt(p (1 - p) / n), and what it exceeds it by
    with probability `ERROR_RATE` at most (bounded differences).
    """
    state = run(case.sampler(chains, sweeps), case.task)
    number = {x: n for n, x in enumerate(case.states)}
    counts = np.bincount([number[tuple(x)] for x in state.samples().sequences], minlength=len(number))
    law = case.law()
    floor = np.sqrt(law * (1 - law) / chains).sum() / 2 + np.sqrt(np.log(1 / ERROR_RATE) / 2 / chains)
    return float(np.abs(counts / chains - law).sum() / 2 - floor)


SHARP = Case(2, 1, np.inf, Target(temperature=0.8, power=2.0, potentials=Twos()))


def test_many_chains_follow_the_law() -> None:
    slowest = np.sort(np.abs(np.linalg.eigvals(transitions(SHARP, SHARP.states))))[-2]
    assert slowest**45 < 1e-3
    assert far_off(SHARP) < 0


@pytest.mark.usefixtures("unmended")
def test_many_chains_without_the_hastings_term_do_not() -> None:
    assert far_off(SHARP, sweeps=30) > 0


def test_acceptance_falls_and_hops_grow_with_the_step() -> None:
    figures = [
        run(replace(SHARP, step_size=step, positions=None).sampler(200, 20), SHARP.task).samples().diagnostics
        for step in (1e-3, 0.3, np.inf)
    ]
    acceptance, changed = ([figure[name] for figure in figures] for name in ("acceptance", "changed"))
    assert acceptance[0] > 0.99 and changed[0] < 0.01
    assert acceptance[0] > acceptance[1] > acceptance[2] > 0.05
    assert changed[1] > changed[0] and changed[2] > changed[0]


def test_a_chain_walks_until_it_is_allowed_and_stays_so() -> None:
    never = FunctionPotential(lambda answer: 0.0 if list(answer) == [3, 3, 3] else np.inf, "threes")
    case = Case(3, 1, np.inf, Target(potentials=never))
    drawn = run(case.sampler(12, 200), case.task).samples()
    found = drawn.log_weight == 0
    assert found.sum() > 2
    assert all((answer == [3, 3, 3]) == ok for answer, ok in zip(drawn.sequences, found, strict=True))
    assert found[drawn.selected_index] and drawn.diagnostics["forbidden"] == pytest.approx(1 - found.mean())


def test_nothing_allowed() -> None:
    case = Case(2, target=Target(potentials=FunctionPotential(lambda answer: np.inf, "nothing")))
    with pytest.raises(BadInput, match="after 4 sweeps every chain .* 'nothing'"):
        run(case.sampler(3, 4), case.task)


def test_the_record_adds_up_and_is_that_of_the_last_answers() -> None:
    target = Target(temperature=0.8, power=2.0, potentials=Twos())
    sampler = Langevin(target, chains=4, sweeps=8, positions=2)
    made = generate(tiny(), list(PROMPT), max_tokens=4, sampler=sampler, seed=3)
    assert len(made) == 4 and made.log_z is None
    assert made.weighted_samples.sequences == made.sequences
    for trace, sample in zip(made.traces, made.samples, strict=True):
        assert sample.finish_reason == ("stop" if sample.token_ids[-1] in STOP else "length")
        assert trace.logprob(0.8).sum() == pytest.approx(sample.logprob_at_temperature, abs=1e-5)
        assert trace.logprob(1.0).sum() == pytest.approx(sample.logprob, abs=1e-5)
    record = made.arrays.record
    assert record is not None
    change = (record["work/min_length"] - record["field_energy/min_length"]) / 0.8
    assert record["drawn_logprob"] - record["logprob"] == pytest.approx(change, abs=1e-6)
    # First answers and records, and nine looks at the prompt of two and all tokens but the last.
    assert made.tokens_spent == 4 * (4 + 4 + 9 * 5)
    assert made.weighted_samples.diagnostics["sweeps"] == 8


def test_what_is_written_down_stays_true_when_interrupted() -> None:
    sampler, task = CASES["one place"].sampler(3, 5), CASES["one place"].task
    rng, state = RowRandom(0, 3), sampler.init(task)
    held: list[list[int]] = [[]] * 3
    while not state.is_finished:
        state, move = evaluate_step(sampler, rng, state)
        if move.sources is not None and move.lengths is not None:
            held = [held[source][:length] for source, length in zip(move.sources, move.lengths, strict=True)]
        if move.step is not None:
            held = [[*row, int(token)] for row, token in zip(held, move.step.tokens, strict=True)]
        assert state.samples().sequences == held
    assert state.points is not None and held == state.points.tokens.tolist()


def test_the_same_seed_gives_the_same_answers() -> None:
    answers = [run(SHARP.sampler(8, 10), SHARP.task, seed).samples().sequences for seed in (0, 0, 1)]
    assert answers[0] == answers[1] != answers[2]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Langevin(chains=0), "`chains` must be at least 1, got 0"),
        (lambda: Langevin(sweeps=0), "`sweeps` must be at least 1, got 0"),
        (lambda: Langevin(burn=1.0), "`burn` must be"),
        (lambda: Langevin(step_size=0.0), "step size is 0.0"),
        (lambda: Langevin(step_size=np.nan), "step size is nan"),
        (lambda: Langevin(positions=0), "`positions` must be at least 1, got 0"),
        (lambda: Langevin(Target(fields=LogitBias({1: 1.0}))), "no fields, windows or proposals"),
        (lambda: Langevin(Target(window=top_k(2))), "no fields, windows or proposals"),
        (
            lambda: Langevin().init(Task(TableModel.random(0, 4, 3), [[]], 3)),
            "needs gradients, which table does not provide",
        ),
        (lambda: Langevin().init(Task(tiny(), [[0], [1]], 3)), "takes one prompt, got 2"),
    ],
)
def test_bad_input(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        make()


def test_a_token_gradient_of_the_wrong_shape_is_named() -> None:
    class Wrong(Twos):
        def token_gradient(self, context: Context) -> Floats:
            return np.full((1, SIZE), np.inf)

    with pytest.raises(BadInput, match=r"token gradient of potential 'twos' must be finite, of shape \(1, 2, 5\)"):
        placed(replace(CASES["one place"], target=Target(potentials=Wrong())), (0, 0))


@pytest.mark.weights
def test_on_the_default_model(smollm2: Any) -> None:
    """A session along the last answers finds what the passes with gradients found."""
    likes = FunctionPotential(lambda text: 0.0 if "e" in text else 3.0, "an e", decode=smollm2.decode)
    sampler = Langevin(Target(power=2.0, potentials=likes), chains=2, sweeps=4)
    state = run(sampler, Task(smollm2, [smollm2.encode("The sea is")], 4, smollm2.vocabulary.stop_token_ids))
    assert state.points is not None
    assert state.samples().logprob == pytest.approx(state.points.logprob, abs=1e-3)
    assert state.samples().tokens_spent == 2 * (4 + 4 + 5 * 6)
