"""The registries: read-only mappings from a name to its `Spec`, found in the packages on first use."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType
from typing import Any, TypeVar

from heatbath.decode.schedules import Schedule
from heatbath.decode.sequences import Sampler
from heatbath.decode.windows import Window
from heatbath.energy.base import Field, Potential
from heatbath.energy.spec import ComponentKind, Spec
from heatbath.errors import BadInput, format_value

T = TypeVar("T")


class Registry(Mapping[str, Spec[T]]):
    """The components of one kind by name: each `SPEC` and `SPECS` in the modules of `packages`.

    The modules are imported on first use. A folder added to the `__path__` of one of the packages before that is
    searched too; `refresh` searches again.
    """

    def __init__(self, kind: ComponentKind, *packages: str) -> None:
        self.kind, self.packages = kind, packages

    def __getitem__(self, name: str) -> Spec[T]:
        return self._specs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)

    @property
    def offered_specs(self) -> Mapping[str, Spec[T]]:
        """Those that a server may offer to requests."""
        return MappingProxyType({name: spec for name, spec in self.items() if spec.offered})

    def find(self, name: str) -> Spec[T]:
        """Return the spec of that name. Raises `BadInput` for an unknown one, naming the nearest."""
        if name not in self._specs:
            near = difflib.get_close_matches(str(name)[:64], self, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise BadInput(
                f"there is no {self.kind} {format_value(name)}{hint}: choose from {', '.join(self)}.", param=self.kind
            )
        return self._specs[name]

    def refresh(self) -> None:
        """Search the packages again at the next use, such as after a folder was added to one's `__path__`."""
        self.__dict__.pop("_specs", None)

    @cached_property
    def _specs(self) -> Mapping[str, Spec[T]]:
        found: dict[str, Spec[T]] = {}
        for package in self.packages:
            for spec in _collect_specs(package):
                if spec.kind != self.kind:
                    continue
                if spec.name in found:
                    raise RuntimeError(f"two components are registered as the {self.kind} {spec.name!r}")
                found[spec.name] = spec
        return MappingProxyType(dict(sorted(found.items(), key=lambda item: (item[1].order, item[0]))))


def _collect_specs(package: str) -> Iterator[Spec[Any]]:
    """Yield what the modules of a package register, in order of their names."""
    for found in iter_modules(import_module(package).__path__, f"{package}."):
        if not found.ispkg:
            module = import_module(found.name)
            yield from getattr(module, "SPECS", ())
            if hasattr(module, "SPEC"):
                yield module.SPEC


FIELDS: Registry[Field] = Registry("field", "heatbath.energy", "heatbath.experts")
"""Fields by name; each also takes `weight`, `after` and `until` where its value is an object."""
POTENTIALS: Registry[Potential] = Registry("potential", "heatbath.energy.potentials", "heatbath.energy")
"""Potentials by name."""
WINDOWS: Registry[Window] = Registry("window", "heatbath.decode.windows")
"""Windows by name."""
SCHEDULES: Registry[Schedule] = Registry("schedule", "heatbath.decode.schedules")
"""Schedules by name."""
SAMPLERS: Registry[Sampler] = Registry("sampler", "heatbath.decode")
"""Samplers by name, each with the names of its options."""
