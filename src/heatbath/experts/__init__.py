"""Fields that run a model of their own: experts that share a vocabulary, and contrasts between prompts."""

from heatbath.experts.contrast import Contrast
from heatbath.experts.mixtures import MixtureOfExperts, ProductOfExperts

__all__ = ["Contrast", "MixtureOfExperts", "ProductOfExperts"]
