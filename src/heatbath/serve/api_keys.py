"""Who may ask: keys known by their hashes, and the scope each path needs. What is not named here needs "read"."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from heatbath.errors import BadInput
from heatbath.serve.interfaces import Tenant
from heatbath.serve.settings import KeySettings

LOCAL_TENANT = Tenant("local", frozenset({"infer", "read"}))
"""Everybody, where there are no keys."""

HEALTH_PATHS = frozenset({"/health", "/health/live", "/health/ready"})
STATIC_PREFIXES = ("/static/",)
"""The page's own files, which hold no data."""


@dataclass(frozen=True)
class Keyring:
    """The tenants by the SHA-256 (bytes) of their keys; empty where everything is open to `LOCAL`."""

    tenants: Mapping[bytes, Tenant]

    def find_tenant(self, key: str) -> Tenant | None:
        """Whose `key` is; takes as long whichever it is, and whether it is one."""
        asked = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        found = None
        for digest, tenant in self.tenants.items():
            if hmac.compare_digest(digest, asked):
                found = tenant
        return found


def build_keyring(keys: Mapping[str, KeySettings]) -> Keyring:
    """The keys of the settings.

    Raises:
        BadInput: two keys with one hash.
    """
    tenants: dict[bytes, Tenant] = {}
    for name, key in keys.items():
        digest = bytes.fromhex(key.sha256)
        if digest in tenants:
            raise BadInput(f"keys.{name} has the hash of another key: make a new one with heatbath serve --new-key.")
        tenants[digest] = Tenant(key.tenant or name, frozenset(key.scopes))
    return Keyring(tenants)


def create_key(name: str) -> tuple[str, str]:
    """A fresh key, and the lines of the settings that let it in.

    Raises:
        BadInput: a name that is no bare TOML key.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise BadInput(f"{name!r} is no name for a key: use up to 64 letters, digits, - and _.")
    key = "hb-" + secrets.token_urlsafe(32)
    return key, f'[keys.{name}]\nsha256 = "{hashlib.sha256(key.encode()).hexdigest()}"\nscopes = ["infer", "read"]'


def is_public(method: str, path: str) -> bool:
    """Whether nobody is asked for a key: health, and the page without its data."""
    return method in ("GET", "HEAD") and (
        path in HEALTH_PATHS or path in ("/", "/favicon.ico") or path.startswith(STATIC_PREFIXES)
    )


def required_scope(method: str, path: str) -> str | None:
    """The scope that a path needs; None: any key will do."""
    if path in ("/v1/models", "/openapi.json") or path.startswith("/v1/models/"):
        return None
    asks = path.startswith("/v1/") or path in ("/tokenize", "/detokenize")
    return "infer" if asks and method not in ("GET", "HEAD") else "read"
