"""The result of a sweep: a phase map with its report and JSON file, and the maps that come with heatbath."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from heatbath.models.hub import catalog
from heatbath.phases.phase_map_data import PhaseMapData
from heatbath.short_repr import format_repr

_BUNDLED_MAPS = Path(__file__).parent / "maps"


@dataclass(frozen=True, repr=False)
class PhaseMap(PhaseMapData):
    """Curves over temperature, edges with intervals, and advice for one model.

    A sweep returns one, `save` writes its report, and `load` reads it back:

        chart = hb.sweep(model)
        chart.edge("melt").interval, chart.advice.range, chart["entropy"].value
        chart.save("report/")
        chart = PhaseMap.load("report/")

    Attributes:
        model: name and fingerprint of the model, and the version of heatbath.
        settings: the plan and the seed of the sweep.
        budget: number of sequences and tokens, and seconds of sampling.
        curves: one `Curve` per observable, with points, errors and the response to temperature.
        edges: freeze, melt and, with criticality, order; each with its estimators.
        advice: the recommended range of temperatures and, with scored prompts, the best temperatures.
        turn: the entropy turning point of Du et al. 2025, to compare with.
        criticality: critical observables, None if they were not measured.
        samples: the beginnings of a few texts over the range.
    """

    def __repr__(self) -> str:
        values = {edge.name: edge.temperature for edge in self.edges}
        return format_repr(
            "PhaseMap", {**values, "range": self.advice.range, "texts": self.budget.sequences}, first=self.model.model
        )

    def _repr_html_(self) -> str:
        from heatbath.phases.report.notebook_html import render_phase_map

        return render_phase_map(self)

    def save(self, folder: str | Path) -> Path:
        """Write report.html, phases.json and the figures into a folder, and return the path of report.html.

        Raises:
            OSError: the folder is not writable, or the disk is full.
        """
        from heatbath.phases.report.html import write_report

        return write_report(self, Path(folder))

    @classmethod
    def load(cls, path: str | Path) -> PhaseMap:
        """Read a map from phases.json, or from the folder that holds it.

        Raises:
            BadInput: the file does not exist, is damaged, or has another schema version.
        """
        from heatbath.phases.result_file import PHASE_MAP_FORMAT

        return PHASE_MAP_FORMAT.load(path, cls)


def load_bundled_map(name: str, fingerprint: str) -> PhaseMap | None:
    """Return the phase map of a catalog model that comes with heatbath, or None if there is none for these weights."""
    path = _BUNDLED_MAPS / f"{name}.json"
    if name not in catalog.CATALOG or not path.is_file():
        return None
    map_ = PhaseMap.load(path)
    return map_ if map_.model.fingerprint == fingerprint else None
