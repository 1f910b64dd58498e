"""The loading report of `transformers` as errors: tensors that are missing, unused, or of another shape.

`from_pretrained` fills what is missing with random numbers and says so in a log line. Tensors that a class expects to
be missing or unused (tied heads, rotary frequencies) are not in its report.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from heatbath.errors import ModelError

_NAMED_TENSORS = 5


@dataclass(frozen=True)
class LoadingReport:
    """The tensors of a file that do not fit a model, by name.

    Attributes:
        model_class: class of the model.
        num_tensors: number of its tensors.
        missing: tensors of the model that are not in the file.
        unused: tensors of the file that are not in the model.
        mismatched: tensors of another shape, with the shape in the file and in the model.
    """

    model_class: str
    num_tensors: int
    missing: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()

    def raise_problems(self, place: Any) -> None:
        """Raise `ModelError` naming the tensors, if there are any."""
        if self.mismatched:
            shapes = [f"{name} {list(found)}, expected {list(expected)}" for name, found, expected in self.mismatched]
            raise ModelError(
                f"the tensors of {place} do not fit its configuration ({list_names(shapes)}): "
                "take weights and config.json of the same model."
            )
        if self.missing:
            raise ModelError(
                f"{place} lacks {len(self.missing)} of the model's {self.num_tensors} tensors "
                f"({list_names(self.missing)}): fetch the file again, or one that is complete."
            )
        if self.unused:
            raise ModelError(
                f"{place} has tensors that {self.model_class} does not use ({list_names(self.unused)}): "
                "take a configuration that describes these weights, or another form of the model."
            )


def read_loading_report(module: Any, info: Mapping[str, Any]) -> LoadingReport:
    """Return the report for what `from_pretrained` gave with `output_loading_info`."""
    mismatched = ((name, tuple(found), tuple(expected)) for name, found, expected in info["mismatched_keys"])
    return LoadingReport(
        model_class=type(module).__name__,
        num_tensors=len(module.state_dict()),
        missing=tuple(sorted(info["missing_keys"])),
        unused=tuple(sorted(info["unexpected_keys"])),
        mismatched=tuple(sorted(mismatched)),
    )


def list_names(names: Iterable[str]) -> str:
    """Return the first names and the number of the others."""
    listed = list(names)
    others = len(listed) - _NAMED_TENSORS
    return ", ".join(listed[:_NAMED_TENSORS]) + (f" and {others} more" if others > 0 else "")
