"""What a sweep found for one model: curves, edges, advice, and everything needed to draw or to continue it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heatbath.errors import BadInput
from heatbath.estimate.finite_size import EdgeEstimate
from heatbath.phases.advice import Advice
from heatbath.phases.critical import Criticality
from heatbath.phases.curves import Curve
from heatbath.phases.edges import Edge
from heatbath.record import Provenance

Floats = NDArray[np.float64]

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Budget:
    """What the sweep cost: sequences, tokens drawn in all, seconds of drawing in this run."""

    sequences: int
    tokens: int
    seconds: float


@dataclass(frozen=True)
class TextSample:
    """The beginning of one text, drawn at `temperature`."""

    temperature: float
    text: str


@dataclass(frozen=True)
class PhaseMap:
    """Curves over temperature, edges with intervals, and advice for one model.

    `settings` are the plan and seed, `ess` (g,) the effective number of sequences at the temperatures `measured` (g,),
    `turn` the entropy turning point of Du et al. 2025 (arXiv 2502.05234), the peer to compare with.
    """

    model: Provenance
    settings: Mapping[str, Any]
    budget: Budget
    curves: Sequence[Curve]
    edges: Sequence[Edge]
    advice: Advice
    turn: EdgeEstimate
    criticality: Criticality | None
    samples: Sequence[TextSample]

    def __getitem__(self, name: str) -> Curve:
        for curve in self.curves:
            if curve.name == name:
                return curve
        raise BadInput(f"there is no curve {name!r}: choose one of {', '.join(curve.name for curve in self.curves)}.")

    def edge(self, name: str) -> Edge:
        """The edge called freeze, melt or order.

        Raises:
            BadInput: this sweep did not look for it.
        """
        for edge in self.edges:
            if edge.name == name:
                return edge
        raise BadInput(f"there is no edge {name!r}: this map has {', '.join(edge.name for edge in self.edges)}.")

    def save(self, folder: str | Path) -> Path:
        """Write phases.json, the figures and report.html into a folder; the path of the report."""
        from heatbath.phases.report.html import write_report

        return write_report(self, Path(folder))

    @classmethod
    def load(cls, path: str | Path) -> PhaseMap:
        """Read a map from phases.json, or from the folder that holds it.

        Raises:
            BadInput: there is none, or it is damaged or of another schema.
        """
        from heatbath.phases.report.serialization import load_phase_map

        return load_phase_map(path)
