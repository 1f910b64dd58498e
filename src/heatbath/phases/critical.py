r"""Critical observables of a sweep: how tags hang together along the text, and where their long-range order ends.

After Nakaishi et al. 2024 (arXiv 2406.05335), with what the paper does not separate: growth of tau within sequences and
between them (a mixture of unlike texts), and the end of order by a flow and by a plateau rather than by growth alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatbath.errors import BadInput
from heatbath.estimate import criticality as on
from heatbath.estimate.order_parameter import OrderData, estimate_order_edges, project_to_principal_axis
from heatbath.phases.edges import Edge, combine_estimators
from heatbath.phases.tags import Tags

Floats = NDArray[np.float64]

DOUBLINGS = 6
MIXTURE_EXPONENT = 0.9
REPLICAS = 100
MIN_TEXTS = 8
"""Fewest texts that a temperature is judged by."""


@dataclass(frozen=True)
class Criticality:
    """Critical observables at each temperature (k,), for chains of `length` tags, at `sizes` (s,).

    `tau` (k, s), its standard error, `tau_within` (k, s) from fluctuations inside each sequence, growth exponents
    `gamma` (k, s - 1) with `gamma_stderr`, and `gamma_flow` (k,) of endless text with its own, `correlation` (k, lags),
    `spectrum` (k, frequencies) of the second tag, `peaks` (k,), `relaxation` (k,) in places, `texts` (k,) used and
    `dropped` (k,) for being too short. `mixture` says that texts differ for ever but not within themselves.
    """

    tags: str
    length: int
    sizes: tuple[int, ...]
    temperature: Floats
    texts: Floats
    dropped: Floats
    tau: Floats
    tau_stderr: Floats
    tau_within: Floats
    gamma: Floats
    gamma_stderr: Floats
    gamma_flow: Floats
    gamma_flow_stderr: Floats
    lags: Tags
    correlation: Floats
    spectrum: Floats
    peaks: Floats
    relaxation: Floats
    mixture: bool
    order: Edge


@dataclass(frozen=True)
class TagChains:
    """Tag chains of the texts drawn at each temperature: rows of `tags_k[k]` (n, N), how many were `dropped` (k,)."""

    temperatures: Floats
    tags_k: Sequence[Tags]
    num_dropped: Floats
    scheme_name: str
    num_tags: int


def compute_criticality(chains: TagChains, rng: np.random.Generator) -> Criticality:
    """Everything critical about tag chains of one length.

    Raises:
        BadInput: fewer than four temperatures with `LEAST` texts that are long enough.
    """
    usable = [k for k, tags in enumerate(chains.tags_k) if len(tags) >= MIN_TEXTS]
    if len(usable) < 4:
        raise BadInput(
            f"only {len(usable)} temperatures have {MIN_TEXTS} texts of {chains.tags_k[0].shape[1]} tags: "
            "draw more or longer texts."
        )
    tags_k = [chains.tags_k[k] for k in usable]
    length = tags_k[0].shape[1]
    sizes = tuple(length >> i for i in range(DOUBLINGS, -1, -1) if length >> i >= 2)
    means_k = [on.tag_means(tags, chains.num_tags, sizes) for tags in tags_k]
    data = OrderData(chains.temperatures[usable], sizes, project_to_principal_axis(means_k))
    tau, tau_stderr, gamma, gamma_stderr = _estimate_growth(means_k, sizes, rng)
    within = np.array([[on.within_susceptibility(tags, chains.num_tags, n) for n in sizes] for tags in tags_k])
    lags = np.unique(np.geomspace(1, length // 2, 24).round().astype(np.int64))
    spectra = np.array([on.spectrum(tags, 1) for tags in tags_k])
    return Criticality(
        tags=chains.scheme_name,
        length=length,
        sizes=sizes,
        temperature=data.temperatures_k,
        texts=np.array([float(len(tags)) for tags in tags_k]),
        dropped=chains.num_dropped[usable],
        tau=tau,
        tau_stderr=tau_stderr,
        tau_within=within,
        gamma=gamma,
        gamma_stderr=gamma_stderr,
        gamma_flow=1 + 2 * data.flow(len(sizes) - 1),
        gamma_flow_stderr=2 * np.std([data.resample(rng).flow(len(sizes) - 1) for _ in range(REPLICAS)], axis=0),
        lags=lags,
        correlation=np.array([on.correlation(tags, chains.num_tags, lags) for tags in tags_k]),
        spectrum=spectra,
        peaks=np.array([float(on.count_peaks(S_w)) for S_w in spectra]),
        relaxation=np.array([on.relaxation_time(tags, chains.num_tags) for tags in tags_k]),
        mixture=_is_mixture(gamma, within, tau),
        order=combine_estimators("order", estimate_order_edges(data, rng)),
    )


def _estimate_growth(
    means_k: Sequence[Floats], sizes: tuple[int, ...], rng: np.random.Generator
) -> tuple[Floats, Floats, Floats, Floats]:
    """tau (k, s) and its local exponents in N (k, s - 1), with bootstrap standard errors."""

    def tau_of(means: Floats) -> Floats:
        return np.array([on.susceptibility(m, n) for m, n in zip(means, sizes, strict=True)])

    def exponents(tau: Floats) -> Floats:
        return np.asarray(np.diff(np.log2(np.maximum(tau, 1e-12)), axis=-1))

    tau = np.array([tau_of(means) for means in means_k])
    draws = np.array(
        [[tau_of(m[:, rng.integers(m.shape[1], size=m.shape[1])]) for m in means_k] for _ in range(REPLICAS)]
    )
    return tau, draws.std(0), exponents(tau), exponents(draws).std(0)


def _is_mixture(gamma: Floats, within: Floats, tau: Floats) -> bool:
    """Whether tau grows like N at every temperature while nothing within the sequences does."""
    inside = within[:, -3] / np.maximum(tau[:, -3], 1e-12)
    return bool((gamma[:, -1] > MIXTURE_EXPONENT).all() and (inside < 0.5).all())
