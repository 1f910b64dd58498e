"""What adds: fields and potentials, and their algebra."""

from heatbath.energy.base import Context, Energy, Field, FieldSum, Potential, PotentialSum
from heatbath.energy.tokens import Forbid, LogitBias

__all__ = ["Context", "Energy", "Field", "FieldSum", "Forbid", "LogitBias", "Potential", "PotentialSum"]
