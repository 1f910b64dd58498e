"""Signals of dispersion: how widely the model's distributions at the tokens of an answer are spread."""

from __future__ import annotations

import math
from collections.abc import Callable

from heatbath.trust.signals.base import Direction, Need, SignalSpec
from heatbath.trust.signals.token_ensembles import TokenEnsembles
from heatbath.trust.signals.token_values import TokenValues


def entropy(ensembles: TokenEnsembles, temperature: float | None) -> TokenValues:
    return ensembles.entropy(temperature)


def heat_capacity(ensembles: TokenEnsembles, temperature: float | None) -> TokenValues:
    return ensembles.heat_capacity(temperature)


def p_max(ensembles: TokenEnsembles, temperature: float | None) -> TokenValues:
    return ensembles.p_max(temperature)


def renyi_entropy(ensembles: TokenEnsembles, order: float | None) -> TokenValues:
    return ensembles.renyi_entropy(1.0 if order is None else order)


def margin(ensembles: TokenEnsembles, _: float | None) -> TokenValues:
    return ensembles.margin()


def self_certainty(ensembles: TokenEnsembles, _: float | None) -> TokenValues:
    return ensembles.self_certainty()


def mode_count(ensembles: TokenEnsembles, _: float | None) -> TokenValues:
    return ensembles.mode_count()


def mode_mass(ensembles: TokenEnsembles, _: float | None) -> TokenValues:
    return ensembles.mode_mass()


def _build_spec(
    compute: Callable[[TokenEnsembles, float | None], TokenValues],
    direction: Direction,
    summary: str,
    *,
    needs: tuple[Need, ...] = ("trace",),
    parameters: tuple[str, tuple[float, ...]] = ("", ()),
) -> SignalSpec:
    return SignalSpec(
        compute.__name__,
        "dispersion",
        summary,
        direction,
        is_gauge_invariant=True,
        needs=needs,
        compute_tokens=compute,
        aggregations=("mean", "max", "min", "last", "decision", "sum"),
        parameters=parameters[1],
        parameter_name=parameters[0],
    )


_AT_ONE = ("temperature", (1.0,))

SIGNAL_SPECS = (
    _build_spec(entropy, -1, "entropy of the next token", parameters=_AT_ONE),
    _build_spec(heat_capacity, -1, "heat capacity: the variance of the log-probability", parameters=_AT_ONE),
    _build_spec(
        renyi_entropy,
        -1,
        "Rényi entropy of an order, from log Z at order times 1/T",
        needs=("trace", "nodes"),
        parameters=("order", (2.0, 0.5, math.inf)),
    ),
    _build_spec(p_max, 1, "largest probability", parameters=_AT_ONE),
    _build_spec(margin, 1, "difference of the two largest probabilities"),
    _build_spec(
        self_certainty,
        1,
        "divergence of the distribution from the uniform one, D(uniform || p)",
        needs=("trace", "uniform"),
    ),
    _build_spec(
        mode_count, -1, "number of modes: the sum of (p / p_max)^10, n for n equal ones", needs=("trace", "nodes")
    ),
    _build_spec(mode_mass, 1, "probability of the modes: their number times p_max", needs=("trace", "nodes")),
)
