"""Fields that run a model: products and mixtures of experts, and contrasts between prompts."""

from heatbath.experts.contrast import Contrast
from heatbath.experts.mixtures import MixtureOfExperts, ProductOfExperts

__all__ = ["Contrast", "MixtureOfExperts", "ProductOfExperts"]
