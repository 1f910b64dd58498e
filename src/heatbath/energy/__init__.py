"""What adds: fields and potentials, and their algebra."""

from heatbath.energy.base import Context, Energy, Field, FieldSum, Potential, PotentialSum
from heatbath.energy.condition import after_tokens, rows_in, until_tokens, when
from heatbath.energy.contrast import Contrast
from heatbath.energy.dry import Dry, breaking_tokens
from heatbath.energy.experts import MixtureOfExperts, ProductOfExperts
from heatbath.energy.grammar import Grammar
from heatbath.energy.length import LengthBias, MaxLength, MinLength
from heatbath.energy.maxent import MaxEntropy, MaxEntropyPotential, Moments, fit_moments
from heatbath.energy.memo import Memo
from heatbath.energy.noise import GaussianNoise, GumbelNoise
from heatbath.energy.penalties import FrequencyPenalty, PresencePenalty, RepetitionPenalty
from heatbath.energy.phrases import ForbidPhrases
from heatbath.energy.require import Require
from heatbath.energy.residual import Logistic, Residual
from heatbath.energy.tokens import Forbid, LogitBias

__all__ = [
    "Context",
    "Contrast",
    "Dry",
    "Energy",
    "Field",
    "FieldSum",
    "Forbid",
    "ForbidPhrases",
    "FrequencyPenalty",
    "GaussianNoise",
    "Grammar",
    "GumbelNoise",
    "LengthBias",
    "Logistic",
    "LogitBias",
    "MaxEntropy",
    "MaxEntropyPotential",
    "MaxLength",
    "Memo",
    "MinLength",
    "MixtureOfExperts",
    "Moments",
    "Potential",
    "PotentialSum",
    "PresencePenalty",
    "ProductOfExperts",
    "RepetitionPenalty",
    "Require",
    "Residual",
    "after_tokens",
    "breaking_tokens",
    "fit_moments",
    "rows_in",
    "until_tokens",
    "when",
]
