"""An estimate: a value with its standard error and effective sample size."""

from __future__ import annotations

from dataclasses import dataclass

from heatbath.errors import Unreliable


@dataclass(frozen=True)
class Estimate:
    """`value` ± `stderr` from `ess` effective samples."""

    value: float
    stderr: float
    ess: float

    def require_reliable(self, min_ess: float = 30.0) -> Estimate:
        """Return self, or raise `Unreliable` (which carries it) below `min_ess` effective samples."""
        if self.ess < min_ess:
            raise Unreliable(
                f"{self.value:.4g} ± {self.stderr:.2g} rests on {self.ess:.1f} effective samples, "
                f"fewer than {min_ess:g}: draw more, or read `.estimate`.",
                self,
            )
        return self

    def __str__(self) -> str:
        return f"{self.value:.4g} ± {self.stderr:.2g}"
