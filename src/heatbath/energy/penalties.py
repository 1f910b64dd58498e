"""Penalties on tokens that occurred before: repetition, presence and frequency."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from heatbath.energy.base import Context, Field
from heatbath.energy.context import Table, unfinished_rows, validate_count, zero_energies
from heatbath.energy.spec import BuildContext, Range, Spec
from heatbath.ensemble.arrays import to_numpy
from heatbath.errors import BadInput


class RepetitionPenalty(Field):
    r"""Divides the logit of each token that occurred before by `penalty` if positive, else multiplies it, (B, V).

    With logit $l = -E$ of the energies so far: $E_f = l - l/\theta$ for $l > 0$ and $l - \theta l$ otherwise. This
    depends on the gauge of the logits and on the position among the fields, so the field does not commute. The last
    `last_n` tokens count, all of them by default, with the prompt unless `prompt` is False. A penalty below 1 rewards.

    Raises `BadInput` for a penalty that is not positive, and for a context without energies.
    Source: Keskar et al. 2019, arXiv:1909.05858, section 4.1.
    """

    name = "repetition"
    commutes = False

    def __init__(self, penalty: float, *, last_n: int | None = None, prompt: bool = True) -> None:
        if not 0 < penalty < np.inf:
            raise BadInput(
                f"`penalty` of field {self.name!r} must be positive and finite, got {penalty}: 1 has no effect."
            )
        self.penalty, self.prompt = float(penalty), prompt
        self.last_n = validate_count(last_n, f"`last_n` of field {self.name!r}")

    def __call__(self, context: Context) -> Table:
        if context.energies is None:
            raise BadInput(f"field {self.name!r} needs the energies so far, and the context has none.")
        energies = zero_energies(context)
        for row in unfinished_rows(context):
            tokens = np.unique(_preceding_tokens(context, row, last_n=self.last_n, prompt=self.prompt))
            if tokens.size:
                energies[row, tokens] = self._penalty_energies(
                    -to_numpy(context.energies[row, tokens.tolist()]).astype(np.float64)
                )
        return energies

    def _penalty_energies(self, logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        # A forbidden token stays forbidden with 0 added; the formula would give NaN or -inf.
        finite = np.where(np.isinf(logits), 0.0, logits)
        return finite - np.where(finite > 0, finite / self.penalty, finite * self.penalty)


class PresencePenalty(Field):
    r"""Energy `penalty`, in nats, for each token that occurred before, (B, V): $E(v) = \alpha [c_v > 0]$.

    $c_v$ counts v in the completion, in its last `last_n` tokens if given; `prompt` counts the prompt too. A negative
    penalty rewards. Raises `BadInput` for a penalty that is not finite. Source: the OpenAI API's `presence_penalty`.
    """

    name = "presence"

    def __init__(self, penalty: float, *, last_n: int | None = None, prompt: bool = False) -> None:
        self.penalty, self.prompt = _validate_penalty(penalty, self.name), prompt
        self.last_n = validate_count(last_n, f"`last_n` of field {self.name!r}")

    def __call__(self, context: Context) -> Table:
        energies = zero_energies(context)
        for row in unfinished_rows(context):
            tokens, counts = np.unique(
                _preceding_tokens(context, row, last_n=self.last_n, prompt=self.prompt), return_counts=True
            )
            energies[row, tokens] = self.penalty * self._weight_counts(counts)
        return energies

    def _weight_counts(self, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return np.ones_like(counts)


class FrequencyPenalty(PresencePenalty):
    r"""Energy `penalty`, in nats, for each time a token occurred before, (B, V): $E(v) = \alpha c_v$.

    $c_v$, `last_n`, `prompt` and errors are as in `PresencePenalty`. Source: the OpenAI API's
    `frequency_penalty`.
    """

    name = "frequency"

    def _weight_counts(self, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return counts


def _preceding_tokens(context: Context, row: int, *, last_n: int | None, prompt: bool) -> npt.NDArray[np.int64]:
    tokens: Sequence[int] = context.tokens[row] if prompt else context.completion(row)
    return np.asarray(tokens if last_n is None else tokens[-last_n:], np.int64)


def _validate_penalty(penalty: float, name: str) -> float:
    if not abs(penalty) < np.inf:
        raise BadInput(f"`penalty` of field {name!r} must be finite, got {penalty}.")
    return float(penalty)


def _build_repetition(context: BuildContext, penalty: float, *, last_n: int | None = None) -> Field:
    return RepetitionPenalty(penalty, last_n=last_n)


def _build_presence(context: BuildContext, penalty: float, *, last_n: int | None = None) -> Field:
    return PresencePenalty(penalty, last_n=last_n)


def _build_frequency(context: BuildContext, penalty: float, *, last_n: int | None = None) -> Field:
    return FrequencyPenalty(penalty, last_n=last_n)


_LAST_N = {"last_n": Range(1, 2**31 - 1, or_none=True)}
SPECS = (
    Spec("repetition", "field", _build_repetition, "1.1", order=50, ranges={"penalty": Range(1e-6, 1e6), **_LAST_N}),
    Spec("presence", "field", _build_presence, "0.5", order=60, ranges=_LAST_N),
    Spec("frequency", "field", _build_frequency, "0.5", order=70, ranges=_LAST_N),
)
