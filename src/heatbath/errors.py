"""Every error heatbath raises on purpose.

    HeatbathError
    ├── BadInput          what the caller gave cannot be used (also a ValueError; exit code 2)
    ├── ModelError        a model cannot be found, fetched, read or run
    │   └── NotANumber    the model's energies hold a NaN, with the row or position
    ├── MissingExtra      an optional part is not installed; the sentence says what to install
    └── Unreliable        an estimate rests on too little; carries it as `.estimate`

A message is one sentence: what was wrong, the value, the way out.
"""

from __future__ import annotations


class HeatbathError(Exception):
    """The root of the tree.

    Attributes:
        partial: what had been done when long work failed, where there is something.
        param: the name of the argument or request field that is at fault, if known.
        component: the part at fault, such as "field 'dry'" or "window top_p=0.9", if known.
        permanent: whether trying again cannot help; None where that is not known.
    """

    partial: object = None

    def __init__(
        self,
        *args: object,
        param: str | None = None,
        component: str | None = None,
        permanent: bool | None = None,
    ) -> None:
        super().__init__(*args)
        self.param, self.component, self.permanent = param, component, permanent


class BadInput(HeatbathError, ValueError):
    """What the caller gave cannot be used."""


class ModelError(HeatbathError):
    """A model cannot be found, fetched, read or run."""


class NotANumber(ModelError, ValueError):
    """Energies hold a NaN; the message names the row or position."""


class MissingExtra(HeatbathError, ImportError):
    """An optional part is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional part: run pip install 'heatbath[{extra}]'.")


class Unreliable(HeatbathError):
    """An estimate rests on too few effective samples; `.estimate` is the number all the same."""

    def __init__(self, message: str, estimate: object) -> None:
        super().__init__(message)
        self.estimate = estimate
