r"""log Z at any temperature between nodes.

In $x=\ln\beta$ the nodes give $f=\log Z$, $f'=-\beta U$ and $f''=-\beta U+\beta^2\mathrm{Var}E$, so that Hermite
interpolation over the four nearest nodes matches twelve numbers. Everything is relative to the ground energy, where
nothing cancels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.ensemble.hermite import cardinals
from heatbath.ensemble.rows import plain
from heatbath.errors import BadInput

Floats = npt.NDArray[np.float64]

STENCIL = 4
SAFETY = 1.0


@dataclass(frozen=True)
class LogZ:
    """`log_z`, U and Var E at nodes `betas` (K,), for ensembles of any shape (…): float NumPy arrays, nats.

    As fields `log_z` and `mean_energy` (…, K) are relative to `ground` (…): log Σ exp(-beta (E - E_0)) and <E> - E_0.
    """
