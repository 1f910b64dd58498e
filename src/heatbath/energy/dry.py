"""DRY: a penalty that grows with the length of the repetition that a token would continue."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf, log

from heatbath.energy.base import Context, Field
from heatbath.energy.context import Table, unfinished_rows, zero_energies
from heatbath.energy.spec import BuildContext, Range, Spec
from heatbath.errors import BadInput

_MAX_LOG_POWER = log(1e30)


@dataclass(frozen=True, repr=False)
class DryPenalty(Field):
    r"""Energy for each token that would continue a repetition, (B, V), in nats.

    $E(v) = m\, b^{n(v) - a}$ for $n(v) \ge a$, else 0. n(v) is the length of the longest suffix of the tokens so far
    that occurred before, followed by v; m is the `multiplier`, b the `base`, a the `allowed_length`. Only the last
    `last_n` tokens of prompt and completion are searched, all of them by default. A repetition never contains a token
    of `breakers`, and these are not penalised (`find_breaker_tokens` finds them by their bytes). The power is capped at
    1e30, to fit float32.

    Raises `BadInput` for a multiplier below 0, a base below 1, lengths below 1.
    Source: the DRY sampler of text-generation-webui and llama.cpp.
    """

    multiplier: float
    base: float = 1.75
    allowed_length: int = 2
    breakers: frozenset[int] = frozenset()
    last_n: int | None = None
    name: str = "dry"

    def __post_init__(self) -> None:
        object.__setattr__(self, "breakers", frozenset(self.breakers))
        if not 0 <= self.multiplier < inf or not 1 <= self.base < inf:
            raise BadInput(
                f"`multiplier` and `base` of field {self.name!r} must be finite and at least 0 and 1, "
                f"got {self.multiplier} and {self.base}."
            )
        if self.allowed_length < 1 or (self.last_n is not None and self.last_n < 1):
            raise BadInput(
                f"`allowed_length` and `last_n` of field {self.name!r} must be at least 1, "
                f"got {self.allowed_length} and {self.last_n}."
            )

    def __call__(self, context: Context) -> Table:
        energies = zero_energies(context)
        for row in unfinished_rows(context) if self.multiplier else ():
            tokens = list(context.tokens[row])[-(self.last_n or 0) :]
            for token, length in find_repeat_lengths(tokens, self.breakers).items():
                if length >= self.allowed_length:
                    energies[row, token] = self._energy(length - self.allowed_length)
        return energies

    def _energy(self, over: int) -> float:
        return float(
            self.multiplier * min(self.base ** min(over, _MAX_LOG_POWER / log(self.base) if self.base > 1 else 0), 1e30)
        )


def find_breaker_tokens(breakers: Iterable[bytes | str], pieces: Sequence[bytes]) -> frozenset[int]:
    """Find the tokens whose bytes `pieces[token]` contain one of `breakers`, such as a newline or a colon."""
    patterns = [breaker.encode() if isinstance(breaker, str) else breaker for breaker in breakers]
    return frozenset(token for token, piece in enumerate(pieces) if any(pattern in piece for pattern in patterns))


def find_repeat_lengths(tokens: Sequence[int], breakers: frozenset[int]) -> dict[int, int]:
    """Map each token that followed an earlier copy of a suffix of `tokens` to the length of the longest such suffix."""
    backwards = list(tokens[::-1])
    longest = next((n for n, token in enumerate(backwards) if token in breakers), len(backwards))
    lengths: dict[int, int] = {}
    # Reversed, a suffix is a prefix, and the token that followed its earlier copy stands one position before that.
    for place, length in enumerate(_prefix_match_lengths(backwards, longest)):
        if length and place and backwards[place - 1] not in breakers:
            follower = backwards[place - 1]
            lengths[follower] = max(lengths.get(follower, 0), length)
    return lengths


def _prefix_match_lengths(tokens: Sequence[int], max_length: int) -> list[int]:
    """Compute the Z-function: at each position, the length of the match with the prefix, up to `max_length`."""
    lengths = [0] * len(tokens)
    left = right = 0
    for place in range(1, len(tokens)):
        length = min(lengths[place - left], right - place) if place < right else 0
        while length < max_length and place + length < len(tokens) and tokens[place + length] == tokens[length]:
            length += 1
        lengths[place] = length
        if place + length > right:
            left, right = place, place + length
    return lengths


def _build_dry(
    context: BuildContext,
    multiplier: float,
    *,
    base: float = 1.75,
    allowed_length: int = 2,
    breakers: Sequence[str] = ("\n", ":", '"', "*"),
    last_n: int | None = None,
) -> Field:
    pieces = [context.token_bytes(token) for token in range(context.vocab_size)]
    return DryPenalty(multiplier, base, allowed_length, find_breaker_tokens(breakers, pieces), last_n)


SPEC = Spec(
    "dry",
    "field",
    _build_dry,
    "0.8",
    order=80,
    ranges={
        "multiplier": Range(0.0, 1e30),
        "base": Range(1.0, 1e30),
        "allowed_length": Range(1, 2**31 - 1),
        "last_n": Range(1, 2**31 - 1, or_none=True),
    },
)
