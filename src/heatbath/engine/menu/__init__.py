"""What steers, by name: fields, potentials, windows and schedules from plain values, for commands and requests.

    FIELDS["json_schema"].make(setting, {"type": "object"})
    choose(FIELDS, "field", "dry=0.8", setting)

A `Setting` says on which model and within which length.
"""

from heatbath.engine.menu.choosing import Dish, Setting, choose, made
from heatbath.engine.menu.fields import FIELDS
from heatbath.engine.menu.potentials import POTENTIALS
from heatbath.engine.menu.schedules import SCHEDULES
from heatbath.engine.menu.windows import WINDOWS

__all__ = ["FIELDS", "POTENTIALS", "SCHEDULES", "WINDOWS", "Dish", "Setting", "choose", "made"]
