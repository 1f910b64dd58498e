"""What the curves of a phase map are called where people read them."""

from __future__ import annotations

from heatbath.phases.curves import THERMAL_RATES

_LABELS = {
    "energy above ground": ("Energy above the ground state", "nats per token"),
    "surprisal": ("Surprisal at T", "nats per token"),
    "surprisal at T = 1": ("Surprisal at T = 1", "nats per token"),
    "entropy": ("Entropy", "nats per token"),
    "heat capacity": ("Heat capacity", "nats per token"),
    "Fisher information of beta": ("Fisher information of beta", "nats² per token"),
    "loop fraction": ("Loops: the second half of the text is an exact cycle", "share of texts"),
    "stale fraction": ("Nothing new: the second half of the text repeats the first", "share of texts"),
    "repetition": ("Repetition: the token stands among the 32 before it", "share of tokens"),
    "distinct bigrams": ("Distinct bigrams", "share of bigrams"),
    "compressed size": ("Compressed size", "share of bytes"),
    "characters": ("Length of the text", "characters"),
}


def title_and_unit(name: str) -> tuple[str, str]:
    """Title and unit of an observable; a user's own has no unit."""
    title, unit = _LABELS.get(name, (name[:1].upper() + name[1:], "value"))
    return (f"{title}, second half of the text" if name in THERMAL_RATES else title), unit
