"""The origin of a trace or phase map: model, fingerprint and version of heatbath."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from heatbath.models.base import Model


@dataclass(frozen=True)
class Provenance:
    """Name and fingerprint of the model, and the `version` of heatbath that wrote the file."""

    model: str
    fingerprint: str
    version: str

    @classmethod
    def from_model(cls, model: Model) -> Provenance:
        """Return the provenance of data that this heatbath computes with `model`."""
        return cls(model.name, model.fingerprint, package_version())


def package_version() -> str:
    """The version of the installed heatbath; `0+source` for a source tree that is not installed."""
    try:
        return version("heatbath")
    except PackageNotFoundError:
        return "0+source"
