"""Settings of the server: a TOML file, overridden by the environment, overridden by flags; checked before the start.

`HEATBATH_SERVER__PORT=8001` is `port = 8001` under `[server]`. Wrong values and unknown keys are `BadInput`: one
sentence with the key, its source, the value and what to do.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from heatbath.errors import BadInput

ENV_PREFIX = "HEATBATH_"
SECRET_SECTIONS = ("keys", "storage", "otel")
"""Sections whose values are never repeated in a message: they may hold a key or a password."""

Scope = Literal["infer", "read", "review"]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _default_url() -> str:
    from heatbath.serve.storage import default_url

    return default_url()


class Section(BaseModel):
    """A section: unknown keys are refused, and nothing changes after the start."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class ServerSettings(Section):
    """Address, limits and timeouts. Sizes are bytes, times seconds.

    A connection without a request is closed after `keep_alive_seconds`, and a stream is never silent for longer. The
    head of a request, and then its body, have `read_timeout` each; a client that reads nothing of its response for
    `write_timeout` is dropped; at shutdown requests may run on for `drain_seconds`.

    Log lines are JSON objects, or text if standard error is a terminal (`log_format`).

    `hosts` are the names a request may call the server by (`*.example.org` for every name below); empty allows
    loopback names where no key is set and every name where keys are.
    """

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    tls_cert: Path | None = None
    tls_key: Path | None = None
    hosts: tuple[str, ...] = ()
    max_body: Count = 4 * 1024 * 1024
    max_depth: Count = 64
    drain_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 30.0
    keep_alive_seconds: Seconds = 15.0
    read_timeout: Seconds = 30.0
    write_timeout: Seconds = 30.0
    page: bool = True
    log: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "text", "json"] = "auto"

    @model_validator(mode="after")
    def _validate_tls_pair(self) -> ServerSettings:
        if (self.tls_cert is None) != (self.tls_key is None):
            given, missing = ("tls_cert", "tls_key") if self.tls_key is None else ("tls_key", "tls_cert")
            raise ValueError(f"server.{given} is set without server.{missing}: TLS needs both")
        return self


class ModelSettings(Section):
    """The model, and other names of it or of the embedding model (`aliases`: alias -> name)."""

    name: Annotated[str, Field(min_length=1)] = "smollm2-135m"
    dtype: Literal["float32", "bfloat16"] | None = None
    aliases: dict[str, str] = Field(default_factory=dict)
    phase_map: Path | None = None


class EngineSettings(Section):
    """Sizes of the engine's batch, queue and prefix cache."""

    max_rows: Count = 64
    max_waiting: Annotated[int, Field(ge=0)] = 256
    max_request_tokens: Count = 1 << 20
    prefix_cache_mb: Annotated[int, Field(ge=0)] = 256
    deadline_seconds: Seconds = 600.0
    warm_up: bool = True
    prefill_seconds: Annotated[float, Field(gt=0, le=60)] = 0.1


class Allowance(Section):
    """Limits of a tenant; None is no limit. A minute is any sixty seconds."""

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    concurrent: Count | None = None


class LimitSettings(Allowance):
    """The largest request, and the allowance of a tenant whose key sets none of its own."""

    max_tokens: Count = 4096
    max_n: Count = 128


class KeySettings(Allowance):
    """A key, known by its SHA-256 (64 hex digits); `tenant` is the key's name where it is not set."""

    sha256: Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")]
    tenant: str | None = None
    scopes: frozenset[Scope] = frozenset({"infer", "read"})


class StorageSettings(Section):
    """The database, for how many days outcomes are kept, and whether their content is.

    `required`: a response that cannot be stored is withheld.
    """

    url: Annotated[str, Field(min_length=1)] = Field(default_factory=_default_url)
    content: bool = True
    days: Count = 30
    required: bool = False


class TrustSettings(Section):
    """Calibration: a calibrator's file for the answers, files of decision fits for the levels of `/v1/decisions`."""

    calibrator: Path | None = None
    decisions: tuple[Path, ...] = ()


class PromptSettings(Section):
    """The prompt library: a folder of Markdown files with front matter, read again when they change."""

    folder: Path | None = None


class SearchIndexSettings(Section):
    """An index of documents in the folder `path`, for these `tenants`; None for all."""

    path: Path
    tenants: tuple[str, ...] | None = None


class RetrievalSettings(Section):
    """Indexes by name, and the support in nats from which a passage counts: `threshold`, or the file `support`."""

    indexes: dict[str, SearchIndexSettings] = Field(default_factory=dict)
    threshold: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    support: Path | None = None


class PolicySettings(Section):
    """Rules for what goes in and out: the file they are in, and how the output is held.

    `mode` "hold" gives nothing of a choice before its verdict. With "window" a stream lags behind the model by `window`
    characters, and what is longer than that may have left in part when a rule matches. A text without a verdict within
    `verdict_seconds` is denied.
    """

    file: Path | None = None
    mode: Literal["hold", "window"] = "hold"
    window: Annotated[int, Field(ge=16)] = 256
    verdict_seconds: Seconds = 10.0


class ReviewSettings(Section):
    """The queue of answers that wait for a person.

    An item that nobody has decided after `timeout_seconds` gets `default_action`; a reviewer who takes one has it for
    `lock_seconds`. Of answers that pass, the share `random_share` is sent too, so that labels are not only of those
    that a rule picked.
    """

    enabled: bool = False
    timeout_seconds: Seconds = 3600.0
    default_action: Literal["approve", "reject"] = "reject"
    lock_seconds: Seconds = 300.0
    random_share: Annotated[float, Field(ge=0, le=1)] = 0.0


class MetricSettings(Section):
    """Metrics: `enabled` serves `/metrics`."""

    enabled: bool = True


class OtelSettings(Section):
    """OpenTelemetry, sent to `endpoint` if it is enabled."""

    enabled: bool = False
    endpoint: str | None = None


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        env_parse_none_str="none",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=False,
    )

    server: ServerSettings = Field(default_factory=ServerSettings)
    model: ModelSettings = Field(default_factory=ModelSettings)
    engine: EngineSettings = Field(default_factory=EngineSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    keys: dict[str, KeySettings] = Field(default_factory=dict)
    storage: StorageSettings = Field(default_factory=StorageSettings)
    trust: TrustSettings = Field(default_factory=TrustSettings)
    prompts: PromptSettings = Field(default_factory=PromptSettings)
    retrieval: RetrievalSettings = Field(default_factory=RetrievalSettings)
    policy: PolicySettings = Field(default_factory=PolicySettings)
    review: ReviewSettings = Field(default_factory=ReviewSettings)
    metrics: MetricSettings = Field(default_factory=MetricSettings)
    otel: OtelSettings = Field(default_factory=OtelSettings)


@dataclass(frozen=True)
class SettingsOrigin:
    """Sources of the settings: `file` and its values, names in the environment, flags (`--port` is `server.port`)."""

    file: Path | None
    values: Mapping[str, Any]
    environment: tuple[str, ...]
    flags: Mapping[str, Any]

    def __str__(self) -> str:
        parts = [str(self.file)] if self.file else []
        parts += [f"environment ({', '.join(self.environment)})"] if self.environment else []
        parts += [f"flags ({', '.join(self.flag_names)})"] if self.flags else []
        return ", ".join(parts) or "defaults"

    @property
    def flag_names(self) -> list[str]:
        """The flags, as they are typed."""
        return [_format_flag(key) for key in _flatten_keys(self.flags)]

    def describe_source(self, key: str) -> str:
        """Return the source of `key`, in words."""
        name = ENV_PREFIX + key.replace(".", "__").upper()
        if key in _flatten_keys(self.flags):
            return _format_flag(key)
        if name in self.environment:
            return name
        return self.file.name if self.file else "the settings"


def read_settings(file: Path | None = None, flags: Mapping[str, Any] | None = None) -> tuple[Settings, SettingsOrigin]:
    """Read the settings of `file`, the environment and `flags` (nested like the file, without unset ones).

    Raises:
        BadInput: a missing file, invalid TOML, an unknown key or a wrong value.
    """
    environment = tuple(sorted(name for name in os.environ if name.upper().startswith(ENV_PREFIX) and "__" in name))
    _validate_sections(environment)
    origin = SettingsOrigin(file, _read_toml(file) if file else {}, environment, flags or {})
    try:
        return _build_settings_class(origin)(), origin
    except ValidationError as error:
        raise BadInput(_format_error(error, origin)) from None
    except SettingsError as error:
        raise BadInput(f"the environment holds a value that is not valid JSON ({error}): fix it.") from None


def _build_settings_class(origin: SettingsOrigin) -> type[Settings]:
    class Read(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            *rest: Any,
            **named: Any,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            flags = InitSettingsSource(cls, dict(origin.flags))
            return flags, env_settings, InitSettingsSource(cls, dict(origin.values))

    return Read


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"there is no file {file}: check the path of --config.") from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{file} is not valid TOML ({str(error).lower()}): fix it.") from None
    except UnicodeDecodeError:
        raise BadInput(f"{file} is not UTF-8: save it as UTF-8.") from None
    except OSError as error:
        raise BadInput(f"{file} cannot be read ({error.strerror}): check its permissions.") from None


def _validate_sections(environment: Iterable[str]) -> None:
    for name in environment:
        section = name[len(ENV_PREFIX) :].partition("__")[0].lower()
        if section not in Settings.model_fields:
            raise BadInput(
                f"{name} sets nothing, {section} is not a section: {_suggest_name(section, Settings.model_fields)}."
            )


def _format_error(error: ValidationError, origin: SettingsOrigin) -> str:
    """Return the first error as a sentence."""
    first = error.errors(include_url=False)[0]
    place = [str(part) for part in first["loc"]]
    key = ".".join(place)
    if first["type"] == "extra_forbidden":
        hint = _suggest_name(place[-1], _section_keys(place[:-1]))
        return f"{key} in {origin.describe_source(key)} is not a setting: {hint}."
    if first["type"] == "missing":
        return f"{key} is missing in {origin.describe_source(key)}: set it."
    if first["type"] == "value_error":
        return f"{first['ctx']['error']}."
    shown = "not usable" if place[0] in SECRET_SECTIONS else repr(first["input"])[:80]
    return f"{key} in {origin.describe_source(key)} is {shown}: {_format_expectation(first)}."


def _format_expectation(error: Any) -> str:
    context = error.get("ctx", {})
    limits = {"less_than_equal": "le", "greater_than_equal": "ge", "greater_than": "gt"}
    if error["type"] in limits:
        words = {"le": "at most", "ge": "at least", "gt": "more than"}
        limit = limits[error["type"]]
        return f"give {words[limit]} {context[limit]}"
    if error["type"] == "literal_error":
        return f"give {context['expected']}"
    if error["type"] == "string_pattern_mismatch":
        return "give the 64 hex digits that `heatbath serve --new-key NAME` prints"
    expectation = error["msg"].removeprefix("Input should be ").removeprefix("String should have ").partition(",")[0]
    return f"give {expectation.replace('valid tuple', 'list')}"


def _suggest_name(name: str, names: Iterable[str]) -> str:
    """Return a hint: the known name most like `name`, or all of them."""
    known = list(names)
    near = difflib.get_close_matches(name.lower(), known, n=1)
    return f"perhaps {near[0]} is meant" if near else f"there are {', '.join(known)}"


def _section_keys(place: list[str]) -> Iterable[str]:
    """Return the keys of the section at `place`."""
    if not place:
        return Settings.model_fields
    if place[0] == "keys":
        return KeySettings.model_fields
    if place[:2] == ["retrieval", "indexes"]:
        return SearchIndexSettings.model_fields
    kind = Settings.model_fields[place[0]].annotation
    return getattr(kind, "model_fields", {})


def _format_flag(key: str) -> str:
    return "--model" if key == "model.name" else f"--{key.rpartition('.')[2]}"


def _flatten_keys(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name, value in values.items():
        keys += _flatten_keys(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [prefix + name]
    return keys
