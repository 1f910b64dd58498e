"""Energies of whole answers: regular expressions, length, similarity, safety, sentiment, any function."""

from heatbath.energy.potentials.classifier import Safety, Sentiment
from heatbath.energy.potentials.embedding import EmbeddingSimilarity
from heatbath.energy.potentials.finished import Finished
from heatbath.energy.potentials.function import Function
from heatbath.energy.potentials.length import Length, characters, words
from heatbath.energy.potentials.regex import Regex

__all__ = [
    "EmbeddingSimilarity",
    "Finished",
    "Function",
    "Length",
    "Regex",
    "Safety",
    "Sentiment",
    "characters",
    "words",
]
