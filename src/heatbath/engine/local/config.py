"""How a local engine is set up."""

from __future__ import annotations

from dataclasses import dataclass

from heatbath.errors import BadInput


@dataclass(frozen=True)
class EngineConfig:
    """Limits of a local engine.

    Attributes:
        max_rows: answers that grow at once, over all requests.
        max_waiting: requests that may wait for rows.
        prefix_bytes: memory for the prefixes of prompts that may be used again.
        deadline: seconds a request may take that names no deadline itself; None for no limit.
        warm_up: whether `start` runs a few steps, so that the first request finds everything compiled.
    """

    max_rows: int = 64
    max_waiting: int = 256
    prefix_bytes: int = 512 << 20
    deadline: float | None = 600.0
    warm_up: bool = True

    def __post_init__(self) -> None:
        for name, least in (("max_rows", 1), ("max_waiting", 0), ("prefix_bytes", 0)):
            if getattr(self, name) < least:
                raise BadInput(f"{name} is {getattr(self, name)}: give at least {least}.")
        if self.deadline is not None and not self.deadline > 0:
            raise BadInput(f"the deadline is {self.deadline} s: give a number above 0, or None.")
