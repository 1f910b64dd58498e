"""What steers, by name: fields, potentials, windows and schedules from plain values, for commands and requests.

    FIELDS["json_schema"].make(setting, {"type": "object"})
    choose(FIELDS, "field", "dry=0.8", setting)

A `Setting` says on which model and within which length.
"""

from heatbath.engine.registry.entry import BuildContext, Entry, build, build_from_text
from heatbath.engine.registry.fields import FIELDS
from heatbath.engine.registry.potentials import POTENTIALS
from heatbath.engine.registry.schedules import SCHEDULES
from heatbath.engine.registry.windows import WINDOWS

__all__ = ["FIELDS", "POTENTIALS", "SCHEDULES", "WINDOWS", "BuildContext", "Entry", "build", "build_from_text"]
