"""Windows with a threshold on the probability: min-p, epsilon, eta, p-less, top-n-sigma, exclude-top-choices."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from heatbath.decode.windows.base import BandFunction, Floats, Window, band_above, band_up_to
from heatbath.decode.windows.row_statistics import Band, RowStatistics
from heatbath.energy.spec import Spec
from heatbath.errors import BadInput


def min_p(p: float) -> Window:
    r"""Keep the states at least p times as probable as the most probable: $E - E_{min} \le -\ln p / \beta$.

    Raises `BadInput` unless 0 <= p <= 1. Source: Nguyen et al. 2024, arXiv:2407.01082.
    """
    if not 0 <= p <= 1:
        raise BadInput(f"`min_p` must be in [0, 1], got {p}.", param="min_p")

    def band(statistics: RowStatistics, uniform: Floats | None) -> Band:
        return band_up_to(statistics, np.inf) if p == 0 else band_above(statistics, np.log(p))

    return Window(f"min_p={p:g}", band)


def epsilon(eps: float) -> Window:
    r"""Keep the states of probability at least eps, and always the ground states: $E-E_{min}\le-\ln(\epsilon Z)/\beta$.

    Here Z is relative to the ground. Raises `BadInput` unless 0 < eps < 1. Source: Hewitt et al. 2022,
    arXiv:2210.15191.
    """
    return Window(
        f"epsilon={_validate_probability('epsilon', eps):g}",
        _build_threshold_band(lambda statistics: np.full(statistics.betas.shape, np.log(eps))),
    )


def eta(eps: float) -> Window:
    r"""Keep the states of probability at least $\min(\epsilon, \sqrt{\epsilon}\,e^{-S})$, and always the ground states.

    Raises `BadInput` unless 0 < eps < 1. Source: Hewitt et al. 2022, arXiv:2210.15191.
    """
    log_eps = np.log(_validate_probability("eta", eps))
    return Window(
        f"eta={eps:g}",
        _build_threshold_band(lambda statistics: np.minimum(log_eps, log_eps / 2 - _entropy(statistics))),
    )


def p_less() -> Window:
    r"""Keep the states at least as probable as two draws are to agree: $p_v\ge\sum_u p_u^2$.

    Source: Tan et al. 2025, arXiv:2509.23234.
    """
    return Window("p_less", _build_threshold_band(_log_purity))


def p_less_norm() -> Window:
    r"""Keep the states of probability at least $(n\sum_u p_u^2-1)/(n-1)$, n the present states.

    Keeps more than `p_less`. Source: Tan et al. 2025, arXiv:2509.23234, with forbidden states left out of n.
    """

    def log_threshold(statistics: RowStatistics) -> Floats:
        count = statistics.count_and_std[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            level = (count * np.exp(_log_purity(statistics)) - 1) / (count - 1)
            return np.where(level > 0, np.log(np.maximum(level, 0)), -np.inf)

    return Window("p_less_norm", _build_threshold_band(log_threshold))


def top_n_sigma(n: float) -> Window:
    r"""Keep the states at most n standard deviations of the energies above the ground: $E-E_{min}\le n\sigma$.

    The deviation is unweighted, over all present states, so the temperature has no effect. Raises `BadInput` for n
    below 0 or NaN; n = 0 keeps the ground states. Source: Tang et al. 2024, arXiv:2411.07641.
    """
    if not n >= 0:
        raise BadInput(f"`top_n_sigma` must be 0 or greater, got {n}.", param="top_n_sigma")

    def band(statistics: RowStatistics, uniform: Floats | None) -> Band:
        return band_up_to(statistics, n * statistics.count_and_std[1])

    return Window(f"top_n_sigma={n:g}", band)


def exclude_top_choices(threshold: float, probability: float) -> Window:
    """Remove, with the given probability, all states that reach `threshold` except the least probable of them.

    Nothing is removed where fewer than two energies reach it; ties with the least probable are kept. The band is
    bounded from below: [E_last - E_min, inf). Raises `BadInput` unless 0 < threshold <= 1 and 0 <= probability <= 1.
    Source: the XTC sampler of text-generation-webui and llama.cpp.
    """
    if not 0 < threshold <= 1:
        raise BadInput(f"the threshold of exclude_top_choices must be in (0, 1], got {threshold}.", param="threshold")
    if not 0 <= probability <= 1:
        raise BadInput(
            f"the probability of exclude_top_choices must be in [0, 1], got {probability}.", param="probability"
        )

    def band(statistics: RowStatistics, uniform: Floats | None) -> Band:
        height = statistics.probability_height(np.log(threshold) + np.log(statistics.sums[0]))
        last = statistics.highest_energy_within(statistics.ground + height)
        low = np.where(np.asarray(uniform) < probability, last, -np.inf)
        return Band(low, np.full(statistics.betas.shape, np.inf))

    return Window(f"exclude_top_choices={threshold:g},{probability:g}", band, is_random=True)


def _validate_probability(name: str, eps: float) -> float:
    if not 0 < eps < 1:
        raise BadInput(f"`{name}` must be in (0, 1), got {eps}.", param=name)
    return eps


def _build_threshold_band(log_threshold: Callable[[RowStatistics], Floats]) -> BandFunction:
    def band(statistics: RowStatistics, uniform: Floats | None) -> Band:
        return band_above(statistics, log_threshold(statistics) + np.log(statistics.sums[0]))

    return band


def _entropy(statistics: RowStatistics) -> Floats:
    z, moment = statistics.sums[:2]
    return np.asarray(np.log(z) + np.where(np.isinf(statistics.betas), 0.0, statistics.betas) * moment / z)


def _log_purity(statistics: RowStatistics) -> Floats:
    """Return ln of the sum of squared probabilities."""
    return np.asarray(np.log(statistics.sums[3]) - 2 * np.log(statistics.sums[0]))


SPECS = (
    Spec("min_p", "window", min_p, "0.05", order=30, takes_context=False),
    Spec("epsilon", "window", epsilon, "0.0003", order=50, takes_context=False, aliases=("epsilon_cutoff",)),
    Spec("eta", "window", eta, "0.0006", order=60, takes_context=False, aliases=("eta_cutoff",)),
    Spec("top_n_sigma", "window", top_n_sigma, "1.0", order=70, takes_context=False),
    Spec("p_less", "window", p_less, order=80, takes_context=False),
    Spec("p_less_norm", "window", p_less_norm, order=90, takes_context=False),
    Spec(
        "exclude_top_choices",
        "window",
        exclude_top_choices,
        '{"threshold": 0.1, "probability": 0.5}',
        order=110,
        takes_context=False,
    ),
)
