"""Benchmarks of speed and memory against stated targets, each measured beside its reference in one run."""

from heatbath.bench.benchmark import GROUPS, BenchmarkLine, lower_limit_line, run_groups, time_sides, upper_limit_line

__all__ = ["GROUPS", "BenchmarkLine", "lower_limit_line", "run_groups", "time_sides", "upper_limit_line"]
