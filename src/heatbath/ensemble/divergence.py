"""Kullback-Leibler divergence between two ensembles over the same states."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.ensemble.arrays import to_numpy
from heatbath.ensemble.state import validate_betas

Floats = npt.NDArray[np.float64]


def divergence(energies: Any, reference: Any, beta: Any = 1.0) -> Floats:
    r"""Compute $D(p\,\|\,q)=\sum_v p_v \ln(p_v/q_v)$, (…,) nats, of `energies` from `reference`, (…, V), at `beta`.

    +inf where a possible state is absent from the reference. Raises `BadInput` for a beta below 0 or NaN.
    """
    betas = validate_betas(np.broadcast_to(np.asarray(beta, np.float64), tuple(energies.shape[:-1])))
    if isinstance(energies, np.ndarray):
        log_p, log_q = (
            _numpy_log_probabilities(energies, betas),
            _numpy_log_probabilities(np.asarray(to_numpy(reference)), betas),
        )
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(log_p == -np.inf, 0.0, np.exp(log_p) * (log_p - log_q)).sum(-1))
    log_p, log_q = _torch_log_probabilities(energies, betas), _torch_log_probabilities(reference, betas)
    terms = (log_p.exp() * (log_p - log_q)).masked_fill_(log_p == -np.inf, 0.0)
    return to_numpy(terms.sum(-1)).astype(np.float64)


def _numpy_log_probabilities(energies: npt.NDArray[Any], betas: Floats) -> Floats:
    values = energies.astype(np.float64)
    excess = values - values.min(-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        exponent = np.where(excess == 0, 0.0, -betas[..., None] * excess)
    exponent = np.where(np.isinf(excess), -np.inf, exponent)
    return np.asarray(exponent - np.log(np.exp(exponent).sum(-1, keepdims=True)))


def _torch_log_probabilities(energies: Any, betas: Floats) -> Any:
    values = energies.double()
    excess = values - values.min(-1, keepdim=True).values
    exponent = -values.new_tensor(betas)[..., None] * excess
    exponent = exponent.masked_fill_(excess == 0, 0.0).masked_fill_(excess == np.inf, -np.inf)
    return exponent.log_softmax(-1)
