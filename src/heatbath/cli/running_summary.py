"""A summary of traces that is folded piece by piece."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from heatbath.record import Trace


@dataclass(frozen=True)
class RunningSummary:
    """Sums over the tokens seen; `scored` of the `tokens` had something before them."""

    tokens: int = 0
    scored_tokens: int = 0
    surprisal: float = 0.0
    entropy: float = 0.0
    heat_capacity: float = 0.0

    def with_trace(self, trace: Trace) -> RunningSummary:
        """With one more trace, or piece of one."""
        return RunningSummary(
            self.tokens + len(trace),
            self.scored_tokens + int(trace.scored_mask.sum()),
            self.surprisal - float(np.nansum(trace.record["logprob"])),
            self.entropy + float(np.nansum(trace.record["entropy"])),
            self.heat_capacity + float(np.nansum(trace.record["heat_capacity"])),
        )

    def format_line(self, temperature: float) -> str:
        """One sentence for a person."""
        head = f"{self.tokens} tokens at T = {temperature:g}"
        if not self.scored_tokens:
            return f"{head}: none has anything before it, so there is nothing to score (--bos puts a start there)."
        surprisal, entropy, capacity = (
            total / self.scored_tokens for total in (self.surprisal, self.entropy, self.heat_capacity)
        )
        return (
            f"{head}: surprisal {surprisal:.3f} nats ({surprisal / math.log(2):.3f} bits) a token, "
            f"entropy {entropy:.3f}, heat capacity {capacity:.3f}."
        )
