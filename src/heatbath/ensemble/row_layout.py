"""Conversion of energies of any shape, library and format to rows that a kernel reads, and back."""

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
    """Ensembles in rows: `words` (N, V) as integers of the same bits, or a CUDA tensor; `lead_shape` their shape."""

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
        """True if the words are on a CUDA device."""
        return not isinstance(self.words, np.ndarray)

    def restore(self, values: npt.NDArray[Any]) -> Any:
        """Reshape `values` (…, N) to (…, *lead_shape), in the library and on the device of the energies."""
        shaped = values.reshape(values.shape[:-1] + self.lead_shape)
        if isinstance(self.like, np.ndarray):
            return shaped
        import torch

        return torch.tensor(shaped, device=self.like.device)

    def broadcast(self, values: Any, name: str) -> npt.NDArray[np.float64]:
        """Broadcast `values`, a number or an array of shape `lead_shape`, to one float64 per row."""
        numbers = as_array(values).astype(np.float64)
        try:
            return np.broadcast_to(numbers, self.lead_shape).reshape(-1)
        except ValueError:
            raise BadInput(
                f"`{name}` must be one number or have the shape {self.lead_shape} of the rows, got {numbers.shape}."
            ) from None

    def describe_row(self, row: int) -> str:
        """Return the name of a row for a message."""
        if not self.lead_shape:
            return "the ensemble"
        where = np.unravel_index(row, self.lead_shape)
        return f"row {int(where[0])}" if len(where) == 1 else f"row {tuple(int(i) for i in where)}"

    def raise_for_status(self, status: npt.NDArray[Any]) -> None:
        """Raise the error of the first bad row; `status` (N,) is 0 for good, 1 for NaN, 2 for -inf, 3 for empty."""
        bad = np.flatnonzero(status)
        if not bad.size:
            return
        where, kind = self.describe_row(int(bad[0])), int(status[bad[0]])
        if kind == 1:
            raise NotANumber(f"The energies of {where} hold a NaN: check the model or the field that computed them.")
        if kind == 2:
            raise BadInput(f"The energies of {where} hold -inf: they must be finite, or +inf for an absent state.")
        raise BadInput(f"The energies of {where} are all +inf: an ensemble needs at least one finite energy.")


def as_array(values: Any) -> npt.NDArray[Any]:
    """Convert a number, a list, an array or a tensor to a NumPy array; bfloat16, which NumPy lacks, to float32."""
    if not hasattr(values, "detach"):
        return np.asarray(values)
    host = values.detach().cpu()
    return np.asarray(host.float() if str(host.dtype) == "torch.bfloat16" else host)


def as_rows(energies: Any) -> EnergyRows:
    """Convert `energies` (…, V) to rows, copied only if memory is not contiguous.

    Raises `BadInput` for energies that are not floating-point numbers or have no states.
    """
    like = energies if hasattr(energies, "detach") else np.asarray(energies)
    kind = str(like.dtype).rpartition(".")[2]
    if kind not in _WORD_TYPES:
        raise BadInput(f"Energies must be {FORMATS}, got {kind}: convert them.")
    if like.ndim == 0 or like.shape[-1] == 0:
        raise BadInput(f"Energies must have at least one state along the last axis, got shape {tuple(like.shape)}.")
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
