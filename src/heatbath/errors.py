"""Every error heatbath raises on purpose.

    HeatbathError
    ├── BadInput          what the caller gave cannot be used (also a ValueError; exit code 2)
    ├── ModelError        a model cannot be found, fetched, read or run
    │   └── NotANumber    the model's energies hold a NaN, with the row or position
    ├── MissingExtra      an optional part is not installed; the sentence says what to install
    └── Unreliable        an estimate rests on too little; carries it as `.estimate`

A message is one sentence on one line: what was wrong, the value, the way out.
"""

from __future__ import annotations

from collections.abc import Iterable


class HeatbathError(Exception):
    """The root of the tree.

    Attributes:
        param: the option or field of a request that is wrong, where it is one.
        component: the name of the field, potential, window or schedule that is at fault, where it is one.
        reason: the message without the name of the component, where it begins with that.
        permanent: whether another try can help (False) or not (True); None where that is not known.
        partial: what had been done when long work failed, where there is something.
    """

    partial: object = None
    reason: str = ""

    def __init__(
        self,
        message: str = "",
        *,
        param: str | None = None,
        component: str | None = None,
        permanent: bool | None = None,
    ) -> None:
        # The words of another library, or of a value, may come with line breaks.
        lines = message.splitlines()
        super().__init__(message if len(lines) <= 1 else " ".join(line.strip() for line in lines if line.strip()))
        self.param, self.component, self.permanent = param, component, permanent


class BadInput(HeatbathError, ValueError):
    """An argument or a request that cannot be used."""


class ModelError(HeatbathError):
    """A model cannot be found, fetched, read or run."""


class NotANumber(ModelError, ValueError):
    """Energies hold a NaN; the message names the row or position."""


class MissingExtra(HeatbathError, ImportError):
    """An optional part is not installed; the message has the command that installs it from where heatbath came."""

    def __init__(self, what: str, extra: str) -> None:
        from heatbath.installation import install_command

        super().__init__(f"{what} needs an optional part: run {install_command(extra)}.")


class Unreliable(HeatbathError):
    """An estimate rests on too few effective samples; `.estimate` is the number all the same."""

    def __init__(self, message: str, estimate: object) -> None:
        super().__init__(message)
        self.estimate = estimate


def suggest_name(name: str, choices: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return " (did you mean 'x'?)" for the choice most similar to `name`, or "" if none is similar enough."""
    from difflib import get_close_matches

    matches = get_close_matches(name, list(choices), n=1, cutoff=cutoff)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def format_value(value: object) -> str:
    """Return a value as an error message shows it: on one line, and cut where it is long."""
    return " ".join(repr(value).split())[:60]
