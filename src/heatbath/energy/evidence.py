"""How probable each member of a mixture makes an answer: minus its free energy, token by token."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from heatbath.energy.base import Context
from heatbath.energy.follow import Follower, normalised
from heatbath.ensemble.arrays import to_numpy
from heatbath.errors import BadInput

Floats = npt.NDArray[np.float64]
Key = tuple[int, ...]
_KEPT = 1 << 16
_FAR = 0.05


class Evidence:
    """Log-probabilities of answers under each of M members, (B, M); the first is the host.

    An answer one token longer than a known one costs nothing; any other is scored from its prompt on. That is also
    when the host's energies are compared with those in the context, which must be its own.
    """

    def __init__(self, followers: Sequence[Follower], name: str) -> None:
        self._host, *self._others = followers
        self._name = name
        self._known: OrderedDict[Key, Floats] = OrderedDict()
        self._last: dict[Key, int] = {}
        self._logp_mbv: Floats = np.zeros((len(followers), 0, 0))

    def step(self, context: Context) -> tuple[Floats, Floats]:
        """Log-probability of each answer so far (B, M), and of every next token (M, B, V), nats."""
        keys = _keys(context)
        cold = [row for row, key in enumerate(keys) if not self._derived(key, context.prompt_lengths[row])]
        if cold:
            self._score(context.take(cold))
        evidence = np.stack([self._known[key] for key in keys])
        own = -to_numpy(normalised(context.energies)).astype(np.float64)
        others = [-to_numpy(normalised(follower.energies(context))).astype(np.float64) for follower in self._others]
        self._last, self._logp_mbv = {key: row for row, key in enumerate(keys)}, np.stack([own, *others])
        return evidence, self._logp_mbv

    def _derived(self, key: Key, prompt: int) -> bool:
        """Whether an answer is known, or was made known from the last step, whose next token it is."""
        before = key[:-1]
        if key not in self._known and before in self._last and before in self._known and len(before) > prompt:
            self._keep(key, self._known[before] + self._logp_mbv[:, self._last[before], key[-1]])
        return key in self._known

    def _score(self, context: Context) -> None:
        """Members walk the answers of these rows from their prompts on."""
        total = np.stack([_walked(follower, context) for follower in (self._host, *self._others)], axis=1)
        own = Follower(self._host.model).energies(context)
        own, given = (np.exp(-to_numpy(normalised(energies))) for energies in (own, context.energies))
        distance = 0.5 * np.abs(own - given).sum(-1)
        if (distance > _FAR).any():
            row = int(np.argmax(distance))
            raise BadInput(
                f"field {self._name!r}: the energies so far of row {context.number(row)} are not those of its first "
                f"model (total variation {distance[row]:.2g}): give the host first, and this field before others."
            )
        for key, evidence in zip(_keys(context), total, strict=True):
            self._keep(key, evidence)

    def _keep(self, key: Key, evidence: Floats) -> None:
        self._known[key] = evidence
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)


def _keys(context: Context) -> list[Key]:
    """The length of each row's prompt, then its tokens: the same tokens may have another prompt."""
    return [(length, *tokens) for tokens, length in zip(context.tokens, context.prompt_lengths, strict=True)]


def _walked(follower: Follower, context: Context) -> Floats:
    """Log-probability of each row's answer, (B,), its tokens pushed one by one."""
    rows = range(len(context))
    answers = [list(context.tokens[row][context.prompt_lengths[row] :]) for row in rows]
    total = np.zeros(len(answers))
    alive = [row for row in rows if answers[row]]
    if not alive:
        return total
    session = follower.model.open([follower.prompt(context, row) for row in alive])
    for t in range(max(map(len, answers))):
        stay = [place for place, row in enumerate(alive) if len(answers[row]) > t]
        if len(stay) < len(alive):
            session.fork(stay)
            alive = [alive[place] for place in stay]
        tokens = [answers[row][t] for row in alive]
        total[alive] -= to_numpy(normalised(session.energies()))[range(len(alive)), tokens]
        if t + 1 < max(map(len, answers)):
            session.push(tokens)
    return total
