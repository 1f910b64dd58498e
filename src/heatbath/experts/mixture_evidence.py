"""The log-evidence of each member of a mixture, log p(completion), updated token by token."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from heatbath.energy.context import Context
from heatbath.ensemble.arrays import to_numpy
from heatbath.errors import BadInput
from heatbath.experts.auxiliary_session import AuxiliarySession, normalize_energies

Floats = npt.NDArray[np.float64]
Key = tuple[int, ...]
_MAX_ENTRIES = 1 << 16
_MAX_DISTANCE = 0.05


class MixtureEvidence:
    """Log-probabilities of completions under each of M members, (B, M); the first is the host.

    A completion one token longer than a known one needs no extra forward pass; any other is scored from its prompt on.
    Only then the host's energies are also compared with those in the context, which must be the same.
    """

    def __init__(self, sessions: Sequence[AuxiliarySession], name: str) -> None:
        self._host, *self._others = sessions
        self._name = name
        self._log_evidence: OrderedDict[Key, Floats] = OrderedDict()
        self._last_rows: dict[Key, int] = {}
        self._logp_mbv: Floats = np.zeros((len(sessions), 0, 0))

    def update(self, context: Context) -> tuple[Floats, Floats]:
        """Return the log-probabilities of each completion so far (B, M) and of every next token (M, B, V), nats."""
        keys = _row_keys(context)
        unknown = [
            row for row, key in enumerate(keys) if not self._extend_from_last_step(key, context.prompt_lengths[row])
        ]
        if unknown:
            self._score_from_prompt(context.take(unknown))
        evidence = np.stack([self._log_evidence[key] for key in keys])
        own = -to_numpy(normalize_energies(context.energies)).astype(np.float64)
        others = [
            -to_numpy(normalize_energies(session.energies(context))).astype(np.float64) for session in self._others
        ]
        self._last_rows, self._logp_mbv = {key: row for row, key in enumerate(keys)}, np.stack([own, *others])
        return evidence, self._logp_mbv

    def _extend_from_last_step(self, key: Key, prompt: int) -> bool:
        """Return True if the evidence of a completion is known, if need be by adding a token to the last step."""
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
        """Score the completions of these rows under every member from their prompts on."""
        total = np.stack([_score_completions(session, context) for session in (self._host, *self._others)], axis=1)
        own = AuxiliarySession(self._host.model).energies(context)
        host_p, context_p = (np.exp(-to_numpy(normalize_energies(each))) for each in (own, context.energies))
        distance = 0.5 * np.abs(host_p - context_p).sum(-1)
        if (distance > _MAX_DISTANCE).any():
            row = int(np.argmax(distance))
            raise BadInput(
                f"field {self._name!r}: the energies so far of row {context.row_id(row)} are not those of its first "
                f"model (total variation {distance[row]:.2g}): put the host first, and this field before others."
            )
        for key, evidence in zip(_row_keys(context), total, strict=True):
            self._store_evidence(key, evidence)

    def _store_evidence(self, key: Key, evidence: Floats) -> None:
        self._log_evidence[key] = evidence
        if len(self._log_evidence) > _MAX_ENTRIES:
            self._log_evidence.popitem(last=False)


def _row_keys(context: Context) -> list[Key]:
    """Return keys of prompt length and tokens: the same tokens may have different prompts."""
    return [(length, *tokens) for tokens, length in zip(context.tokens, context.prompt_lengths, strict=True)]


def _score_completions(auxiliary: AuxiliarySession, context: Context) -> Floats:
    """Compute the log-probability of the completion of each row, (B,), pushing its tokens one by one."""
    rows = range(len(context))
    completions = [list(context.tokens[row][context.prompt_lengths[row] :]) for row in rows]
    total = np.zeros(len(completions))
    active = [row for row in rows if completions[row]]
    if not active:
        return total
    longest = max(map(len, completions))
    session = auxiliary.model.open([auxiliary.prompt(context, row) for row in active])
    for t in range(longest):
        longer = [index for index, row in enumerate(active) if len(completions[row]) > t]
        if len(longer) < len(active):
            session.fork(longer)
            active = [active[index] for index in longer]
        tokens = [completions[row][t] for row in active]
        total[active] -= to_numpy(normalize_energies(session.energies()))[range(len(active)), tokens]
        if t + 1 < longest:
            session.push(tokens)
    return total
