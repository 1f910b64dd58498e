r"""Critical observables of a sweep: correlations of tags along the text, and the end of their long-range order.

After Nakaishi et al. 2024 (arXiv 2406.05335), with two distinctions that the paper does not make: growth of tau within
sequences and between them (a mixture of unlike texts), and the end of order by a flow and by a plateau instead of by
growth alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatbath.errors import BadInput
from heatbath.estimate import criticality as tag_statistics
from heatbath.estimate.order_parameter import OrderData, estimate_order_edges, project_to_principal_axis
from heatbath.phases.edges import Edge, combine_estimators
from heatbath.phases.tags import Tags

Floats = NDArray[np.float64]

DOUBLINGS = 6
MIXTURE_EXPONENT = 0.9
REPLICAS = 100
MIN_TEXTS = 8
"""Texts that a temperature needs to be used."""


@dataclass(frozen=True)
class Criticality:
    """Critical observables at each temperature (k,), for chains of `length` tags, at `sizes` (s,).

    `tau` (k, s) is the susceptibility and `tau_within` (k, s) its part from fluctuations within each sequence. `gamma`
    (k, s - 1) are the growth exponents of `tau`, and `gamma_flow` (k,) the exponent of infinitely long text. Further
    `correlation` (k, lags), `spectrum` (k, frequencies) of the second tag with its number of `peaks` (k,), and the
    `relaxation` time (k,) in tags; `texts` (k,) counts the texts used, and `dropped` (k,) those that were too short.
    `mixture` is true if texts differ from one another permanently, without long-range order within them.
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
    """Tag chains of the texts at each temperature: `tags_k[k]` (n, N), and the number of dropped texts (k,)."""

    temperatures: Floats
    tags_k: Sequence[Tags]
    num_dropped: Floats
    scheme_name: str
    num_tags: int


def compute_criticality(chains: TagChains, rng: np.random.Generator) -> Criticality:
    """Compute the critical observables of tag chains of one length.

    Raises:
        BadInput: fewer than four temperatures have `MIN_TEXTS` texts that are long enough.
    """
    usable = [k for k, tags in enumerate(chains.tags_k) if len(tags) >= MIN_TEXTS]
    if len(usable) < 4:
        raise BadInput(
            f"only {len(usable)} temperatures have {MIN_TEXTS} texts of {chains.tags_k[0].shape[1]} tags: "
            "sample more or longer texts."
        )
    tags_k = [chains.tags_k[k] for k in usable]
    length = tags_k[0].shape[1]
    sizes = tuple(length >> i for i in range(DOUBLINGS, -1, -1) if length >> i >= 2)
    means_k = [tag_statistics.tag_means(tags, chains.num_tags, sizes) for tags in tags_k]
    data = OrderData(chains.temperatures[usable], sizes, project_to_principal_axis(means_k))
    tau, tau_stderr, gamma, gamma_stderr = _estimate_growth(means_k, sizes, rng)
    within = np.array([tag_statistics.within_susceptibility(tags, chains.num_tags, sizes) for tags in tags_k])
    lags = np.unique(np.geomspace(1, length // 2, 24).round().astype(np.int64))
    spectra = np.array([tag_statistics.spectrum(tags, 1) for tags in tags_k])
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
        gamma_flow_stderr=2 * data.resample(rng, REPLICAS).flow(len(sizes) - 1).std(0),
        lags=lags,
        correlation=np.array([tag_statistics.correlation(tags, chains.num_tags, lags) for tags in tags_k]),
        spectrum=spectra,
        peaks=np.array([float(tag_statistics.count_peaks(S_w)) for S_w in spectra]),
        relaxation=np.array([tag_statistics.relaxation_time(tags, chains.num_tags) for tags in tags_k]),
        mixture=_is_mixture(gamma, within, tau),
        order=combine_estimators("order", estimate_order_edges(data, rng)),
    )


def _estimate_growth(
    means_k: Sequence[Floats], sizes: tuple[int, ...], rng: np.random.Generator
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return tau (k, s) and its local exponents in N (k, s - 1), with bootstrap standard errors."""
    count = np.array(sizes, np.float64)

    def resample_tau(means: Floats) -> Floats:
        texts = means.shape[1]
        draws = rng.multinomial(texts, np.full(texts, 1 / texts), size=REPLICAS) / texts
        centered = means - means.mean(1, keepdims=True)
        variance = draws @ (centered**2).sum(-1).T - ((draws @ centered) ** 2).sum(-1).T
        return np.asarray(count * variance * texts / (texts - 1))

    def exponents(tau: Floats) -> Floats:
        return np.asarray(np.diff(np.log2(np.maximum(tau, 1e-12)), axis=-1))

    tau = np.array([tag_statistics.susceptibility(means, count) for means in means_k])
    draws = np.stack([resample_tau(means) for means in means_k], axis=1)
    return tau, draws.std(0), exponents(tau), exponents(draws).std(0)


def _is_mixture(gamma: Floats, within: Floats, tau: Floats) -> bool:
    """Return true if tau grows like N at every temperature, but not within the sequences."""
    inside = within[:, -3] / np.maximum(tau[:, -3], 1e-12)
    return bool((gamma[:, -1] > MIXTURE_EXPONENT).all() and (inside < 0.5).all())
