r"""Tags as spins on a chain: correlation, susceptibility, spectrum, relaxation.

Source: Nakaishi et al. 2024, arXiv 2406.05335.

Y_nt (n, N) holds an integer tag for each of N places in n independent sequences; delta_a is the indicator of tag a.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import find_peaks

Floats = NDArray[np.float64]
Tags = NDArray[np.int64]

MIN_PROMINENCE = 0.1
"""Least prominence of a spectral peak, as in the paper."""
# Far below the noise of any coefficient, far above rounding.
_RIDGE = 1e-3


def indicators(Y_nt: Tags, tags: int) -> Floats:
    """delta_a(y_nt) as floats, (a, n, N)."""
    return np.asarray(np.arange(tags)[:, None, None] == Y_nt, dtype=np.float64)


def tag_means(Y_nt: Tags, tags: int, sizes: tuple[int, ...]) -> Floats:
    r"""$m_a = \frac1N \sum_t \delta_a(y_t)$ of each sequence's first N places, for each N of `sizes`, (s, n, a)."""
    running = indicators(Y_nt, tags).cumsum(2)
    return np.stack([running[:, :, n - 1].T / n for n in sizes])


def susceptibility(m_na: Floats, size: int) -> float:
    r"""$\tau(N) = N \sum_a \mathrm{Var}\, m_a$: the trace of the integrated correlation."""
    return float(size * m_na.var(axis=0, ddof=1).sum())


def correlation(Y_nt: Tags, tags: int, lags: Tags) -> Floats:
    r"""$C(\Delta) = \sum_a E[\delta_a(y_t)\,\delta_a(y_{t+\Delta})] - E[\cdot]E[\cdot]$ in the later half, (lags,)."""
    X = indicators(Y_nt, tags)
    X -= X.mean(axis=1, keepdims=True)
    start, n = Y_nt.shape[1] // 2, Y_nt.shape[0]
    # The later half, so that the head of the text (far from stationary) does not count as order.
    return np.array([(X[:, :, start - d : -d or None] * X[:, :, start:]).sum((0, 1)).mean() / (n - 1) for d in lags])


def spectrum(Y_nt: Tags, tag: int) -> Floats:
    r"""$S_a(\omega) = N(E|f|^2 - |E f|^2)$ with $f = \frac1N\sum_t e^{-2\pi i\omega t}\delta_a$; S(0) = tau_aa.

    One value for each of the N // 2 + 1 frequencies.
    """
    f = np.fft.rfft((Y_nt == tag).astype(np.float64), axis=1) / Y_nt.shape[1]
    return np.asarray(Y_nt.shape[1] * ((np.abs(f) ** 2).mean(0) - np.abs(f.mean(0)) ** 2))


def count_peaks(S_w: Floats) -> int:
    """Number of spectral peaks above `PROMINENCE`."""
    return len(find_peaks(S_w, prominence=MIN_PROMINENCE)[0])


def relaxation_time(Y_nt: Tags, tags: int) -> float:
    r"""Integrated relaxation of the tag distribution v(t) to that of the last quarter, in places.

    $\sum_t d(t)/d(0)$ with d the squared distance, its sampling noise taken out; 0 where v starts out relaxed.
    """
    X = indicators(Y_nt, tags)
    n, N = Y_nt.shape
    # Sequence by sequence: the noise of the late fractions counts too, and goes along with that of v in long order.
    apart_ant = X[:, :, : 3 * N // 4] - X[:, :, 3 * N // 4 :].mean(2, keepdims=True)
    noise_t = apart_ant.var(axis=1, ddof=1).sum(0) / n
    distance_t = (apart_ant.mean(1) ** 2).sum(0) - noise_t
    block = max(1, N // 32)
    first = distance_t[:block].mean()
    noise = np.sqrt(2.0 / block) * noise_t.mean()
    return float(distance_t.sum() / first) if first > 2 * noise else 0.0


def within_susceptibility(Y_nt: Tags, tags: int, size: int) -> float:
    r"""$\tau$ at block length `size` from fluctuations inside each sequence, around that sequence's own mean.

    A mixture of sequences that differ (language, topic) but have no long memory lifts tau(N), not this.
    """
    X = indicators(Y_nt, tags)
    blocks = X.shape[2] // size
    if blocks < 2:
        return float("nan")
    m = X[:, :, : blocks * size].reshape(*X.shape[:2], blocks, size).mean(3)
    return float(size * m.var(axis=2, ddof=1).mean(1).sum())


def flow_slope(first_n: Floats, second_n: Floats) -> float:
    r"""Slope at its fixed point of the map that doubling the text does to the order parameter, $E[m_{2N}|m_N]$.

    Below one the disordered state attracts; above one it repels and order grows by itself; a frozen mixture has one,
    a chain with short memory one half. A cubic in m is fitted, since the map bends where order saturates. For the urn
    model log2 of it is J/T - 1 at and above T = J; below it short texts give less.
    """
    x = first_n - first_n.mean()
    spread = x.std()
    if spread < 1e-12:
        return float("nan")
    x = x / spread
    design = np.stack([np.ones_like(x), x, x**2, x**3], axis=1)
    # Of frozen texts m takes two values, which no cubic can be told from a line by: the line is to win.
    gram = design.T @ design / len(x) + np.diag([0.0, 0.0, _RIDGE, _RIDGE])
    return float(np.linalg.solve(gram, design.T @ second_n / len(x))[1] / spread)


def extrapolate_plateau(variance_s: Floats) -> float:
    r"""Variance of the order parameter in endless text, from three sizes that grow by a constant factor.

    Shanks' transform of V(N), exact for a plateau plus one power of N and zero for a bare power of N. A variance that
    has stopped falling is its own plateau. The ratio of successive falls is kept below 0.9, so that noise in a flat
    V(N) is not extrapolated without end; a slower decay than that counts as a plateau.
    """
    early, middle, late = (float(v) for v in variance_s)
    first, second = early - middle, middle - late
    if second <= 0:
        return late
    ratio = min(second / first, 0.9) if first > 0 else 0.9
    return max(0.0, late - second * ratio / (1 - ratio))
