"""Fields that forbid or favour fixed tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from heatbath.energy.base import Context, Field
from heatbath.energy.casefold import fold_case
from heatbath.energy.spec import BuildContext, Spec
from heatbath.energy.vocab_bytes import build_vocab_bytes
from heatbath.errors import BadInput


class ForbiddenTokens(Field):
    """Energy +inf for `tokens` in every row, 0 for the rest, (V,)."""

    def __init__(self, tokens: Iterable[int], *, name: str = "forbid") -> None:
        self.tokens = tuple(sorted(set(tokens)))
        self.name = name

    def __call__(self, context: Context) -> npt.NDArray[np.float64]:
        return _build_sparse_energies(dict.fromkeys(self.tokens, np.inf), context.vocab_size, self.name)


class LogitBias(Field):
    """Adds `bias[token]` nats to the logit of a token in every row: energy -bias, (V,). A bias of -inf forbids."""

    def __init__(self, bias: Mapping[int, float], *, name: str = "logit_bias") -> None:
        for token, value in bias.items():
            if not value < np.inf:
                raise BadInput(f"the bias of token {token} must be finite, or -inf to forbid it, got {value}.")
        self.bias = dict(bias)
        self.name = name

    def __call__(self, context: Context) -> npt.NDArray[np.float64]:
        return _build_sparse_energies(
            {token: -value for token, value in self.bias.items()}, context.vocab_size, self.name
        )


def _build_sparse_energies(energies: Mapping[int, float], size: int, name: str) -> npt.NDArray[np.float64]:
    row = np.zeros(size)
    for token, energy in energies.items():
        if not 0 <= token < size:
            raise BadInput(f"field {name!r}: token {token} is outside the vocabulary of {size}.")
        row[token] = energy
    return row


def _build_forbid_tokens(context: BuildContext, tokens: int | Sequence[int]) -> Field:
    given = [tokens] if isinstance(tokens, int) else list(tokens)
    if given and not (min(given) >= 0 and max(given) < context.vocab_size):
        raise BadInput(f"field 'forbid_tokens' holds {given!r:.40}: give token ids below {context.vocab_size}.")
    return ForbiddenTokens(given)


def _build_bias(context: BuildContext, **bias: float) -> Field:
    return LogitBias({context.resolve_token(text): float(value) for text, value in bias.items()})


def _build_token_energy(context: BuildContext, tokens: Sequence[int | str], energy: float | None = None) -> Field:
    """Build an energy of tokens by number or text; of a text, also with a space in front and in other cases."""
    pieces = build_vocab_bytes(context.token_bytes, context.vocab_size, fold=_fold_token)
    found: set[int] = set()
    for token in tokens:
        same = [token] if isinstance(token, int) else pieces.tokens_with_bytes(_fold_token(token.encode())).tolist()
        if not same or not 0 <= same[0] < context.vocab_size:
            raise BadInput(f"{token!r:.40} is no token of {context.model.name}: give others, or a phrase.")
        found.update(same)
    bias = -np.inf if energy is None else -float(energy)
    return LogitBias(dict.fromkeys(sorted(found), bias), name="token_energy")


def _fold_token(piece: bytes) -> bytes:
    return fold_case(piece.removeprefix(b" "))


SPECS = (
    Spec("forbid_tokens", "field", _build_forbid_tokens, "[17, 42]", order=20),
    Spec("token_energy", "field", _build_token_energy, '{"tokens": ["yes", 314], "energy": 2.0}', order=30),
    Spec("bias", "field", _build_bias, '{" yes": 2.0, "314": -1.0}', order=40),
)
