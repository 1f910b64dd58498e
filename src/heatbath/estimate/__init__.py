"""From samples to numbers with error bars: reweighting, response, smoothing, criticality. Knows arrays, no model."""

from heatbath.estimate.estimate import Estimate

__all__ = ["Estimate"]
