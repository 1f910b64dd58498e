"""How probable each member of a mixture makes an answer: minus its free energy, token by token."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from heatbath.energy.base import Context
from heatbath.ensemble.arrays import to_numpy
from heatbath.errors import BadInput
from heatbath.experts.auxiliary_session import AuxiliarySession, normalize_energies

Floats = npt.NDArray[np.float64]
Key = tuple[int, ...]
_MAX_ENTRIES = 1 << 16
_MAX_DISTANCE = 0.05


class MixtureEvidence:
    """Log-probabilities of answers under each of M members, (B, M); the first is the host.

    An answer one token longer than a known one costs nothing; any other is scored from its prompt on. That is also
    when the host's energies are compared with those in the context, which must be its own.
    """

    def __init__(self, sessions: Sequence[AuxiliarySession], name: str) -> None:
        self._host, *self._others = sessions
        self._name = name
        self._log_evidence: OrderedDict[Key, Floats] = OrderedDict()
        self._last_rows: dict[Key, int] = {}
        self._logp_mbv: Floats = np.zeros((len(sessions), 0, 0))

    def update(self, context: Context) -> tuple[Floats, Floats]:
        """Log-probability of each answer so far (B, M), and of every next token (M, B, V), nats."""
        keys = _row_keys(context)
        cold = [
            row for row, key in enumerate(keys) if not self._extend_from_last_step(key, context.prompt_lengths[row])
        ]
        if cold:
            self._score_from_prompt(context.take(cold))
        evidence = np.stack([self._log_evidence[key] for key in keys])
        own = -to_numpy(normalize_energies(context.energies)).astype(np.float64)
        others = [
            -to_numpy(normalize_energies(follower.energies(context))).astype(np.float64) for follower in self._others
        ]
        self._last_rows, self._logp_mbv = {key: row for row, key in enumerate(keys)}, np.stack([own, *others])
        return evidence, self._logp_mbv

    def _extend_from_last_step(self, key: Key, prompt: int) -> bool:
        """Whether an answer is known, or was made known from the last step, whose next token it is."""
        before = key[:-1]
        if (
            key not in self._log_evidence
            and before in self._last_rows
            and before in self._log_evidence
            and len(before) > prompt
        ):
            self._store_evidence(key, self._log_evidence[before] + self._logp_mbv[:, self._last_rows[before], key[-1]])
        return key in self._log_evidence

    def _score_from_prompt(self, context: Context) -> None:
        """Members walk the answers of these rows from their prompts on."""
        total = np.stack([_score_completions(follower, context) for follower in (self._host, *self._others)], axis=1)
        own = AuxiliarySession(self._host.model).energies(context)
        own, given = (np.exp(-to_numpy(normalize_energies(energies))) for energies in (own, context.energies))
        distance = 0.5 * np.abs(own - given).sum(-1)
        if (distance > _MAX_DISTANCE).any():
            row = int(np.argmax(distance))
            raise BadInput(
                f"field {self._name!r}: the energies so far of row {context.row_id(row)} are not those of its first "
                f"model (total variation {distance[row]:.2g}): give the host first, and this field before others."
            )
        for key, evidence in zip(_row_keys(context), total, strict=True):
            self._store_evidence(key, evidence)

    def _store_evidence(self, key: Key, evidence: Floats) -> None:
        self._log_evidence[key] = evidence
        if len(self._log_evidence) > _MAX_ENTRIES:
            self._log_evidence.popitem(last=False)


def _row_keys(context: Context) -> list[Key]:
    """The length of each row's prompt, then its tokens: the same tokens may have another prompt."""
    return [(length, *tokens) for tokens, length in zip(context.tokens, context.prompt_lengths, strict=True)]


def _score_completions(auxiliary: AuxiliarySession, context: Context) -> Floats:
    """Log-probability of each row's answer, (B,), its tokens pushed one by one."""
    rows = range(len(context))
    answers = [list(context.tokens[row][context.prompt_lengths[row] :]) for row in rows]
    total = np.zeros(len(answers))
    alive = [row for row in rows if answers[row]]
    if not alive:
        return total
    session = auxiliary.model.open([auxiliary.prompt(context, row) for row in alive])
    for t in range(max(map(len, answers))):
        stay = [place for place, row in enumerate(alive) if len(answers[row]) > t]
        if len(stay) < len(alive):
            session.fork(stay)
            alive = [alive[place] for place in stay]
        tokens = [answers[row][t] for row in alive]
        total[alive] -= to_numpy(normalize_energies(session.energies()))[range(len(alive)), tokens]
        if t + 1 < max(map(len, answers)):
            session.push(tokens)
    return total
