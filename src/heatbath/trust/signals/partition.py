r"""Signals of the partition function: log Z, raw and in a fixed gauge, and the spilled energy.

The energies of a context are defined up to a constant. A signal that is not gauge-invariant changes with it, so that it
says something of the network that computed the logits, and nothing of its probabilities. The spilled energy
(arXiv:2602.18671) of a token is log Z after it plus its energy. Its sum is
\(-\sum \ln p + \ln Z_{last} - \ln Z_{first}\), the first over all tokens but the last: likelihood and two ends.
"""

from __future__ import annotations

from heatbath.trust.signals.base import SignalSpec
from heatbath.trust.signals.token_ensembles import TokenEnsembles
from heatbath.trust.signals.token_values import TokenValues


def log_z(ensembles: TokenEnsembles, temperature: float | None) -> TokenValues:
    return ensembles.log_z(temperature)


def log_z_centred(ensembles: TokenEnsembles, _: float | None) -> TokenValues:
    return ensembles.uniform_surprisal()


def spilled_energy(ensembles: TokenEnsembles, temperature: float | None) -> TokenValues:
    return ensembles.spilled_energy(temperature)


SIGNAL_SPECS = (
    SignalSpec(
        "log_z",
        "partition function",
        "log Z in the gauge of the model's logits",
        direction=1,
        is_gauge_invariant=False,
        needs=("trace",),
        compute_tokens=log_z,
        aggregations=("mean", "min", "max", "last", "decision", "sum"),
        parameters=(1.0,),
        parameter_name="temperature",
    ),
    SignalSpec(
        "log_z_centred",
        "partition function",
        "log Z in the gauge in which the mean energy of the vocabulary is 0, at T = 1",
        direction=1,
        is_gauge_invariant=True,
        needs=("trace", "uniform"),
        compute_tokens=log_z_centred,
        aggregations=("mean", "min", "max", "last", "decision", "sum"),
    ),
    SignalSpec(
        "spilled_energy",
        "partition function",
        "log Z after the token plus the energy of the token, for all tokens but the last",
        direction=-1,
        is_gauge_invariant=False,
        needs=("trace",),
        compute_tokens=spilled_energy,
        aggregations=("mean", "min", "max", "last", "decision", "sum"),
        parameters=(1.0,),
        parameter_name="temperature",
    ),
)
