"""Contract suites for extensions: models, fields, potentials, token samplers and sequence samplers.

Each raises AssertionError with one sentence.
"""

from heatbath.testing.field import check_field
from heatbath.testing.model import check_model
from heatbath.testing.potential import check_potential
from heatbath.testing.sequence_sampler import check_sequence_sampler
from heatbath.testing.token_sampler import check_sampler

__all__ = ["check_field", "check_model", "check_potential", "check_sampler", "check_sequence_sampler"]
