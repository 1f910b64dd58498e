"""How the tokens of a request come."""

from __future__ import annotations

from dataclasses import dataclass, field

from heatbath.serve.base import Ticket


@dataclass
class Growth:
    """When a request's tokens came: `later` counts, by choice, those after the first step that brought some."""

    model: str
    first: float = 0.0
    last: float = 0.0
    later: dict[int, int] = field(default_factory=dict)

    def add(self, choice: int, tokens: int, now: float) -> None:
        """So many tokens of a choice came."""
        if not self.later:
            self.first = now
        self.last = now
        self.later[choice] = self.later[choice] + tokens if choice in self.later else 0

    @property
    def each(self) -> float | None:
        """Seconds between tokens of the longest answer; None if no choice got a second one."""
        longest = max(self.later.values(), default=0)
        return (self.last - self.first) / longest if longest else None


def key_of(ticket: Ticket) -> tuple[str, float]:
    """What tells requests apart: the id alone may be the client's own choice, the same for two at once."""
    return ticket.id, ticket.started
