"""Answers of small exact models, and their signals computed directly from the energies of every token."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import logsumexp

from heatbath.record import Provenance, Record, Trace, observe, observe_state
from heatbath.trust.signals import Evidence

ORIGIN = Provenance("table", "sha256:0", "0")


@dataclass(frozen=True)
class Answer:
    """Energies (n, V) of the contexts of an answer, and its tokens (n,)."""

    energies: Any
    tokens: Any

    def trace(self, temperature: float = 1.0, *, nodes: bool = True) -> Trace:
        with np.errstate(divide="ignore"):
            beta = float(1.0 / np.float64(temperature))
        record = (observe if nodes else observe_state)(self.energies, self.tokens, beta=beta)
        return build_trace(record, self.tokens)

    def evidence(self, temperature: float = 1.0, **more: Any) -> Evidence:
        return Evidence(trace=self.trace(temperature), **more)

    def shift(self, offsets: Any) -> Answer:
        return replace(self, energies=self.energies + np.asarray(offsets)[:, None])

    def logp(self, temperature: float = 1.0) -> Any:
        scaled = -self.energies / temperature
        return scaled - logsumexp(scaled, -1, keepdims=True)

    @property
    def token_logprobs(self) -> Any:
        return self.logp()[np.arange(len(self.tokens)), self.tokens]

    def top(self, k: int) -> Any:
        return -np.sort(-self.logp(), axis=-1)[:, :k]

    def token_signals(self) -> dict[str, Any]:
        """Each signal at each token, by definition."""
        logp, rows = self.logp(), np.arange(len(self.tokens))
        p = np.exp(logp)
        safe = np.where(p > 0, logp, 0.0)
        order = -np.sort(-p, axis=-1)
        entropy = -(p * safe).sum(-1)
        log_z = logsumexp(-self.energies, -1)
        energy = self.energies[rows, self.tokens]
        return {
            "logprob": logp[rows, self.tokens],
            "logprob@0.7": self.logp(0.7)[rows, self.tokens],
            "excess_energy": energy - self.energies.min(-1),
            "entropy": entropy,
            "entropy@0.7": -(np.exp(self.logp(0.7)) * self.logp(0.7)).sum(-1),
            "heat_capacity": (p * safe**2).sum(-1) - entropy**2,
            "renyi_entropy@0.5": 2.0 * np.log(np.sqrt(p).sum(-1)),
            "renyi_entropy@2": -np.log((p**2).sum(-1)),
            "renyi_entropy@inf": -np.log(order[:, 0]),
            "renyi_entropy@0": np.log((p > 0).sum(-1)),
            "p_max": order[:, 0],
            "p_max@0.7": np.exp(self.logp(0.7)).max(-1),
            "margin": order[:, 0] - order[:, 1],
            "self_certainty": -np.log(p.shape[1]) - logp.mean(-1),
            "mode_count": ((p / order[:, :1]) ** 10).sum(-1),
            "mode_mass": order[:, 0] * ((p / order[:, :1]) ** 10).sum(-1),
            "log_z": log_z,
            "log_z_centred": -logp.mean(-1),
            "spilled_energy": (energy[:-1] + log_z[1:]),
        }


AGGREGATES = {
    "sum": np.sum,
    "mean": np.mean,
    "min": np.min,
    "max": np.max,
    "last": lambda values: values[-1],
}


def build_trace(record: Record, tokens: Any) -> Trace:
    return Trace(np.asarray(tokens), np.arange(len(tokens)), record, ORIGIN, lambda token: b"%d " % token)


def random_answer(seed: int, *, length: int = 5, size: int = 9, scale: float = 2.0) -> Answer:
    rng = np.random.default_rng(seed)
    return Answer(rng.normal(0.0, scale, (length, size)), rng.integers(0, size, length))
