"""The types of signals: evidence in, a number with its bounds out.

A signal is a number about one answer that may tell right answers from wrong ones. It is named

    entropy              over the tokens of the answer, by the signal's own aggregation
    entropy:max          by another aggregation
    logprob@0.7:mean     with its parameter, a temperature or an order, given; `own` is the temperature of the trace

A module of this package that holds `SIGNAL_SPECS` registers its signals; `SIGNALS` finds them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from heatbath.errors import BadInput, format_value, suggest_name
from heatbath.models.base import Model, Tokens
from heatbath.record import Trace
from heatbath.short_repr import short_repr

T = TypeVar("T")
Floats = NDArray[np.float64]
Status = Literal["exact", "bounded", "none"]
Direction = Literal[1, -1]
Need = Literal["trace", "nodes", "uniform", "samples", "prompt", "model", "attention", "embedding"]
Aggregation = Literal["sum", "mean", "min", "max", "last", "decision"]


@dataclass(frozen=True, repr=False)
class SampledAnswer:
    """One of several answers that were drawn independently for the same prompt.

    `logprob` is the log-probability of its tokens, in nats, in the distribution that it was drawn from; NaN if unknown.
    Two samples with the same `tokens` (the same text, where tokens are not given) are the same sequence.
    """

    text: str
    logprob: float = math.nan
    tokens: Tokens = ()

    __repr__ = short_repr


@dataclass(frozen=True, repr=False, eq=False)
class Evidence:
    """Everything known about one answer; a signal whose needs are not met has the status "none".

    Attributes:
        trace: the records of the answer's tokens; those without a context do not count.
        samples: further answers to the same prompt, drawn independently. The answer itself is not one of them.
        prompt: the trace of the prompt.
        model: for the signals that evaluate it again.
        text: the text of the answer; that of the trace by default.
        prompt_tokens: the tokens before the answer, for the signals that evaluate the model again.
        top_logprobs: log-probabilities at T = 1 of the most probable tokens at each position (n, k), of `vocab_size`
            tokens, in place of a trace or beside it.
        token_logprobs: log-probabilities at T = 1 of the answer's tokens, (n,), beside `top_logprobs`.
        decision_mask: the tokens at which the answer is decided, (n,), in place of those of high entropy.
        embed: a function from texts to unit vectors (n, d), for clusters by embedding.
    """

    trace: Trace | None = None
    samples: Sequence[SampledAnswer] = ()
    prompt: Trace | None = None
    model: Model | None = None
    text: str | None = None
    prompt_tokens: Tokens = ()
    top_logprobs: Any = None
    token_logprobs: Any = None
    vocab_size: int | None = None
    decision_mask: Any = None
    embed: Callable[[Sequence[str]], Any] | None = None
    _memo: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)

    __repr__ = short_repr

    def memoize(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Return what `compute` returned at the first call with this key: several signals share costly parts."""
        if key not in self._memo:
            self._memo[key] = compute()
        return cast(T, self._memo[key])

    @property
    def answer_text(self) -> str | None:
        """The text of the answer; None where neither it nor a trace is given."""
        if self.text is not None or self.trace is None:
            return self.text
        return self.trace.text


@dataclass(frozen=True, slots=True)
class SignalValue:
    """A signal of one answer: `lower` <= truth <= `upper`.

    With the status "exact" all three are one number; with "bounded" `value` lies between the others, of which one may
    be infinite; with "none" they are NaN and `reason` says why.
    """

    value: float
    lower: float
    upper: float
    status: Status
    reason: str = ""

    @classmethod
    def exact(cls, value: float) -> SignalValue:
        """Return a value without an error."""
        return cls(value, value, value, "exact")

    @classmethod
    def interval(cls, lower: float, upper: float, value: float | None = None, reason: str = "") -> SignalValue:
        """Return an interval; the value is its middle, or its finite end, where none is given."""
        return cls(float(middle(lower, upper)) if value is None else value, lower, upper, "bounded", reason)

    @classmethod
    def none(cls, reason: str) -> SignalValue:
        """Return the absence of a value, with the reason."""
        return cls(math.nan, math.nan, math.nan, "none", reason)


def middle(lower: Any, upper: Any) -> Any:
    """Return the middle of an interval, or of each of many; its finite end if the other one is infinite."""
    with np.errstate(invalid="ignore"):
        inside = lower + (upper - lower) / 2.0
    return np.where(np.isinf(lower), upper, np.where(np.isinf(upper), lower, inside))


@dataclass(frozen=True)
class SignalSpec:
    """The description of a signal, and the function that computes it.

    Attributes:
        name: without parameter and aggregation.
        family: the group that the documentation lists it in.
        summary: what it is, in a few words.
        direction: 1 if a higher value speaks for a right answer, -1 if against.
        is_gauge_invariant: whether it stays the same when a constant is added to all energies of a context.
        needs: what the evidence must hold.
        cost: in words, beyond the generation of the answer itself.
        compute_tokens: its values at the tokens of many answers, from their ensembles and the parameter; for a signal
            that is aggregated over tokens.
        compute: its value of one answer, from the evidence and the parameter; for the others.
        aggregations: those it takes, its own first; none for a signal of a whole answer.
        parameters: those computed where none is asked for; empty for a signal without a parameter.
        parameter_name: "temperature", "order" or what the parameter is otherwise; empty without one.
        count_tokens: the number of tokens that the model evaluates for it, beyond those of the answer.
    """

    name: str
    family: str
    summary: str
    direction: Direction
    is_gauge_invariant: bool
    needs: tuple[Need, ...]
    cost: str = "none"
    compute_tokens: Callable[[Any, float | None], Any] | None = None
    compute: Callable[[Evidence, float | None], SignalValue] | None = None
    aggregations: tuple[Aggregation, ...] = ()
    parameters: tuple[float | None, ...] = ()
    parameter_name: str = ""
    count_tokens: Callable[[Evidence], int] = field(default=lambda evidence: 0)


@dataclass(frozen=True)
class NamedSignal:
    """A signal with its parameter and aggregation: what a name such as `logprob@0.7:mean` stands for."""

    spec: SignalSpec
    parameter: float | None = None
    aggregation: Aggregation | None = None

    @property
    def name(self) -> str:
        """The name, complete: parameter and aggregation are always in it where the signal has them."""
        parameter = f"@{_format_parameter(self.parameter)}" if self.spec.parameter_name else ""
        aggregation = f":{self.aggregation}" if self.aggregation else ""
        return f"{self.spec.name}{parameter}{aggregation}"


def parse_signal_name(
    name: str, signals: Mapping[str, SignalSpec], *, aggregation: Aggregation | None = None
) -> NamedSignal:
    """Return what a name stands for; `aggregation` is for a name that has none, where the signal takes it.

    Raises:
        BadInput: no such signal, or a parameter or aggregation that it does not take.
    """
    if not isinstance(name, str):
        raise BadInput(f"a signal must be given by its name, got {format_value(name)}.", param="signal")
    rest, colon, chosen = name.partition(":")
    base, at, text = rest.partition("@")
    if base not in signals:
        raise BadInput(
            f"there is no signal {format_value(base)}{suggest_name(base, signals)}: choose from {', '.join(signals)}.",
            param="signal",
        )
    spec = signals[base]
    if colon and chosen not in spec.aggregations:
        allowed = ", ".join(spec.aggregations) or "none"
        raise BadInput(f"the aggregation of {base} must be one of: {allowed}; got {chosen!r}.", param="signal")
    if not colon:
        usual = spec.aggregations[0] if spec.aggregations else None
        chosen = aggregation if aggregation in spec.aggregations else usual  # type: ignore[assignment]
    parameter = _parse_parameter(spec, text) if at else (spec.parameters[0] if spec.parameters else None)
    return NamedSignal(spec, parameter, chosen or None)  # type: ignore[arg-type]


def _parse_parameter(spec: SignalSpec, text: str) -> float | None:
    if not spec.parameter_name:
        raise BadInput(f"the signal {spec.name} takes no parameter, got @{text}.", param="signal")
    if text == "own" and spec.parameter_name == "temperature":
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value >= 0.0:
        own = " or own" if spec.parameter_name == "temperature" else ""
        raise BadInput(
            f"the {spec.parameter_name} of {spec.name} must be a number of 0 or greater{own}, got {text!r}.",
            param="signal",
        )
    return value


def _format_parameter(parameter: float | None) -> str:
    return "own" if parameter is None else f"{parameter:.12g}"
