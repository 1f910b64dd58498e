"""How states are drawn: samplers, windows, and randomness row by row."""

from heatbath.decode.ancestral import Ancestral
from heatbath.decode.base import Batch, Sampler, Step, run
from heatbath.decode.greedy import Greedy
from heatbath.decode.seeds import RowRandom
from heatbath.decode.windows import Window, min_p, top_k, top_p

__all__ = ["Ancestral", "Batch", "Greedy", "RowRandom", "Sampler", "Step", "Window", "min_p", "run", "top_k", "top_p"]
