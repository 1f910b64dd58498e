"""Compiled code on arrays: reductions, histograms and draws over rows of energies, with numba on the CPU or Triton.

Imports nothing of heatbath. Each module is imported, and each function compiled, at its first use.
"""
