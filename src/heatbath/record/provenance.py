"""Where a trace comes from."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from heatbath.models.base import Model


@dataclass(frozen=True)
class Provenance:
    """The model's name and fingerprint, and the `version` of heatbath that wrote the trace."""

    model: str
    fingerprint: str
    version: str

    @classmethod
    def from_model(cls, model: Model) -> Provenance:
        """What is written about `model`."""
        return cls(model.name, model.fingerprint, package_version())


def package_version() -> str:
    """The version of the installed heatbath, `0+source` in a tree that is not installed."""
    try:
        return version("heatbath")
    except PackageNotFoundError:
        return "0+source"
