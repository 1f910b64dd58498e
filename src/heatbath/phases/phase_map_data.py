"""The fields of a phase map: curves, edges, advice and samples of one model.

The report and the JSON file are written from these fields alone; `PhaseMap` adds reading and writing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heatbath.errors import BadInput
from heatbath.estimate.finite_size import EdgeEstimate
from heatbath.phases.advice import Advice
from heatbath.phases.critical import Criticality
from heatbath.phases.curves import Curve
from heatbath.phases.edges import Edge
from heatbath.record import Provenance


@dataclass(frozen=True)
class Budget:
    """The cost of a sweep: sequences, generated tokens, and seconds of sampling in this run."""

    sequences: int
    tokens: int
    seconds: float


@dataclass(frozen=True)
class TextSample:
    """One text sampled at `temperature`, and the prompt that it continues, as the model got it.

    `finished` texts ended by themselves; `recommended` ones were drawn inside the recommended range.
    """

    temperature: float
    text: str
    prompt: str = ""
    finished: bool = False
    recommended: bool = False


@dataclass(frozen=True)
class PhaseMapData(ABC):
    """Curves over temperature, edges with intervals, and advice for one model; abstract, see `PhaseMap`.

    `settings` holds the plan and the seed. `turn` is the entropy turning point of Du et al. 2025 (arXiv 2502.05234),
    an independent method to compare with. `criticality` is None if it was not measured.
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
        """Return the curve of the observable `name`."""
        for curve in self.curves:
            if curve.name == name:
                return curve
        raise BadInput(f"there is no curve {name!r}: choose one of {', '.join(curve.name for curve in self.curves)}.")

    def edge(self, name: str) -> Edge:
        """Return the edge called freeze, melt or order.

        Raises:
            BadInput: the sweep did not look for this edge.
        """
        for edge in self.edges:
            if edge.name == name:
                return edge
        raise BadInput(f"there is no edge {name!r}: this map has {', '.join(edge.name for edge in self.edges)}.")

    @abstractmethod
    def save(self, folder: str | Path) -> Path:
        """Write the report to a folder."""
