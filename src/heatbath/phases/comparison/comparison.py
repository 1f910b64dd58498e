"""The result of a comparison with its page and JSON file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from heatbath.phases.comparison.comparison_data import ComparisonData


@dataclass(frozen=True)
class Comparison(ComparisonData):
    """The differences between two sides, B − A, with 95 % intervals.

        result = compare_models(Side(hb.load("smollm2-135m", dtype="float32")), Side(hb.load(..., dtype="bfloat16")))
        result["entropy"].difference, result.edge("melt").interval, result.texts["divergence A to B"].value
        result.save("comparison/")

    Attributes:
        a: label, model and settings of one side.
        b: those of the other.
        settings: what both sides share.
        pairing: how alike the pairs are; None if the sides are independent sweeps.
        curves: one `DifferenceCurve` per observable.
        edges: freeze and melt of both sides with their differences.
        texts: both sides on shared texts, None if there are none.
        notes: what limits the comparison, in sentences.
    """

    def save(self, folder: str | Path) -> Path:
        """Write comparison.html and comparison.json into a folder, and return the path of the page.

        Raises:
            OSError: the folder is not writable, or the disk is full.
        """
        from heatbath.phases.comparison.comparison_page import write_comparison

        return write_comparison(self, Path(folder))

    @classmethod
    def load(cls, path: str | Path) -> Comparison:
        """Read a comparison from comparison.json, or from the folder that holds it.

        Raises:
            BadInput: the file does not exist, is damaged, or has another schema version.
        """
        from heatbath.phases.result_file import COMPARISON_FORMAT

        return COMPARISON_FORMAT.load(path, cls)
