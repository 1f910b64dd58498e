"""What goes wrong on the way is told in one sentence, with the token and the name at fault; what there is comes too."""

import numpy as np
import pytest

import heatbath as hb
from heatbath.decode import SMC, Anneal, Beam, BestOf, Lookahead, Metropolis, Target, Tempering, Vote
from heatbath.energy import Field, ForbiddenTokens, Potential
from heatbath.engine import Generation
from heatbath.errors import BadInput, HeatbathError, NotANumber
from heatbath.models import TableModel

MODEL = TableModel.random(41, 3, 4, stop_token_ids=(2,), scale=0.5)
WEIGHING = {
    "best-of": {"n": 6},
    "smc": {"particles": 4, "replicates": 2},
    "power": {"alpha": 2.0, "particles": 4},
    "power-metropolis": {"alpha": 2.0, "method": "metropolis", "chains": 3, "sweeps": 4},
    "power-lookahead": {"alpha": 2.0, "method": "lookahead", "n": 4, "candidates": 2, "rollouts": 3, "block": 2},
    "anneal": {"particles": 6, "ladder": 2},
    "tempering": {"chains": 2, "ladder": 2, "sweeps": 4},
}


def generated(name, **more):
    options = {"max_tokens": 4, "sampler": name.split("-m")[0].split("-l")[0], **WEIGHING.get(name, {}), **more}
    return hb.generate(MODEL, [], **options)


def told(error):
    """One sentence or two, no traceback's worth."""
    said = str(error)
    assert said[-1] in ".:…" or "\n" not in said
    assert len(said) < 400 and "\n" not in said
    return said


class Odd(Potential):
    """Does `what` once answers have `after` tokens or more."""

    name = "odd"
    scores_prefixes = True

    def __init__(self, what, after=0):
        self.what, self.after = what, after

    def __call__(self, context):
        if max(map(len, context.tokens)) < self.after:
            return np.zeros(len(context))
        return self.what(context)


def raising(context):
    raise ZeroDivisionError("no words")


FAULTS = {
    "raises": (raising, BadInput, "ZeroDivisionError: no words"),
    "nan": (lambda context: np.full(len(context), np.nan), NotANumber, "NaN"),
    "minus": (lambda context: np.full(len(context), -np.inf), BadInput, "-inf"),
    "shape": (lambda context: np.zeros((len(context), 2)), BadInput, "shape"),
}


@pytest.mark.parametrize("name", WEIGHING)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_potential_at_fault_is_named_with_the_token(name, fault):
    what, kind, said = FAULTS[fault]
    with pytest.raises(kind, match="'odd'") as caught:
        generated(name, potentials=Odd(what))
    assert said in told(caught.value) and "at token " in str(caught.value)
    assert isinstance(caught.value.partial, Generation)


@pytest.mark.parametrize("name", ["smc", "power"])
def test_what_was_drawn_before_comes_with_the_error(name):
    with pytest.raises(BadInput, match="at token 3") as caught:
        generated(name, potentials=Odd(raising, after=3), seed=3)
    partial = caught.value.partial
    drawn = sum(map(len, partial.sequences))
    assert drawn > 0 and set(partial.finish_reasons) <= {"stop", "length", "interrupted"}
    assert partial.texts and len(partial.samples) == len(partial)


class Bad(Field):
    """Energies that are of no use after two tokens."""

    name = "bad"

    def __init__(self, energies):
        self.energies = energies

    def __call__(self, context):
        late = max(map(len, context.tokens)) >= 2
        return np.asarray(self.energies) if late else np.zeros(context.vocab_size)


@pytest.mark.parametrize("name", [*WEIGHING, "ancestral", "beam", "vote", "greedy"])
def test_a_field_at_fault_is_named(name):
    for energies, kind in (([np.nan, 0, 0], NotANumber), (np.zeros(5), BadInput), ([np.inf] * 3, BadInput)):
        if name in SPARING and kind is BadInput and len(energies) == 3:
            continue
        with pytest.raises(kind, match="'bad'") as caught:
            generated(name, fields=[ForbiddenTokens([2]), Bad(energies)])
        told(caught.value)
        assert isinstance(caught.value.partial, Generation)


SPARING = [name for name in WEIGHING if name != "best-of"]
"""These let a row that has nothing left go on with weight 0: others may know a way."""


@pytest.mark.parametrize("name", [*WEIGHING, "ancestral", "beam", "vote", "greedy"])
def test_fields_that_leave_nothing_are_named_at_the_first_token(name):
    with pytest.raises(BadInput, match="'forbid-2'") as caught:
        generated(name, fields=[ForbiddenTokens([0, 1]), ForbiddenTokens([2])])
    told(caught.value)


class Never(Potential):
    """No answer is allowed; prefixes are not looked at."""

    name = "never"

    def __call__(self, context):
        return np.full(len(context), np.inf)


@pytest.mark.parametrize("name", ["smc", "power", "anneal", "power-lookahead"])
def test_a_population_that_is_dead_says_where_and_of_what(name):
    with pytest.raises(BadInput, match="forbidden") as caught:
        generated(name, potentials=Never())
    assert "'never'" in told(caught.value)
    assert isinstance(caught.value.partial, Generation)


@pytest.mark.parametrize("name", ["power-metropolis", "tempering"])
def test_chains_that_never_met_an_allowed_answer_say_so(name):
    with pytest.raises(BadInput, match="'never'") as caught:
        generated(name, potentials=Never())
    told(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Target(power=-1.0),
        lambda: Target(power=float("nan")),
        lambda: Target(temperature=0.0),
        lambda: Target(temperature=-1.0),
        lambda: SMC(particles=0),
        lambda: SMC(replicates=0),
        lambda: SMC(threshold=1.5),
        lambda: SMC(threshold=float("nan")),
        lambda: SMC(resampling="best"),
        lambda: SMC(ladder=-1),
        lambda: Anneal(particles=0),
        lambda: Anneal(ladder=0),
        lambda: Anneal(ladder=[0.0, 0.5]),
        lambda: Anneal(ladder=[0.0, 0.7, 0.3, 1.0]),
        lambda: Anneal(ladder=[0.0, float("nan"), 1.0]),
        lambda: Metropolis(chains=0),
        lambda: Metropolis(sweeps=0),
        lambda: Metropolis(burn=1.0),
        lambda: Metropolis(block=0),
        lambda: Tempering(chains=0),
        lambda: Tempering(burn=-0.1),
        lambda: Lookahead(rollouts=0),
        lambda: Beam(width=0),
        lambda: Beam(width=4, groups=3),
        lambda: Beam(temperature=0.0),
        lambda: Beam(diversity=-1.0),
    ],
)
def test_settings_that_make_no_sense_are_refused(make):
    with pytest.raises(BadInput) as caught:
        make()
    told(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("power", {"alpha": -1.0}, r"`alpha` must be from 0 to 1e\+09, got -1.0"),
        ("tempering", {"alpha": 1.7e153}, r"`alpha` must be from 0 to 1e\+09, got 1.7e\+153"),
        ("smc", {"particles": 0}, "`particles` must be at least 1, got 0"),
        ("best-of", {"n": 0}, "n is 0"),
        ("vote", {"n": 0}, "n is 0"),
        ("power", {"method": "guess"}, "guess"),
        ("smc", {"particle": 3}, "particle"),
        ("beam", {"potentials": Never()}, "potentials"),
    ],
)
def test_settings_are_refused_by_name(name, options, said):
    with pytest.raises(BadInput, match=said) as caught:
        generated(name, **options)
    told(caught.value)


@pytest.mark.parametrize("make", [SMC, Anneal, Metropolis, Tempering, Lookahead, Beam, BestOf, Vote])
def test_samplers_of_whole_answers_take_one_prompt(make):
    with pytest.raises(BadInput, match="one prompt"):
        hb.generate(MODEL, [[], []], max_tokens=3, sampler=make())


def test_a_pinned_answer_that_is_not_whole_or_not_allowed_is_refused():
    with pytest.raises(BadInput, match="pinned sequence of 2 tokens is not finished"):
        hb.generate(MODEL, [], max_tokens=4, sampler=SMC(pinned_sequence=[0, 1]))
    with pytest.raises(HeatbathError, match="retained particle|forbidden"):
        sampler = SMC(
            Target(fields=ForbiddenTokens([1])), particles=3, replicates=1, threshold=1.0, pinned_sequence=[1, 0, 0, 0]
        )
        hb.generate(MODEL, [], max_tokens=4, sampler=sampler)
