"""Speed and memory against stated targets, each measured beside what it is compared with, in one run."""

from heatbath.bench.base import GROUPS, Line, at_least, at_most, interleave, run

__all__ = ["GROUPS", "Line", "at_least", "at_most", "interleave", "run"]
