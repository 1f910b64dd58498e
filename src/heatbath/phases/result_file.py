"""The JSON files of phase maps and comparisons."""

from __future__ import annotations

from heatbath.record.result_file import ResultFormat

PHASE_MAP_FORMAT = ResultFormat("phase map", "heatbath sweep", "phases.json", (1, 2))
"""Version 1 lacks fields that have a default: prompts and marks of text samples, accuracy intervals, wrong answers,
bands and intervals of points. In version 2 an edge whose estimators disagree has an interval and no temperature."""
COMPARISON_FORMAT = ResultFormat("comparison", "heatbath compare", "comparison.json", (1,))
