"""Potentials on completions: regular expressions, length, similarity, safety, sentiment, weighted
languages, any function."""

from heatbath.energy.potentials.classifier import Safety, Sentiment
from heatbath.energy.potentials.embedding import EmbeddingSimilarity
from heatbath.energy.potentials.function import FunctionPotential
from heatbath.energy.potentials.language import LanguageWeight
from heatbath.energy.potentials.length import Length, TruncationPenalty, character_counter, word_counter
from heatbath.energy.potentials.regex import Regex

__all__ = [
    "EmbeddingSimilarity",
    "FunctionPotential",
    "LanguageWeight",
    "Length",
    "Regex",
    "Safety",
    "Sentiment",
    "TruncationPenalty",
    "character_counter",
    "word_counter",
]
