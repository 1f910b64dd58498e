r"""Statistics of tag sequences as spins on a chain: correlation, susceptibility, spectrum, relaxation.

Source: Nakaishi et al. 2024, arXiv 2406.05335.

Y_nt (n, N) holds an integer tag for each of N positions in n independent sequences; delta_a is the indicator of tag a.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Tags = NDArray[np.int64]

MIN_PROMINENCE = 0.1
"""Minimal prominence of a spectral peak, as in the paper."""
# Far below the noise of a coefficient, far above rounding errors.
_RIDGE = 1e-3


def indicators(Y_nt: Tags, tags: int) -> Floats:
    """Indicators delta_a(y_nt) as floats, (a, n, N)."""
    return np.asarray(np.arange(tags)[:, None, None] == Y_nt, dtype=np.float64)


def tag_means(Y_nt: Tags, tags: int, sizes: tuple[int, ...]) -> Floats:
    r"""$m_a = \frac1N \sum_t \delta_a(y_t)$ over the first N positions, for each N of `sizes`, (s, n, a)."""
    running = indicators(Y_nt, tags).cumsum(2)
    return np.stack([running[:, :, n - 1].T / n for n in sizes])


def susceptibility(m_na: Floats, size: int | Floats) -> Floats:
    r"""$\tau(N) = N \sum_a \mathrm{Var}\, m_a$, the trace of the integrated correlation: (...) of m (..., n, a)."""
    return np.asarray(size * m_na.var(axis=-2, ddof=1).sum(-1))


def correlation(Y_nt: Tags, tags: int, lags: Tags) -> Floats:
    r"""$C(\Delta) = \sum_a E[\delta_a(y_t)\,\delta_a(y_{t+\Delta})] - E[\cdot]E[\cdot]$ in the second half, (lags,)."""
    X = indicators(Y_nt, tags)
    X -= X.mean(axis=1, keepdims=True)
    start, n = Y_nt.shape[1] // 2, Y_nt.shape[0]
    # The second half, since the beginning of a text is far from stationary and would count as order.
    return np.array([(X[:, :, start - d : -d or None] * X[:, :, start:]).sum((0, 1)).mean() / (n - 1) for d in lags])


def spectrum(Y_nt: Tags, tag: int) -> Floats:
    r"""$S_a(\omega) = N(E|f|^2 - |E f|^2)$ with $f = \frac1N\sum_t e^{-2\pi i\omega t}\delta_a$; S(0) = tau_aa.

    One value for each of the N // 2 + 1 frequencies.
    """
    f = np.fft.rfft((Y_nt == tag).astype(np.float64), axis=1) / Y_nt.shape[1]
    return np.asarray(Y_nt.shape[1] * ((np.abs(f) ** 2).mean(0) - np.abs(f.mean(0)) ** 2))


def count_peaks(S_w: Floats) -> int:
    """Count the spectral peaks with a prominence above `MIN_PROMINENCE`."""
    from scipy.signal import find_peaks

    return len(find_peaks(S_w, prominence=MIN_PROMINENCE)[0])


def relaxation_time(Y_nt: Tags, tags: int) -> float:
    r"""Integrated relaxation time of the tag distribution v(t) towards that of the last quarter, in positions.

    $\sum_t d(t)/d(0)$ with d the squared distance, its sampling noise subtracted; 0 if v is relaxed from the start.
    """
    X = indicators(Y_nt, tags)
    n, N = Y_nt.shape
    # Per sequence: the noise of the late fractions counts too, and is correlated with that of v in ordered sequences.
    difference_ant = X[:, :, : 3 * N // 4] - X[:, :, 3 * N // 4 :].mean(2, keepdims=True)
    noise_t = difference_ant.var(axis=1, ddof=1).sum(0) / n
    distance_t = (difference_ant.mean(1) ** 2).sum(0) - noise_t
    block = max(1, N // 32)
    first = distance_t[:block].mean()
    noise = np.sqrt(2.0 / block) * noise_t.mean()
    return float(distance_t.sum() / first) if first > 2 * noise else 0.0


def within_susceptibility(Y_nt: Tags, tags: int, sizes: tuple[int, ...]) -> Floats:
    r"""$\tau$ at each block length of `sizes`, (s,), from fluctuations within each sequence, around its own mean.

    A mixture of different sequences (language, topic) without long memory raises tau(N), but not this.
    """
    running = np.pad(indicators(Y_nt, tags).cumsum(2), [(0, 0), (0, 0), (1, 0)])
    means = [np.diff(running[:, :, ::size], axis=2) / size for size in sizes]
    return np.array(
        [
            size * m.var(axis=2, ddof=1).mean(1).sum() if m.shape[2] > 1 else np.nan
            for size, m in zip(sizes, means, strict=True)
        ]
    )


def flow_slope(first_n: Floats, second_n: Floats) -> Floats:
    r"""Slope at the fixed point of the map of the order parameter under doubling the text, $E[m_{2N}|m_N]$, (...).

    Below one the disordered state is attracting; above one it is repelling and order grows. A frozen mixture has slope
    one, a chain with short memory one half. A cubic in m is fitted, since the map bends where order saturates. For the
    urn model log2 of the slope is J/T - 1 at and above T = J; below, short texts give less. Order parameters are
    (..., n); NaN where they do not vary.
    """
    x = first_n - first_n.mean(-1, keepdims=True)
    spread = x.std(-1, keepdims=True)
    moves = spread >= 1e-12
    x = x / np.where(moves, spread, 1.0)
    design = np.stack([np.ones_like(x), x, x * x, x * x * x], axis=-2)
    # In frozen texts m has two values, which do not determine a cubic: the ridge selects the line.
    ridge = np.diag([0.0, 0.0, _RIDGE, _RIDGE]) + np.where(moves[..., None], 0.0, np.eye(4))
    gram = design @ design.swapaxes(-1, -2) / x.shape[-1] + ridge
    target = design @ second_n[..., None] / x.shape[-1]
    slope = np.linalg.solve(gram, target)[..., 1, 0]
    return np.where(moves[..., 0], slope / np.where(moves, spread, 1.0)[..., 0], np.nan)


def extrapolate_plateau(variance_s: Floats) -> Floats:
    r"""Variance of the order parameter in an infinite text, (...), from three sizes (..., 3) of a constant ratio.

    Shanks' transform of V(N), exact for a plateau plus one power of N and zero for a pure power of N. A variance that
    has stopped decreasing is its own plateau. The ratio of successive decreases is capped at 0.9, so that noise in a
    flat V(N) is not extrapolated without bound; a slower decay counts as a plateau.
    """
    early, middle, late = np.moveaxis(np.asarray(variance_s, np.float64), -1, 0)
    first, second = early - middle, np.maximum(middle - late, 0.0)
    ratio = np.minimum(np.where(first > 0, second / np.where(first > 0, first, 1.0), np.inf), 0.9)
    return np.asarray(np.maximum(0.0, late - second * ratio / (1 - ratio)))
