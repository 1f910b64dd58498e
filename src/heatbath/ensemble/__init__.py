r"""Thermodynamics of a set of energies at inverse temperature beta: log Z, U, S, C and derived quantities.

Works on NumPy arrays and PyTorch tensors, on the CPU or a CUDA device.
"""

from heatbath.ensemble.bounds import Bounds, Interval, bounds
from heatbath.ensemble.curve import NODE_BETAS, curve, nodes, observe
from heatbath.ensemble.divergence import divergence
from heatbath.ensemble.interpolate import LogZ
from heatbath.ensemble.quantile import observed_draw, quantile
from heatbath.ensemble.state import State, state

__all__ = [
    "NODE_BETAS",
    "Bounds",
    "Interval",
    "LogZ",
    "State",
    "bounds",
    "curve",
    "divergence",
    "nodes",
    "observe",
    "observed_draw",
    "quantile",
    "state",
]
