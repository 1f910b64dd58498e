"""Contract suites for what others write: a model, a field, a potential, a sampler of tokens or of whole answers.

Each raises AssertionError with one sentence.
"""

from heatbath.testing.answers import check_answers
from heatbath.testing.field import check_field
from heatbath.testing.model import check_model
from heatbath.testing.potential import check_potential
from heatbath.testing.sampler import check_sampler

__all__ = ["check_answers", "check_field", "check_model", "check_potential", "check_sampler"]
