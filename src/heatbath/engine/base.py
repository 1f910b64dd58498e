"""What an engine is: requests go in, asynchronous streams of steps come out. Nothing here knows where a model runs.

A request is plain data, so that an engine in this process, vLLM and a remote API can all be asked the same.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from heatbath.errors import BadInput, HeatbathError
from heatbath.models.base import Tokens, Vocabulary

RecordMode = Literal["full", "state", "nodes"] | None
"""What is recorded of a step: everything, all but nodes and divergences, energies and nodes alone, or nothing."""
RECORD_MODES: tuple[RecordMode, ...] = ("full", "state", "nodes", None)


def validate_record_mode(record: object) -> None:
    """Raise `BadInput` for a value that `record` cannot have; the message names the value that a boolean stood for."""
    if isinstance(record, bool):
        meant = '"full" for everything' if record else "None for nothing"
        raise BadInput(f"record is {record}: give {meant}.", param="record")
    if not (record is None or isinstance(record, str)) or record not in RECORD_MODES:
        raise BadInput(f"record is {record!r:.60}: give 'full', 'state', 'nodes' or None.", param="record")


class Unavailable(HeatbathError):
    """The engine takes no work: it is starting, draining or broken."""


class Overloaded(HeatbathError):
    """The queue is full; `retry_after` are the seconds after which there may be room."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineExceeded(HeatbathError):
    """A request waited or ran longer than it was allowed to."""


@dataclass(frozen=True)
class ComponentSpec:
    """A component of `heatbath.engine.registry` by `name`, with its `value`: a number, a text, a list or settings."""

    name: str
    value: Any = None


@dataclass(frozen=True)
class Request:
    """What to draw: `n` answers to `prompt` (tokens).

    Attributes:
        id: unique; names the request in records and errors.
        tenant: whose it is; queues are fair between tenants and prefixes are never shared across them.
        salt: keeps the prefixes of requests apart that name different salts.
        temperature: used unless there is a `schedule`.
        seed: None draws one; the seed used comes back in `Began`.
        stop: texts that end an answer; they are not part of it unless `keep_stop`.
        stop_tokens: tokens that end an answer, the model's own if None; `ignore_stop` ends it by length alone.
        max_tokens: 0 draws nothing, for those who want the prompt scored.
        record: as in `GenerationSettings`: "full", "state", "nodes" or None, which keeps log-probabilities alone.
        top: so many most probable alternatives of each token.
        prompt_scores: whether the prompt's own tokens are scored.
        priority: lower comes first. `deadline`: seconds from submission until the request is given up.
    """

    prompt: tuple[int, ...]
    id: str
    tenant: str = ""
    salt: str = ""
    n: int = 1
    max_tokens: int = 128
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
    stop_token_ids: Sequence[int] | None = None
    ignore_stop: bool = False
    record: RecordMode = "state"
    top_logprobs: int = 0
    score_prompt: bool = False
    priority: int = 0
    deadline: float | None = None


@dataclass(frozen=True)
class Token:
    """One token of an answer or a prompt.

    `logprob` is its log-probability in the model at T = 1, None for a token that has nothing before it; `top` holds
    (token, log-probability at T = 1) of the most probable. `record` has the columns of `heatbath.record`, scalars by
    name and the nodes as lists, of the raw ensemble at the temperature used.
    """

    id: int
    logprob: float | None
    top_logprobs: Sequence[tuple[int, float]] = ()
    record: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Started:
    """The first step: the request left its queue after `waited` seconds. `cached` tokens of the prompt were known."""

    seed: int
    queue_seconds: float
    cached_tokens: int = 0
    scored_prompt: Sequence[Token] = ()


@dataclass(frozen=True)
class TokensGenerated:
    """Answer `choice` grew by `tokens`; `text` may be shown now (what could be the beginning of a stop is held back).

    `finish` is None while it goes on, else "stop", "length", "deadline" or "cancelled"; `stopped` then is the text or
    token that ended it. A stop token is among `tokens` and not in `text`.
    """

    choice: int
    tokens: Sequence[Token]
    text: str
    finish_reason: str | None = None
    stop_reason: str | int | None = None


@dataclass(frozen=True)
class Finished:
    """The last step. `value` is the answer to give if one is wanted; the rest as in `heatbath.engine.Generation`.

    `repeatable` says whether the same seed gives the same tokens whatever else is in the batch; `why` if not.
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


Event = Started | TokensGenerated | Finished


@dataclass(frozen=True)
class EngineStats:
    """How busy an engine is: requests, rows of the batch, and totals of the prefix cache in tokens since the start."""

    running: int = 0
    waiting: int = 0
    rows: int = 0
    prefix_asked: int = 0
    prefix_hit: int = 0
    prefix_bytes: int = 0


class ModelInfo(Protocol):
    """What a server needs of a model besides its steps; every `heatbath.models.Model` is one."""

    name: str
    vocabulary: Vocabulary
    context_length: int | None

    @property
    def fingerprint(self) -> str: ...

    def encode(self, text: str) -> list[int]: ...

    def decode(self, tokens: Tokens) -> str: ...

    def token_bytes(self, token: int) -> bytes: ...


class Engine(Protocol):
    """A host of one model that runs many requests at once. All methods are called on one event loop."""

    @property
    def model_info(self) -> ModelInfo:
        """The model's names, tokens and limits."""

    @property
    def stats(self) -> EngineStats:
        """How busy it is now."""

    @property
    def unavailable_reason(self) -> str | None:
        """One sentence on why it takes no work, None if it does."""

    async def start(self) -> None:
        """Make ready, warm up. Raises what the model raises."""

    def submit(self, request: Request) -> AsyncIterator[Event]:
        """The steps of a request: `Began`, then `Grown` until every choice has finished, then `Ended`.

        Closing the iterator (`aclose`, or a cancelled task) gives up the request and frees what it holds at once.
        Before the first step it raises `BadInput` (settings that make no sense), `Overloaded` or `Unavailable`; at any
        time `DeadlineExceeded`, `NotANumber` or `ModelError`.
        """

    async def drain(self, seconds: float) -> None:
        """Take no more work and wait until what runs has ended, `seconds` at most; then give up the rest."""
