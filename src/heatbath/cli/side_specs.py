"""The sides of `heatbath compare` as they are written: `MODEL`, `MODEL:SETTING,SETTING` or `:SETTING`.

A setting is a dtype (float32, bfloat16), a device (cpu, cuda, cuda:1), `seed=N`, or a window such as `top_p=0.9`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace

from heatbath.errors import BadInput

DTYPES = ("float32", "bfloat16")
_DEVICE = re.compile(r"cpu|cuda(:\d+)?")
_NAMED = re.compile(r"[a-z_]+(=.*)?")
_SYNTAX = "write MODEL:SETTING,SETTING with float32, bfloat16, cpu, cuda, seed=1 or windows such as top_p=0.9"


@dataclass(frozen=True)
class SideSpec:
    """A side as it is written; None and no windows mean "not given"."""

    model: str = ""
    dtype: str | None = None
    device: str | None = None
    seed: int | None = None
    windows: tuple[str, ...] = ()

    def with_defaults(self, defaults: SideSpec) -> SideSpec:
        """Return the spec with what it does not give taken from another."""
        return SideSpec(
            self.model or defaults.model,
            self.dtype or defaults.dtype,
            self.device or defaults.device,
            defaults.seed if self.seed is None else self.seed,
            self.windows or defaults.windows,
        )

    def format_label(self, sides: tuple[SideSpec, SideSpec], name: str) -> str:
        """Return a label: the name of the model, with the settings in which the two sides differ."""
        words = [name]
        for field in ("dtype", "device", "seed"):
            if getattr(sides[0], field) != getattr(sides[1], field):
                value = getattr(self, field)
                words.append(f"seed {value}" if field == "seed" else value or f"default {field}")
        if sides[0].windows != sides[1].windows:
            words.append(" ".join(self.windows) or "no window")
        return ", ".join(words)


def parse_side_specs(texts: tuple[str, str | None], common: SideSpec, of_b: SideSpec) -> tuple[SideSpec, SideSpec]:
    """Parse both sides; `common` are options for both, and `of_b` options for B, which come before those.

    Raises:
        BadInput: a setting is unknown, A names no model, or nothing sets B apart from A.
    """
    a = parse_side(texts[0])
    if not a.model:
        raise BadInput(f"A must name a model, got {texts[0]!r}: {_SYNTAX}.")
    if texts[1] is None and of_b == SideSpec():
        raise BadInput("there is nothing to compare with: give B, or an option such as --dtype-b or --window-b.")
    b = parse_side(texts[1] or "").with_defaults(of_b)
    b = replace(b, model=b.model or a.model)
    return a.with_defaults(common), b.with_defaults(common)


def parse_side(text: str) -> SideSpec:
    """Parse one side. What exists as a path is a model as it stands, colons and all.

    Raises:
        BadInput: a setting is unknown.
    """
    name, colon, settings = text.partition(":") if not _has_drive(text) else (text, "", "")
    if not colon or os.path.exists(text):
        return SideSpec(text)
    spec = SideSpec(name)
    for setting in _split_settings(settings):
        spec = _add_setting(spec, setting, text)
    return spec


def _has_drive(text: str) -> bool:
    """Return whether a text begins like a path with a drive letter."""
    return re.match(r"[A-Za-z]:[\\/]", text) is not None


def _split_settings(text: str) -> list[str]:
    """Split at commas outside braces and brackets, which belong to the value of a window."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "{[") - (character in "}]")
        if character == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _add_setting(spec: SideSpec, setting: str, text: str) -> SideSpec:
    if setting in DTYPES:
        return replace(spec, dtype=setting)
    if _DEVICE.fullmatch(setting):
        return replace(spec, device=setting)
    name, _, value = setting.partition("=")
    if name == "seed":
        if not value.isdecimal():
            raise BadInput(f"`seed` must be an integer of at least 0, got {value!r} in {text!r}.")
        return replace(spec, seed=int(value))
    if not _NAMED.fullmatch(setting) or "=" not in setting:
        raise BadInput(f"{setting!r} in {text!r} is no setting of a side: {_SYNTAX}.")
    return replace(spec, windows=(*spec.windows, setting))
