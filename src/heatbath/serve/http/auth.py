"""Keys: deny by default."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from heatbath.serve.api_keys import LOCAL_TENANT, Keyring, is_public, required_scope
from heatbath.serve.errors import ApiError
from heatbath.serve.http.asgi import header_values
from heatbath.serve.interfaces import Tenant

CHALLENGE = {"www-authenticate": 'Bearer realm="heatbath"'}


@dataclass(frozen=True)
class AuthMiddleware:
    """Sets `request.state.tenant`; None only on public paths without a key."""

    app: ASGIApp
    keys: Keyring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["state"]["tenant"] = self.authenticate(scope)
        await self.app(scope, receive, send)

    def authenticate(self, scope: Scope) -> Tenant | None:
        """Who asks. Raises `ApiError`: 401 without a key that is known, 403 where its scopes do not reach."""
        if not self.keys.tenants:
            return LOCAL_TENANT
        given = header_values(scope, b"authorization")
        tenant = self._find_tenant(given[0]) if len(given) == 1 else None
        method, path = scope["method"], scope["path"]
        if is_public(method, path):
            return tenant
        if tenant is None:
            raise _unknown_key_error(bool(given))
        wanted = required_scope(method, path)
        if wanted is not None and wanted not in tenant.scopes:
            message = f"this key does not have the scope {wanted!r}: use one that has it."
            raise ApiError(403, message, "permission_error", "missing_scope")
        return tenant

    def _find_tenant(self, header: bytes) -> Tenant | None:
        kind, _, key = header.decode("latin-1").partition(" ")
        return self.keys.find_tenant(key.strip()) if kind.lower() == "bearer" else None


def _unknown_key_error(has_key: bool) -> ApiError:
    what = "the key is not known" if has_key else "there is no key"
    message = f"{what}: send one in the header Authorization: Bearer KEY."
    return ApiError(401, message, "authentication_error", "invalid_api_key", headers=CHALLENGE)
