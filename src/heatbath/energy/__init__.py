"""Energies that are added to a model's: fields, potentials and their algebra."""

from heatbath.energy.base import Energy, Field, FieldSum, Potential, PotentialSum
from heatbath.energy.condition import after_tokens, apply_when, rows_in, until_tokens
from heatbath.energy.context import Context
from heatbath.energy.dry import DryPenalty, find_breaker_tokens
from heatbath.energy.grammar import Grammar
from heatbath.energy.learned_energy import LogisticFit, ResidualEnergy
from heatbath.energy.length_fields import LengthBias, MaxLength, MinLength
from heatbath.energy.maxent import MaxEntropy, MaxEntropyPotential, MomentFit, fit_moments
from heatbath.energy.noise import GaussianNoise, GumbelNoise
from heatbath.energy.penalties import FrequencyPenalty, PresencePenalty, RepetitionPenalty
from heatbath.energy.phrases import ForbiddenPhrases, PhraseEnergy
from heatbath.energy.prefix_memo import PrefixMemo
from heatbath.energy.required_content import RequiredPhrases
from heatbath.energy.token_bias import ForbiddenTokens, LogitBias

__all__ = [
    "Context",
    "DryPenalty",
    "Energy",
    "Field",
    "FieldSum",
    "ForbiddenPhrases",
    "ForbiddenTokens",
    "FrequencyPenalty",
    "GaussianNoise",
    "Grammar",
    "GumbelNoise",
    "LengthBias",
    "LogisticFit",
    "LogitBias",
    "MaxEntropy",
    "MaxEntropyPotential",
    "MaxLength",
    "MinLength",
    "MomentFit",
    "PhraseEnergy",
    "Potential",
    "PotentialSum",
    "PrefixMemo",
    "PresencePenalty",
    "RepetitionPenalty",
    "RequiredPhrases",
    "ResidualEnergy",
    "after_tokens",
    "apply_when",
    "find_breaker_tokens",
    "fit_moments",
    "rows_in",
    "until_tokens",
]
