"""What the records of an answer add up to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from heatbath.engine.base import Token
from heatbath.serve.api.logprobs import Speller

_WORK = "work/"
_KEPT = "kept_mass/"
_ONE_BY_ONE = ("logprob", "entropy", "heat_capacity", "temperature", "p_max")


def summary(tokens: Sequence[Token]) -> dict[str, Any]:
    """Means of surprisal, entropy, heat capacity and log Z, and sums of log-probability and work, in nats.

    Surprisal, entropy, heat capacity and log Z are of the model's own ensemble at the temperature used; log Z is
    relative to the ground state, so that it does not depend on the gauge. What was not recorded is left out.
    """
    records = [token.record for token in tokens if token.record is not None]
    found: dict[str, Any] = {"n": len(tokens), "logprob": sum(token.logprob or 0.0 for token in tokens)}
    if not records:
        return found
    columns = {name: list(_column(records, name)) for name in _ONE_BY_ONE}
    found["logprob_at_temperature"] = sum(columns["logprob"])
    found["surprisal"] = _mean([-value for value in columns["logprob"]])
    found["entropy"] = _mean(columns["entropy"])
    found["heat_capacity"] = _mean(columns["heat_capacity"])
    found["log_z"] = _mean([-math.log(value) for value in columns["p_max"] if value > 0])
    found["temperature"] = (
        [min(columns["temperature"]), max(columns["temperature"])] if columns["temperature"] else None
    )
    found["work"] = _each(records, _WORK, sum)
    found["kept_mass"] = _each(records, _KEPT, _mean)
    return found


def columns(tokens: Sequence[Token], spell: Speller) -> dict[str, list[Any]]:
    """The records of tokens as columns: their texts, ids, log-probabilities at T = 1, and each column of the record."""
    records = [token.record or {} for token in tokens]
    found: dict[str, list[Any]] = {
        "text": [spell.text(token.id) for token in tokens],
        "token_id": [token.id for token in tokens],
        "logprob_1": [token.logprob for token in tokens],
    }
    return found | {name: [record.get(name) for record in records] for name in dict.fromkeys(chain(*records))}


def _column(records: Sequence[Mapping[str, Any]], name: str) -> Iterator[float]:
    for record in records:
        value = record.get(name)
        if value is not None and math.isfinite(value):
            yield value


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _each(records: Sequence[Mapping[str, Any]], prefix: str, fold: Callable[[list[float]], Any]) -> dict[str, Any]:
    names = [name for name in dict.fromkeys(chain(*records)) if name.startswith(prefix)]
    return {name.removeprefix(prefix): fold(list(_column(records, name))) for name in names}
