"""Energies of any shape, library and format as rows that a kernel reads, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.errors import BadInput, NotANumber

FORMATS = "float16, bfloat16, float32 or float64"
_WORD_TYPES = {"float16": np.int16, "bfloat16": np.uint16, "float32": np.int32, "float64": np.int64}


@dataclass(frozen=True)
class EnergyRows:
    """Ensembles in rows: `words` (N, V) as integers of the same bits, or a CUDA tensor as it is; `lead` their shape."""

    words: Any
    lead_shape: tuple[int, ...]
    like: Any

    @property
    def num_rows(self) -> int:
        return int(self.words.shape[0])

    @property
    def num_states(self) -> int:
        return int(self.words.shape[1])

    @property
    def is_on_device(self) -> bool:
        """Whether a CUDA kernel must read the words."""
        return not isinstance(self.words, np.ndarray)

    def restore(self, values: npt.NDArray[Any]) -> Any:
        """`values` (…, N) in the shape (…, *lead), in the library and on the device of the energies."""
        shaped = values.reshape(values.shape[:-1] + self.lead_shape)
        if isinstance(self.like, np.ndarray):
            return shaped
        import torch

        return torch.tensor(shaped, device=self.like.device)

    def broadcast(self, values: Any, name: str) -> npt.NDArray[np.float64]:
        """`values`, a number or an array of the shape `lead`, as one float64 a row."""
        numbers = as_array(values).astype(np.float64)
        try:
            return np.broadcast_to(numbers, self.lead_shape).reshape(-1)
        except ValueError:
            raise BadInput(
                f"{name} has shape {numbers.shape}: give one number, or one for each of the {self.lead_shape} rows."
            ) from None

    def describe_row(self, row: int) -> str:
        """The name of a row in a sentence."""
        if not self.lead_shape:
            return "the ensemble"
        where = np.unravel_index(row, self.lead_shape)
        return f"row {int(where[0])}" if len(where) == 1 else f"row {tuple(int(i) for i in where)}"

    def raise_for_status(self, status: npt.NDArray[Any]) -> None:
        """Raise what the first bad row deserves; `status` (N,) holds 0 for good, 1 NaN, 2 -inf, 3 empty."""
        bad = np.flatnonzero(status)
        if not bad.size:
            return
        where, kind = self.describe_row(int(bad[0])), int(status[bad[0]])
        if kind == 1:
            raise NotANumber(f"The energies of {where} hold a NaN: look at the model or the field that made them.")
        if kind == 2:
            raise BadInput(f"The energies of {where} hold -inf: an energy must be finite, or +inf for an absent state.")
        raise BadInput(f"The energies of {where} are all +inf: an ensemble needs at least one state that is present.")


def as_array(values: Any) -> npt.NDArray[Any]:
    """Numbers, a list, an array or a tensor as a NumPy array."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def as_rows(energies: Any) -> EnergyRows:
    """The rows of `energies` (…, V), copied only where memory is not already laid out in rows.

    Raises BadInput for energies that are not floating-point numbers or have no states.
    """
    like = energies if hasattr(energies, "detach") else np.asarray(energies)
    kind = str(like.dtype).rpartition(".")[2]
    if kind not in _WORD_TYPES:
        raise BadInput(f"Energies of type {kind} cannot be used: convert them to {FORMATS}.")
    if like.ndim == 0 or like.shape[-1] == 0:
        raise BadInput(f"Energies of shape {tuple(like.shape)} hold no state: their last axis must list at least one.")
    lead, states = tuple(like.shape[:-1]), like.shape[-1]
    flat = like.reshape(int(np.prod(lead)), states)
    return EnergyRows(_as_words(flat, kind), lead, like)


def _as_words(flat: Any, kind: str) -> Any:
    if isinstance(flat, np.ndarray):
        native = np.ascontiguousarray(flat, flat.dtype.newbyteorder("="))
        return native.view(_WORD_TYPES[kind])
    flat = flat.detach().contiguous()
    if flat.device.type == "cuda":
        return flat
    import torch

    signed = {2: torch.int16, 4: torch.int32, 8: torch.int64}[flat.element_size()]
    return flat.cpu().view(signed).numpy().view(_WORD_TYPES[kind])
