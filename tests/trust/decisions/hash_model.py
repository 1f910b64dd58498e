"""A model of bytes whose energies depend on every token before, in a random way, so that order always matters."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from heatbath.models import ExactModel, Vocabulary
from heatbath.models.exact.base import Floats, Ints, parameter_fingerprint

ROWS, MODULUS, WIDTH = 997, 999_983, 16


class HashModel(ExactModel):
    """Bytes; `bias` is added to the energy of some bytes in every context. It has hidden states."""

    def __init__(self, seed: int = 0, bias: Mapping[str, float] | None = None) -> None:
        super().__init__("hash", Vocabulary(256), [bytes([byte]) for byte in range(256)])
        self.seed = seed
        self.bias = np.zeros(256)
        for character, energy in (bias or {}).items():
            self.bias[ord(character)] = energy
        self._table = np.random.default_rng(seed).normal(0.0, 2.0, (ROWS, 256))

    @cached_property
    def fingerprint(self) -> str:
        return parameter_fingerprint("HashModel", self.seed, self.bias)

    def initial_state(self, rows: int) -> Ints:
        return np.zeros((rows, 1), np.int64)

    def advance(self, state: Ints, tokens: Ints) -> Ints:
        return (state * 131 + tokens[:, None] + 1) % MODULUS

    def next_energies(self, state: Ints) -> Floats:
        return np.asarray(self._table[state[:, 0] % ROWS] + self.bias)

    def encode(self, text: str, *, document_start: bool = True) -> list[int]:
        return list(text.encode())

    def hidden_states(self, tokens: Any) -> Floats:
        """Counts of bytes so far, by their last four bits, (1, T, 16)."""
        return np.cumsum(np.eye(WIDTH)[np.asarray(tokens) % WIDTH], axis=0)[None]
