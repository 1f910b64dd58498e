"""How the tokens of a request come."""

from __future__ import annotations

from dataclasses import dataclass, field

from heatbath.serve.interfaces import RequestInfo


@dataclass
class TokenTiming:
    """When a request's tokens came: `later` counts, by choice, those after the first step that brought some."""

    model: str
    first_time: float = 0.0
    last_time: float = 0.0
    later_counts: dict[int, int] = field(default_factory=dict)

    def add_tokens(self, choice: int, tokens: int, now: float) -> None:
        """So many tokens of a choice came."""
        if not self.later_counts:
            self.first_time = now
        self.last_time = now
        self.later_counts[choice] = self.later_counts[choice] + tokens if choice in self.later_counts else 0

    @property
    def token_interval(self) -> float | None:
        """Seconds between tokens of the longest answer; None if no choice got a second one."""
        longest = max(self.later_counts.values(), default=0)
        return (self.last_time - self.first_time) / longest if longest else None


def request_key(request: RequestInfo) -> tuple[str, float]:
    """What tells requests apart: the id alone may be the client's own choice, the same for two at once."""
    return request.id, request.started_at
