"""API keys, known by their SHA-256 hashes, and the scope that each path needs: "read" where nothing else is said."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from heatbath.errors import BadInput
from heatbath.serve.errors import ApiError
from heatbath.serve.http.body_limits import RequestHeaders
from heatbath.serve.interfaces import Tenant
from heatbath.serve.settings import KeySettings

LOCAL_TENANT = Tenant("local", frozenset({"infer", "read", "review"}), "local")
"""The tenant of all requests where there are no keys."""

HEALTH_PATHS = frozenset({"/health", "/health/live", "/health/ready", "/ping"})
STATIC_PREFIXES = ("/static/",)
"""Files of the page, which hold no data."""

_UNPREFIXED_INFERENCE = frozenset({"/tokenize", "/detokenize", "/rerank", "/v2/rerank", "/score"})
_ANY_KEY_PATHS = frozenset({"/v1/models", "/openapi.json", "/tokenizer_info", "/version"})

_REVIEW_PREFIX = "/v1/review"
_HELD_ANSWER = re.compile(r"/v1/review/[^/]+")

CHALLENGE = {"www-authenticate": 'Bearer realm="heatbath"'}


@dataclass(frozen=True)
class Keyring:
    """The tenants by the SHA-256 hash (bytes) of their keys; empty where the server is open to `LOCAL_TENANT`."""

    tenants: Mapping[bytes, Tenant]

    def find_tenant(self, key: str) -> Tenant | None:
        """Return the tenant of `key`, None for an unknown key, in a time that tells nothing about either."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        found = None
        for known, tenant in self.tenants.items():
            if hmac.compare_digest(known, digest):
                found = tenant
        return found


def build_keyring(keys: Mapping[str, KeySettings]) -> Keyring:
    """Return the keys of the settings.

    Raises:
        BadInput: two keys with one hash.
    """
    tenants: dict[bytes, Tenant] = {}
    for name, key in keys.items():
        digest = bytes.fromhex(key.sha256)
        if digest in tenants:
            raise BadInput(f"keys.{name} has the hash of another key: make a new one with heatbath serve --new-key.")
        tenants[digest] = Tenant(key.tenant or name, frozenset(key.scopes), name)
    return Keyring(tenants)


def create_key(name: str) -> tuple[str, str]:
    """Return a new key, and the lines of the settings that admit it.

    Raises:
        BadInput: `name` is not a bare TOML key.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise BadInput(f"{name!r} is not a name for a key: use up to 64 letters, digits, - and _.")
    key = "hb-" + secrets.token_urlsafe(32)
    return key, f'[keys.{name}]\nsha256 = "{hashlib.sha256(key.encode()).hexdigest()}"\nscopes = ["infer", "read"]'


def is_public(method: str, path: str) -> bool:
    """Return whether a path needs no key: health, and the page without its data."""
    if path == "/ping" and method == "POST":
        return True
    is_page = path in ("/", "/review", "/favicon.ico") or path.startswith(STATIC_PREFIXES)
    return method in ("GET", "HEAD") and (path in HEALTH_PATHS or is_page)


def required_scope(method: str, path: str) -> str | None:
    """Return the scope that a path needs, None if any key will do."""
    if path in _ANY_KEY_PATHS or path.startswith("/v1/models/"):
        return None
    if path.startswith(_REVIEW_PREFIX):
        # A held answer is for the tenant that asked for it, whatever its key may do beside that.
        return None if method in ("GET", "HEAD") and _HELD_ANSWER.fullmatch(path) else "review"
    is_inference = path.startswith("/v1/") or path in _UNPREFIXED_INFERENCE
    return "infer" if is_inference and method not in ("GET", "HEAD") else "read"


def authenticate(keys: Keyring, method: str, path: str, headers: RequestHeaders) -> Tenant | None:
    """Return the tenant that sends a request; None only on public paths without a key.

    A key comes in Authorization: Bearer KEY, or in x-api-key as clients of Anthropic send it; of both, a known one.

    Raises:
        ApiError: 401 without a known key, 403 where its scopes do not cover the path.
    """
    if not keys.tenants:
        return LOCAL_TENANT
    given = (*headers.get("authorization", ()), *headers.get("x-api-key", ()))
    tenant = _find_header_tenant(keys, headers)
    if is_public(method, path):
        return tenant
    if tenant is None:
        raise _unknown_key_error(bool(given))
    scope = required_scope(method, path)
    if scope is not None and scope not in tenant.scopes:
        message = f"this key does not have the scope {scope!r}: use one that has it."
        raise ApiError(403, message, "permission_error", "missing_scope")
    return tenant


def _find_header_tenant(keys: Keyring, headers: RequestHeaders) -> Tenant | None:
    """Return the tenant of Authorization, else that of x-api-key; a header that comes twice has none."""
    bearer, plain = headers.get("authorization", ()), headers.get("x-api-key", ())
    found = _find_bearer(keys, bearer[0]) if len(bearer) == 1 else None
    if found is None and len(plain) == 1:
        found = keys.find_tenant(plain[0].strip())
    return found


def _find_bearer(keys: Keyring, header: str) -> Tenant | None:
    kind, _, key = header.partition(" ")
    return keys.find_tenant(key.strip()) if kind.lower() == "bearer" else None


def _unknown_key_error(has_key: bool) -> ApiError:
    what = "the key is not known" if has_key else "there is no key"
    message = f"{what}: send one in the header Authorization: Bearer KEY, or x-api-key."
    return ApiError(401, message, "authentication_error", "invalid_api_key", headers=CHALLENGE)
