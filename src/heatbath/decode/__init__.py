"""Decoding: token samplers, sequence samplers, windows and schedules.

A new sampler is one new file here: a `TokenSampler` (`base.py`) or a `SequenceSampler` (`sequences.py`) that ends with
`SPEC = Spec("name", "sampler", build, options=(...))` (`heatbath.energy.spec`); see `best_of.py`. The registry then
finds it for Python, the command line and the server.
"""

from heatbath.decode.adaptive_rejection import AdaptiveRejection
from heatbath.decode.ancestral import Ancestral
from heatbath.decode.anneal import Anneal
from heatbath.decode.base import Batch, Step, Task, TokenSampler
from heatbath.decode.beam import Beam
from heatbath.decode.best_of import BestOf
from heatbath.decode.greedy import Greedy
from heatbath.decode.independent import Independent
from heatbath.decode.langevin import Langevin
from heatbath.decode.log_z_bounds import LogZBounds, estimate_log_z_bounds
from heatbath.decode.lookahead import Lookahead
from heatbath.decode.metropolis import Metropolis
from heatbath.decode.rng import Random, RowRandom
from heatbath.decode.schedules import Schedule, find_edge_crossings
from heatbath.decode.sequences import (
    Sampler,
    SamplerState,
    SequenceSampler,
    SequenceStep,
    WeightedSamples,
    evaluate,
    evaluate_step,
    run,
)
from heatbath.decode.smc import SMC
from heatbath.decode.target import Target
from heatbath.decode.tempering import Tempering
from heatbath.decode.vote import Vote
from heatbath.decode.windows import Window, min_p, top_k, top_p

__all__ = [
    "SMC",
    "AdaptiveRejection",
    "Ancestral",
    "Anneal",
    "Batch",
    "Beam",
    "BestOf",
    "Greedy",
    "Independent",
    "Langevin",
    "LogZBounds",
    "Lookahead",
    "Metropolis",
    "Random",
    "RowRandom",
    "Sampler",
    "SamplerState",
    "Schedule",
    "SequenceSampler",
    "SequenceStep",
    "Step",
    "Target",
    "Task",
    "Tempering",
    "TokenSampler",
    "Vote",
    "WeightedSamples",
    "Window",
    "estimate_log_z_bounds",
    "evaluate",
    "evaluate_step",
    "find_edge_crossings",
    "min_p",
    "run",
    "top_k",
    "top_p",
]
