"""Names of the OpenTelemetry conventions for generative models, and our own beside them.

The conventions' own Python constants are marked for removal, so the names are written out here: those of version 1.41,
and under `LATEST` the differences of the set that follows it.
"""

from __future__ import annotations

from types import MappingProxyType

from heatbath.serve.telemetry.buckets import FIRST_TOKEN_SECONDS, REQUEST_SECONDS, TOKEN_INTERVAL_SECONDS

OPT_IN = "OTEL_SEMCONV_STABILITY_OPT_IN"
LATEST = "gen_ai_latest_experimental"
CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
CAPTURE_VALUES = frozenset({"true", "1", "span_only", "span_and_event"})
"""Values of `CAPTURE` that put content on spans; events are not sent."""

PROVIDER = "heatbath"

OPERATION_NAME = "gen_ai.operation.name"
PROVIDER_NAME = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_ID = "gen_ai.response.id"
FINISH_REASONS = "gen_ai.response.finish_reasons"
FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
TEXT_INPUT_TOKENS = "gen_ai.usage.text.input_tokens"
TEXT_OUTPUT_TOKENS = "gen_ai.usage.text.output_tokens"
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
ENCODING_FORMATS = "gen_ai.request.encoding_formats"
STOP_SEQUENCES = "gen_ai.request.stop_sequences"
STREAM = "gen_ai.request.stream"
TOP_K = "gen_ai.request.top_k"
PROMPT_NAME = "gen_ai.prompt.name"
PROMPT_VERSION = "heatbath.prompt.version"
ERROR_TYPE = "error.type"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"

OPERATIONS = MappingProxyType(
    {
        "/v1/chat/completions": "chat",
        "/v1/responses": "chat",
        "/v1/responses/compact": "chat",
        "/v1/messages": "chat",
        "/v1/completions": "text_completion",
        "/v1/embeddings": "embeddings",
        "/v1/decisions": "decision",
    }
)
"""Operations by endpoint; "decision" is ours, the others are the conventions'. Other endpoints have no span."""

ID_PREFIXES = MappingProxyType(
    {
        "/v1/chat/completions": "chatcmpl-",
        "/v1/messages": "msg_",
        "/v1/completions": "cmpl-",
        "/v1/responses": "resp_",
        "/v1/responses/compact": "resp_",
        "/v1/decisions": "dec-",
    }
)
"""Prefixes of the ids in responses, by endpoint."""

NUMBER_ATTRIBUTES = MappingProxyType(
    {
        "temperature": ("gen_ai.request.temperature", float),
        "top_p": ("gen_ai.request.top_p", float),
        "frequency_penalty": ("gen_ai.request.frequency_penalty", float),
        "presence_penalty": ("gen_ai.request.presence_penalty", float),
        "max_tokens": ("gen_ai.request.max_tokens", int),
        "max_completion_tokens": ("gen_ai.request.max_tokens", int),
        "seed": ("gen_ai.request.seed", int),
        "n": ("gen_ai.request.choice.count", int),
    }
)
"""Attribute and type of a request's options, by their name there."""

REQUEST_DURATION = ("gen_ai.server.request.duration", REQUEST_SECONDS)
TIME_TO_FIRST_TOKEN = ("gen_ai.server.time_to_first_token", FIRST_TOKEN_SECONDS)
TIME_PER_OUTPUT_TOKEN = ("gen_ai.server.time_per_output_token", TOKEN_INTERVAL_SECONDS)

THERMO = "thermo"
"""Our namespace: nothing in the conventions covers these quantities. Nats, but for tokens and masses.

    thermo.surprisal.mean, .entropy.mean, .heat_capacity.mean    means over the tokens of a sequence, T as used
    thermo.log_z_centred.mean                                    the same of log Z relative to the ground state
    thermo.logprob, thermo.logprob_at_temperature                sums over its tokens, at T = 1 and at the T used
    thermo.work.NAME, thermo.kept_mass.NAME                      sum of the work of a field; mean mass a window kept
    thermo.tokens                                                number of tokens

Each is a list with one number for each choice.
"""
