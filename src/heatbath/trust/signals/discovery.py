"""The registry of signals: found in the modules of this package on first use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType

from heatbath.trust.signals.base import Aggregation, NamedSignal, Need, SignalSpec, parse_signal_name


class SignalRegistry(Mapping[str, SignalSpec]):
    """The signals by name: all `SIGNAL_SPECS` in the modules of `packages`, in the order of modules and lists.

    The modules are imported on first use; a folder added to the `__path__` of a package before that is searched too.
    """

    def __init__(self, *packages: str) -> None:
        self.packages = packages

    def __getitem__(self, name: str) -> SignalSpec:
        return self._specs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)

    def find(self, name: str, *, aggregation: Aggregation | None = None) -> NamedSignal:
        """Return what a name with its parameter and aggregation stands for. Raises as `parse_signal_name` does."""
        return parse_signal_name(name, self, aggregation=aggregation)

    def list_names(
        self, *, aggregations: bool = False, without: tuple[Need, ...] = (), aggregation: Aggregation | None = None
    ) -> list[str]:
        """List complete names: all default parameters, and one aggregation (with `aggregations` all) of each.

        Signals that need anything of `without` are left out. `aggregation` is used where a signal takes it.
        """
        found = []
        for spec in self.values():
            if set(spec.needs) & set(without):
                continue
            own = spec.aggregations[:1] if aggregation not in spec.aggregations else (aggregation,)
            chosen = (spec.aggregations if aggregations else own) or (None,)
            found += [
                NamedSignal(spec, parameter, each).name for parameter in spec.parameters or (None,) for each in chosen
            ]
        return found

    @cached_property
    def _specs(self) -> Mapping[str, SignalSpec]:
        found: dict[str, SignalSpec] = {}
        for package in self.packages:
            for entry in iter_modules(import_module(package).__path__, f"{package}."):
                for spec in getattr(import_module(entry.name), "SIGNAL_SPECS", ()):
                    if spec.name in found:
                        raise RuntimeError(f"two signals are registered as {spec.name!r}")
                    found[spec.name] = spec
        return MappingProxyType(found)


SIGNALS = SignalRegistry("heatbath.trust.signals")
"""Signals by name."""
