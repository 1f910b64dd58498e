"""Every random path of small runs, walked with its exact probability: no seed, no tolerance but rounding.

`Chance` stands in for a sampler's randomness and takes every branch of it in turn.
"""

import copy
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest

from heatbath.decode import Target, Task
from heatbath.decode.sequences import evaluate_step
from heatbath.errors import BadInput
from heatbath.models.base import Session
from heatbath.models.exact.base import log_probabilities
from heatbath.testing.sequence_sampler import log_masses


class Chance:
    """Takes the options a script names, the first ones beyond its end; notes how many there were."""

    def __init__(self, script):
        self.script, self.trail, self.probability = script, [], 1.0

    def pick(self, probabilities):
        options = np.flatnonzero(probabilities > 0)
        at = self.script[len(self.trail)] if len(self.trail) < len(self.script) else 0
        self.trail.append((at, len(options)))
        self.probability *= probabilities[options[at]]
        return int(options[at])

    def choose_index(self, probabilities):
        return self.pick(np.asarray(probabilities) / np.sum(probabilities))

    def draw_tokens(self, energies, betas):
        laws = [np.exp(log_probabilities(row, beta)) for row, beta in zip(energies, betas, strict=True)]
        return np.asarray([self.pick(law) for law in laws], np.int64)

    def uniform(self):
        raise AssertionError("a number cannot be walked: ask for a draw or a choice.")

    def for_rows(self, rows):
        return self

    def following(self):
        """The script of the next path, None after the last."""
        trail = list(self.trail)
        while trail:
            at, count = trail.pop()
            if at + 1 < count:
                return [*(past for past, _ in trail), at + 1]
        return None


def branches(act, state):
    """Every (probability, state after) of a step; None after one that found everything forbidden."""
    script = []
    while script is not None:
        chance = Chance(script)
        try:
            after = act(chance, copied(state))
        except BadInput as error:
            assert "forbidden" in str(error)
            after = None
        yield chance.probability, after
        script = chance.following()


def copied(value):
    """A state whose session is its own; what is not changed in place is shared."""
    if isinstance(value, Session):
        return copy.deepcopy(value, {id(value._model): value._model})
    if is_dataclass(value) and not isinstance(value, Task | Target):
        return replace(value, **{part.name: copied(getattr(value, part.name)) for part in fields(value)})
    return value


def key(value):
    """What tells states apart that will go different ways."""
    if isinstance(value, np.ndarray):
        return (value.shape, np.round(value + 0.0, 11).tobytes())
    if isinstance(value, list | tuple):
        return tuple(map(key, value))
    if isinstance(value, Session):
        return tuple(map(tuple, value.tokens))
    if is_dataclass(value) and not isinstance(value, Task | Target):
        return tuple(key(getattr(value, part.name)) for part in fields(value))
    return value if isinstance(value, int | float | bool | None) else None


def merged(pairs):
    """(probability, state) with equal states put together."""
    found = {}
    for probability, state in pairs:
        name = key(state)
        found[name] = (found.get(name, (0.0,))[0] + probability, state)
    return list(found.values())


def ends(sampler, model):
    """Every (probability, state) a run can end in; None where it found everything forbidden."""
    now = [(1.0, sampler.init(Task(model, [[]], model.tree.length, model.vocabulary.stop_token_ids)))]
    over = []
    while now:
        after = []
        for probability, state in now:
            for chance, following in branches(lambda rng, at: evaluate_step(sampler, rng, at)[0], state):
                stop = following is None or following.is_finished
                (over if stop else after).append((probability * chance, following))
        now = merged(after)
    assert sum(probability for probability, _ in over) == pytest.approx(1, abs=1e-12)
    return over


def assert_proper(sampler, target, model, tolerance=1e-10):
    """E[mean weight] = Z, and for the indicator f of every sequence E[mean w f] = its mass. Returns E[1 / Z-hat]."""
    number = {sequence: n for n, sequence in enumerate(model.sequences())}
    masses, found = np.exp(log_masses(target, model)), np.zeros(len(number))
    given = 0.0
    for probability, state in ends(sampler, model):
        if state is None:
            continue
        samples = state.samples()
        weights = np.exp(samples.log_weight) / len(samples.sequences)
        for answer, weight in zip(samples.sequences, weights, strict=True):
            found[number[tuple(answer)]] += probability * weight
        given += probability * np.exp(samples.log_z.value)
    assert found == pytest.approx(masses, rel=tolerance, abs=tolerance)
    assert found.sum() == pytest.approx(masses.sum(), rel=tolerance)
    assert given == pytest.approx(masses.sum(), rel=tolerance)
