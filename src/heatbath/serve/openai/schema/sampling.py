"""Options that chat and completions share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from heatbath.serve.openai.schema.retrieval import RetrievalOptions

MAX_STOPS = 64
MAX_BIASES = 1024
MAX_PHRASES = 256

Positive = Annotated[float, Meta(gt=0, le=1e30)]
NotNegative = Annotated[float, Meta(ge=0, le=1e30)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Bias = Annotated[float, Meta(ge=-100, le=100)]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
TopCount = Annotated[int, Meta(ge=0, le=20)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
ShortText = Annotated[str, Meta(min_length=1, max_length=1024)]
WhiteSpace = Annotated[str, Meta(max_length=1024)]
Note = Annotated[str, Meta(max_length=512)]
Key = Annotated[str, Meta(max_length=64)]


class StreamOptions(Struct, kw_only=True, forbid_unknown_fields=True):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    continuous_usage_stats: bool | None = None


class JsonSchema(Struct, kw_only=True, forbid_unknown_fields=True):
    name: ShortText
    schema: dict[str, Any] | bool | None = None
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(Struct, kw_only=True, forbid_unknown_fields=True):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StructuredOutputs(Struct, kw_only=True, forbid_unknown_fields=True):
    json: str | dict[str, Any] | None = None
    regex: ShortText | None = None
    choice: Annotated[list[ShortText], Meta(min_length=1, max_length=1024)] | None = None
    grammar: str | None = None
    json_object: bool | None = None
    structural_tag: Any = None
    disable_fallback: bool | None = None
    disable_any_whitespace: bool | None = None
    disable_additional_properties: bool | None = None
    whitespace_pattern: WhiteSpace | None = None


class Requirement(Struct, kw_only=True, forbid_unknown_fields=True):
    """The least that a choice must have to be given."""

    confidence: Fraction


class PromptReference(Struct, kw_only=True, forbid_unknown_fields=True):
    """A prompt of the library: `name` or `name@version`, and values of its variables."""

    name: ShortText
    version: ShortText | None = None
    variables: dict[str, Any] = {}


class ReviewOptions(Struct, kw_only=True, forbid_unknown_fields=True):
    """Seconds to wait for a person, where the policy of the server wants one to decide."""

    wait: Annotated[float, Meta(ge=0, le=3600)]


class ThermoOptions(Struct, kw_only=True, forbid_unknown_fields=True):
    """Options beyond the OpenAI request: record, sampler, schedule, windows, fields, potentials, parts of a server.

    `records` is an older name of `record`, where `true` means "state".
    """

    record: Literal["full", "state", "nodes"] | None = None
    records: bool | Literal["full", "state", "nodes"] = False
    sampler: str | None = None
    options: dict[str, Any] = {}
    schedule: str | dict[str, Any] | None = None
    windows: dict[str, Any] | list[Any] = {}
    fields: dict[str, Any] | list[Any] = {}
    potentials: dict[str, Any] | list[Any] = {}
    require: Requirement | None = None
    prompt: PromptReference | None = None
    retrieval: RetrievalOptions | None = None
    review: ReviewOptions | None = None

    @property
    def record_mode(self) -> Literal["full", "state", "nodes"] | None:
        """The kind of records to return, None for none."""
        if self.record is not None or self.records is False:
            return self.record
        return "state" if self.records is True else self.records


class GenerationRequest(Struct, kw_only=True):
    model: Annotated[str, Meta(min_length=1, max_length=512)]
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    max_tokens: Count | None = None
    temperature: NotNegative | None = None
    top_p: Fraction | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: Annotated[dict[str, Bias], Meta(max_length=MAX_BIASES)] | None = None
    seed: Seed | None = None
    stop: ShortText | Annotated[list[ShortText], Meta(max_length=MAX_STOPS)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    user: Note | None = None
    metadata: Annotated[dict[Key, Note], Meta(max_length=16)] | None = None
    store: bool | None = None
    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    min_p: Fraction | None = None
    typical_p: Fraction | None = None
    top_n_sigma: Annotated[float, Meta(ge=-1, le=1e30)] | None = None
    epsilon_cutoff: Fraction | None = None
    eta_cutoff: Fraction | None = None
    xtc_probability: Fraction | None = None
    xtc_threshold: Fraction | None = None
    repetition_penalty: Positive | None = None
    dry_multiplier: NotNegative | None = None
    dry_base: Annotated[float, Meta(ge=1, le=1e30)] | None = None
    dry_allowed_length: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    dry_penalty_last_n: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    dry_sequence_breakers: Annotated[list[ShortText], Meta(max_length=MAX_STOPS)] | None = None
    min_tokens: Count | None = None
    ignore_eos: bool | None = None
    stop_token_ids: Annotated[list[TokenId], Meta(max_length=MAX_PHRASES)] | None = None
    include_stop_str_in_output: bool | None = None
    skip_special_tokens: bool | None = None
    allowed_token_ids: Annotated[list[TokenId], Meta(min_length=1)] | None = None
    bad_words: Annotated[list[ShortText], Meta(max_length=MAX_PHRASES)] | None = None
    prompt_logprobs: TopCount | None = None
    return_token_ids: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    priority: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)] | None = None
    cache_salt: ShortText | None = None
    request_id: Note | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: str | dict[str, Any] | None = None
    guided_regex: ShortText | None = None
    guided_choice: Annotated[list[ShortText], Meta(min_length=1, max_length=1024)] | None = None
    guided_grammar: str | None = None
    guided_whitespace_pattern: WhiteSpace | None = None
    regex: ShortText | None = None
    json_schema: str | dict[str, Any] | None = None
    ebnf: str | None = None
    thermo: ThermoOptions | None = None
