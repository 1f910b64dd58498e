"""Speed and memory against stated targets, each measured beside what it is compared with, in one run."""

from heatbath.bench.base import GROUPS, BenchmarkLine, lower_limit_line, run_groups, time_sides, upper_limit_line

__all__ = ["GROUPS", "BenchmarkLine", "lower_limit_line", "run_groups", "time_sides", "upper_limit_line"]
