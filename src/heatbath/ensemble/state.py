r"""Thermodynamics at one inverse temperature: $p_v=e^{-\beta E_v}/Z$, $Z=\sum_v e^{-\beta E_v}$.

Energies are in nats, `+inf` for an absent state. beta = 0 (uniform over the present states) and beta = inf (only the
ground states) are ordinary values. $\log Z$ and $U$ depend on the zero of energy; $S$, $C$ and probabilities do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.ensemble import reductions
from heatbath.ensemble.row_layout import EnergyRows, as_array, as_rows
from heatbath.errors import BadInput
from heatbath.short_repr import short_repr

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class State:
    r"""Thermodynamics of ensembles, float64 arrays (…,) in the library of the energies; nats.

    `mean_energy` $U=\langle E\rangle$, `variance` $\mathrm{Var}E$, `entropy` $S=\log Z+\beta U$, `heat_capacity`
    $C=\beta^2\mathrm{Var}E$, `purity` $\sum_v p_v^2$. At beta = inf `log_z` is the limit of $\log Z$: ±inf, or the
    log of the number of ground states if their energy is 0. `energy`, `logprob` and `rank` (1 = most probable;
    1 + the number of states with strictly lower energy) belong to the states `index` and are None without an index.
    """

    beta: Any
    log_z: Any
    ground: Any
    mean_energy: Any
    variance: Any
    entropy: Any
    heat_capacity: Any
    p_max: Any
    purity: Any
    energy: Any = None
    logprob: Any = None
    rank: Any = None

    __repr__ = short_repr


def state(energies: Any, beta: Any = 1.0, *, index: Any = None) -> State:
    """Compute the thermodynamics of `energies` (…, V) at `beta`, one number or (…,), and of the states `index` (…,).

    Energies are NumPy arrays or torch tensors in float16, bfloat16, float32 or float64. Raises `NotANumber` naming the
    row with a NaN; `BadInput` for -inf, an ensemble without states, a beta below 0 or NaN, an index out of range.
    """
    ensembles = as_rows(energies)
    betas = validate_betas(ensembles.broadcast(beta, "beta"))
    relative = reductions.sums(ensembles, betas[:, None])[:, 0]
    selected = None if index is None else select_states(ensembles, index)
    return build_state(ensembles, betas, relative, selected)


def validate_betas(betas: Floats) -> Floats:
    """Return the betas. Raises `BadInput` naming the first that is negative or NaN."""
    bad = np.flatnonzero(~(betas >= 0.0))
    if bad.size:
        value = betas.reshape(-1)[bad[0]]
        raise BadInput(f"`beta` must be from 0 to inf, got {value:g}.")
    return betas


def select_states(ensembles: EnergyRows, index: Any) -> Floats:
    """Return the energy of the states `index` (…,) and the number of states below each, (2, N)."""
    indices = as_array(index)
    if indices.dtype.kind not in "iu":
        raise BadInput(f"`index` must be integers, got type {indices.dtype}.")
    numbers = ensembles.broadcast(indices, "index").astype(np.int64)
    bad = np.flatnonzero((numbers < 0) | (numbers >= ensembles.num_states))
    if bad.size:
        raise BadInput(
            f"`index` must be from 0 to {ensembles.num_states - 1}, "
            f"got {numbers[bad[0]]} for {ensembles.describe_row(int(bad[0]))}."
        )
    return reductions.select_states(ensembles, numbers)


def build_state(ensembles: EnergyRows, betas: Floats, relative: Floats, selected: Floats | None = None) -> State:
    """Build a `State` from sums relative to the ground (5, …, N) at betas that broadcast against (…, N)."""
    ground, z, m1, m2, q = relative
    betas = np.broadcast_to(betas, z.shape)
    finite = np.where(np.isinf(betas), 0.0, betas)
    log_z = np.log(z)
    mean = m1 / z
    variance = np.maximum(m2 / z - mean * mean, 0.0)
    columns = {
        "beta": betas,
        "log_z": log_z - scale_energies(betas, ground),
        "ground": ground,
        "mean_energy": ground + mean,
        "variance": variance,
        "entropy": log_z + finite * mean,
        "heat_capacity": (finite * np.sqrt(variance)) ** 2,
        "p_max": 1.0 / z,
        "purity": q / (z * z),
    }
    if selected is not None:
        energy, below = selected
        logprob = -scale_energies(betas, energy - ground) - log_z
        columns |= {"energy": energy, "logprob": logprob, "rank": below.astype(np.int64) + 1}
    return State(**{name: ensembles.restore(values) for name, values in columns.items()})


def scale_energies(betas: Floats, energies: Floats) -> Floats:
    """Return beta E, with 0 for E = 0 at beta = inf and +inf for an absent state at any beta, 0 included."""
    with np.errstate(invalid="ignore", over="ignore"):
        product = betas * energies
    product = np.where(energies == 0.0, 0.0, product)
    return np.where(np.isposinf(energies), np.inf, product)
