"""What a run of generation gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from heatbath.engine.tape import Arrays
from heatbath.errors import BadInput
from heatbath.models.base import Tokens
from heatbath.record import About, Trace, texts


@dataclass(frozen=True)
class Generation:
    """Continuations of prompts: `arrays` holds everything, the rest is read from it when asked for.

    `finish` says of each row why it ended: "stop" (a stop token, which is its last), "length" or "interrupted".
    """

    prompts: tuple[Tokens, ...]
    arrays: Arrays
    finish: tuple[str, ...]
    about: About
    spell: Callable[[int], bytes]

    def __len__(self) -> int:
        return len(self.prompts)

    @cached_property
    def sequences(self) -> list[list[int]]:
        """The tokens of each continuation, without the prompt."""
        return [row[:n].tolist() for row, n in zip(self.arrays.tokens, self.arrays.lengths, strict=True)]

    @cached_property
    def texts(self) -> list[str]:
        """The text of each continuation, bytes joined first, without the stop token."""
        return ["".join(texts(map(self.spell, self._spoken(row)))) for row in range(len(self))]

    @cached_property
    def traces(self) -> list[Trace]:
        """The trace of each continuation: views of `arrays`, positions counted from the prompt's first token."""
        return [self.trace(row) for row in range(len(self))]

    def trace(self, row: int) -> Trace:
        """The trace of one continuation.

        Raises:
            BadInput: the run kept no record.
        """
        if self.arrays.record is None or "entropy" not in self.arrays.record:
            raise BadInput("this run kept no full record: generate with record=True.")
        n = int(self.arrays.lengths[row])
        tokens = self.arrays.tokens[row, :n]
        positions = len(self.prompts[row]) + np.arange(n)
        return Trace(tokens, positions, self.arrays.record.take((row, slice(n))), self.about, self.spell, row)

    def _spoken(self, row: int) -> list[int]:
        tokens = self.sequences[row]
        return tokens[:-1] if self.finish[row] == "stop" else tokens
