"""The configuration of a local engine."""

from __future__ import annotations

from dataclasses import dataclass

from heatbath.errors import BadInput


@dataclass(frozen=True)
class EngineConfig:
    """Limits of a local engine.

    Attributes:
        max_rows: sequences that run at once, over all requests.
        max_waiting: requests that may wait in the queue.
        prefix_bytes: memory of the prefix cache.
        deadline: seconds a request may take unless it names its own; None for no limit.
        max_request_tokens: tokens that a sampler of sequences may draw for one request, over all chains and sweeps.
        prefill_seconds: time that running rows wait, in each step, while a piece of a prompt is read. Longer pieces
            bring the first token of a new request sooner, and the next token of running ones later.
        warm_up: run a few steps at `start`, so that the first request finds everything compiled.
    """

    max_rows: int = 64
    max_waiting: int = 256
    prefix_bytes: int = 256 << 20
    deadline: float | None = 600.0
    warm_up: bool = True
    max_request_tokens: int = 1 << 20
    prefill_seconds: float = 0.1

    def __post_init__(self) -> None:
        for name, least in (("max_rows", 1), ("max_waiting", 0), ("max_request_tokens", 1), ("prefix_bytes", 0)):
            if getattr(self, name) < least:
                raise BadInput(f"`{name}` must be at least {least}, got {getattr(self, name)}.", param=name)
        if not self.prefill_seconds > 0:
            raise BadInput(f"`prefill_seconds` must be above 0, got {self.prefill_seconds}.", param="prefill_seconds")
        if self.deadline is not None and not self.deadline > 0:
            raise BadInput(f"`deadline` must be above 0 seconds or None, got {self.deadline}.", param="deadline")
