"""The settings that all samplers share, as the builders of samplers read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.decode.schedules import Schedule
from heatbath.decode.windows import Window
from heatbath.energy.base import Field, Potential
from heatbath.errors import BadInput, format_value

Floats = npt.NDArray[np.float64]
Temperature = float | Sequence[float] | Floats | Schedule


@dataclass(frozen=True)
class SamplerArguments:
    """Temperature, windows, fields and potentials for `rows` rows, asked of the sampler `name`."""

    name: str
    temperature: Temperature = 1.0
    window: Window | Sequence[Window] | None = None
    fields: Field | Sequence[Field] = ()
    potentials: Potential | Sequence[Potential] = ()
    rows: int = 1

    def single_temperature(self) -> float:
        """The temperature, for a sampler that takes one. Raises `BadInput` for a schedule or several."""
        values = self.temperature
        if isinstance(values, Schedule) or np.ndim(values):
            raise BadInput(f"the {self.name} sampler takes one temperature, neither a schedule nor several.")
        return float(validate_temperatures(values, 1))

    def row_temperatures(self) -> Floats | Schedule:
        """The temperatures of the rows, or their schedule."""
        if isinstance(self.temperature, Schedule):
            return self.temperature
        return validate_temperatures(self.temperature, self.rows)


def validate_temperatures(temperature: Temperature, rows: int) -> Floats:
    """Return the temperatures (rows,) or (), as given.

    Raises:
        BadInput: no number, below 0, NaN, or of another shape.
    """
    try:
        values = np.asarray(temperature, np.float64)
    except (TypeError, ValueError):
        values = np.asarray(np.nan)
    if isinstance(temperature, str | bytes | bool | None) or (values.ndim == 0 and np.isnan(values)):
        raise BadInput(
            f"temperature is {format_value(temperature)}: give a number from 0 up, one for each row, or a schedule.",
            param="temperature",
        )
    if values.shape not in ((), (rows,)):
        raise BadInput(f"{rows} rows take one temperature or {rows} of them, not shape {values.shape}.")
    wrong = values[~(values >= 0)]
    if wrong.size:
        raise BadInput(f"temperature is {wrong[0]}: give a number from 0 up.", param="temperature")
    return values


def validate_option_names(options: Mapping[str, Any], owner: str, known: Sequence[str]) -> None:
    """Raise `BadInput` for an option that `owner` does not have."""
    wrong = [name for name in options if name not in known]
    if wrong:
        what = f"its options are {', '.join(known)}" if known else "it takes no options"
        raise BadInput(f"{owner} knows no {wrong[0]!r}: {what}.")
