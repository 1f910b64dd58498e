"""How states are drawn: windows, schedules, samplers of tokens and samplers of whole answers."""

from heatbath.decode.ancestral import Ancestral
from heatbath.decode.anneal import Anneal
from heatbath.decode.answers import Answers, Move, Samples
from heatbath.decode.base import Batch, Sampler, Step, Task, TokenSampler, run
from heatbath.decode.beam import Beam
from heatbath.decode.best_of import BestOf
from heatbath.decode.bounds import Bracket, bracket
from heatbath.decode.greedy import Greedy
from heatbath.decode.independent import Independent
from heatbath.decode.langevin import Langevin
from heatbath.decode.lookahead import Lookahead
from heatbath.decode.metropolis import Metropolis
from heatbath.decode.schedules import Schedule
from heatbath.decode.schedules.crossings import crossings
from heatbath.decode.seeds import Random, RowRandom
from heatbath.decode.smc import SMC
from heatbath.decode.target import Target
from heatbath.decode.tempering import Tempering
from heatbath.decode.vote import Vote
from heatbath.decode.windows import Window, min_p, top_k, top_p

__all__ = [
    "SMC",
    "Ancestral",
    "Anneal",
    "Answers",
    "Batch",
    "Beam",
    "BestOf",
    "Bracket",
    "Greedy",
    "Independent",
    "Langevin",
    "Lookahead",
    "Metropolis",
    "Move",
    "Random",
    "RowRandom",
    "Sampler",
    "Samples",
    "Schedule",
    "Step",
    "Target",
    "Task",
    "Tempering",
    "TokenSampler",
    "Vote",
    "Window",
    "bracket",
    "crossings",
    "min_p",
    "run",
    "top_k",
    "top_p",
]
