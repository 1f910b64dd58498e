"""The interface of an engine: requests go in, asynchronous streams of events come out.

A request is plain data, the same for an engine in this process, vLLM and a remote API.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from heatbath.errors import BadInput, HeatbathError, format_value
from heatbath.models.base import Tokens, Vocabulary

RecordMode = Literal["full", "state", "nodes"] | None
"""The record of a step: everything, all but nodes and divergences, energies and nodes alone, or nothing."""
RECORD_MODES: tuple[RecordMode, ...] = ("full", "state", "nodes", None)


def validate_record_mode(record: object) -> None:
    """Raise `BadInput` for a value that `record` cannot have; the message names the value that a boolean stood for."""
    if isinstance(record, bool):
        meant = '"full" for everything' if record else "None for nothing"
        raise BadInput(f"record is {record}: give {meant}.", param="record")
    if not (record is None or isinstance(record, str)) or record not in RECORD_MODES:
        raise BadInput(f"record is {format_value(record)}: give 'full', 'state', 'nodes' or None.", param="record")


class Unavailable(HeatbathError):
    """The engine accepts no requests: it is starting, draining or broken."""


class Overloaded(HeatbathError):
    """The queue is full; there may be room after `retry_after` seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineExceeded(HeatbathError):
    """A request waited or ran longer than it was allowed to."""


@dataclass(frozen=True)
class ComponentSpec:
    """A component of `heatbath.engine.registry` by `name`, with its `value`: a number, a text, a list or settings.

    `label` is the name of a field in records. Code gives one, never a client: such a field is built once for all
    requests that hold the same object, and its size is not limited.
    """

    name: str
    value: Any = None
    label: str | None = None


@dataclass(frozen=True)
class Request:
    """A request for `n` sequences that continue `prompt` (tokens).

    Attributes:
        id: unique; names the request in records and errors.
        tenant: the owner; the queue is fair between tenants, and tenants never share cached prefixes.
        salt: requests with different salts share no cached prefixes either.
        max_tokens: the longest sequence; 0 draws nothing, which is of use with `score_prompt`.
        min_tokens: a text of `stop` ends no sequence of fewer tokens; the field `min_length` is for stop tokens.
        temperature: used unless there is a `schedule`.
        options: options of the sampler, by name.
        seed: None draws one; `Started` has the seed used.
        stop: texts that end a sequence; they are part of its text only with `keep_stop`.
        stop_token_ids: tokens that end a sequence beside the model's own.
        ignore_eos: the model's own stop tokens end nothing.
        record: as in `GenerationSettings`: "full", "state", "nodes" or None, which keeps log-probabilities alone.
        top_logprobs: number of most probable alternatives of each token.
        score_prompt: score the tokens of the prompt too.
        continuations: sequences of tokens to score after the prompt, each by itself; such a request draws nothing.
        further_prompts: prompts after which the continuations are scored too; what they share is evaluated once.
        hidden_state: return the last hidden state after the prompt with the scores of continuations.
        priority: lower is served first.
        deadline: seconds from submission after which the request is ended.
    """

    prompt: tuple[int, ...]
    id: str
    tenant: str = ""
    salt: str = ""
    n: int = 1
    max_tokens: int = 128
    min_tokens: int = 0
    temperature: float = 1.0
    schedule: ComponentSpec | None = None
    windows: Sequence[ComponentSpec] = ()
    fields: Sequence[ComponentSpec] = ()
    potentials: Sequence[ComponentSpec] = ()
    sampler: str = "ancestral"
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    stop: Sequence[str] = ()
    keep_stop: bool = False
    stop_token_ids: Sequence[int] = ()
    ignore_eos: bool = False
    record: RecordMode = "state"
    top_logprobs: int = 0
    score_prompt: bool = False
    continuations: Sequence[tuple[int, ...]] = ()
    further_prompts: Sequence[tuple[int, ...]] = ()
    hidden_state: bool = False
    priority: int = 0
    deadline: float | None = None


@dataclass(frozen=True)
class Token:
    """One token of a sequence or a prompt.

    `logprob` is its log-probability in the model at T = 1, None for a token that has nothing before it; `top_logprobs`
    holds (token, log-probability at T = 1) of the most probable tokens. `record` has the columns of `heatbath.record`,
    scalars by name and the nodes as lists, of the raw ensemble at the temperature used.
    """

    id: int
    logprob: float | None
    top_logprobs: Sequence[tuple[int, float]] = ()
    record: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Started:
    """The first event: the request left the queue. `cached_tokens` of its prompt came from the prefix cache.

    `continuation_logprobs` are those of the continuations of the request, nats at T = 1, `further_logprobs` those after
    each of its further prompts, and `hidden_state` the last hidden state after its prompt where that was asked for.
    """

    seed: int
    queue_seconds: float
    cached_tokens: int = 0
    scored_prompt: Sequence[Token] = ()
    continuation_logprobs: Sequence[float] = ()
    further_logprobs: Sequence[Sequence[float]] = ()
    hidden_state: Sequence[float] = ()


@dataclass(frozen=True)
class TokensGenerated:
    """New tokens of sequence `choice`; `text` may be shown now (the possible beginning of a stop text is held back).

    `finish_reason` is None for a running sequence, else "stop", "length", "deadline" or "cancelled"; `stop_reason` is
    the text or token that ended it. A stop token is among `tokens` and not in `text`.
    """

    choice: int
    tokens: Sequence[Token]
    text: str
    finish_reason: str | None = None
    stop_reason: str | int | None = None


@dataclass(frozen=True)
class Finished:
    """The last event. `best_index` is the sequence to show if one is needed; see `heatbath.engine.Generation`.

    `deterministic`: the same seed gives the same tokens whatever else is in the batch; else `nondeterminism_reason`
    says why not. `unreliable_reason` says why there is no log Z although the sampler has an estimate of it, and why
    means over the sequences are not reliable; empty where nothing says so.
    """

    best_index: int = 0
    tokens_spent: int = 0
    log_weights: Sequence[float] = ()
    log_z: float | None = None
    log_z_stderr: float | None = None
    ess: float | None = None
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    deterministic: bool = True
    nondeterminism_reason: str = ""
    unreliable_reason: str = ""


Event = Started | TokensGenerated | Finished


@dataclass(frozen=True)
class EngineStats:
    """Load of an engine: requests, rows of the batch, and prompt tokens looked up and found in the prefix cache."""

    running: int = 0
    waiting: int = 0
    rows: int = 0
    prefix_asked: int = 0
    prefix_hit: int = 0
    prefix_bytes: int = 0


class ModelInfo(Protocol):
    """Name, tokenizer and limits of the model of an engine; every `heatbath.models.Model` is one."""

    name: str
    vocabulary: Vocabulary
    context_length: int | None

    @property
    def fingerprint(self) -> str: ...

    def encode(self, text: str, *, document_start: bool = True) -> list[int]: ...

    def decode(self, tokens: Tokens) -> str: ...

    def token_bytes(self, token: int) -> bytes: ...


class Engine(Protocol):
    """A host of one model that runs many requests at once. All methods are called on one event loop."""

    @property
    def model_info(self) -> ModelInfo:
        """The model's names, tokens and limits."""

    @property
    def stats(self) -> EngineStats:
        """The present load."""

    @property
    def unavailable_reason(self) -> str | None:
        """The reason why it accepts no requests; None if it does."""

    async def start(self) -> None:
        """Start and warm up. Raises what the model raises."""

    def submit(self, request: Request) -> AsyncIterator[Event]:
        """Stream the events of a request: `Started`, then `TokensGenerated` until all are finished, then `Finished`.

        Closing the iterator (`aclose`, or a cancelled task) cancels the request and frees its memory at once. Before
        the first event it raises `BadInput` (invalid settings), `Overloaded` or `Unavailable`; at any time
        `DeadlineExceeded`, `NotANumber` or `ModelError`.
        """

    async def drain(self, seconds: float) -> None:
        """Accept no more requests, wait `seconds` at most for the running ones, then cancel the rest."""
