"""Errors of the API: a status and four keys, by the contract of OpenAI."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.exceptions import HTTPException

from heatbath.engine.base import DeadlineExceeded, Overloaded, Unavailable
from heatbath.errors import BadInput, HeatbathError, MissingExtra, ModelError, Unreliable
from heatbath.serve.interfaces import StoreUnavailable

CLIENT_CLOSED_REQUEST = 499
"""Status of a request whose client disconnected before the response was complete, as in nginx."""

NO_RETRY_HEADERS = {"x-should-retry": "false"}
_PATH_PATTERN = re.compile(r"(?:[A-Za-z]:\\|~?/)[^\s:,;()'\"]+")


@dataclass(eq=False)
class ApiError(Exception):
    """An error that becomes `{"error": {"message", "type", "param", "code"}}` with `status` and `headers`."""

    status: int
    message: str
    type: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, object]:
        """Body of the response; all four keys are always present."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


MESSAGE_PATH = "/v1/messages"
"""The path, and the beginning of paths, whose clients are Anthropic's and expect errors in another form."""
_MESSAGE_ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def message_error_body(error: ApiError, request_id: str) -> dict[str, object]:
    """Return the body of an error in Anthropic's form."""
    kind = _MESSAGE_ERROR_TYPES.get(error.status, "api_error" if error.status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": error.message}, "request_id": request_id}


def invalid_value(message: str, param: str | None, code: str = "invalid_value") -> ApiError:
    """Return a 400 for a value of the request."""
    return ApiError(400, message, code=code, param=param)


def retry_headers(seconds: float) -> dict[str, str]:
    """Return headers that ask for a retry after `seconds`."""
    return {"retry-after-ms": str(math.ceil(seconds * 1000)), "retry-after": str(max(1, math.ceil(seconds)))}


def unavailable_error(message: str, seconds: float = 5.0, *, close_connection: bool = False) -> ApiError:
    """Return a 503 with a retry after `seconds`; `close_connection` lets the retry go to another server."""
    close = {"connection": "close"} if close_connection else {}
    return ApiError(503, message, "server_error", "unavailable", headers={**retry_headers(seconds), **close})


def as_api_error(error: BaseException) -> ApiError:
    """Return the API error for any exception.

    `BadInput` 400, `Overloaded` 429, `Unavailable` and `StoreUnavailable` 503, `DeadlineExceeded` 504 (the OpenAI
    client would retry it, against a queue that is already too long: the header says not to), an error of the model
    500, an extra that is not installed 501. Anything else is an internal error, whose details are not exposed.
    """
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, ApiError):
        return error
    if isinstance(error, HTTPException):
        return _convert_http_error(error)
    if isinstance(error, StoreUnavailable):
        return unavailable_error(str(error))
    if isinstance(error, HeatbathError):
        return _convert_heatbath_error(error)
    return _internal_error()


def _convert_heatbath_error(error: HeatbathError) -> ApiError:
    if isinstance(error, Overloaded):
        return ApiError(429, str(error), "rate_limit_error", "queue_full", headers=retry_headers(error.retry_after))
    if isinstance(error, Unavailable):
        return unavailable_error(str(error))
    if isinstance(error, DeadlineExceeded):
        return ApiError(504, str(error), "server_error", "deadline_exceeded", headers=NO_RETRY_HEADERS)
    if isinstance(error, BadInput):
        return ApiError(400, str(error), code="invalid_value")
    if isinstance(error, MissingExtra):
        return ApiError(501, str(error), "server_error", "not_installed", headers=NO_RETRY_HEADERS)
    if isinstance(error, Unreliable):
        return ApiError(422, str(error), code="unreliable")
    if isinstance(error, ModelError):
        return ApiError(500, _remove_paths(str(error)), "server_error", "model_error")
    return ApiError(500, _remove_paths(str(error)), "server_error", "internal_error")


def _remove_paths(text: str) -> str:
    return _PATH_PATTERN.sub("a file", text)


def _convert_http_error(error: HTTPException) -> ApiError:
    """Return the API error for an error of the router: no such path, no such method."""
    headers = dict(error.headers or {})
    if error.status_code == 404:
        return ApiError(
            404, "there is no such path here: see /v1/models and the API's documentation.", code="not_found"
        )
    if error.status_code == 405:
        allowed = headers.get("Allow", "another")
        message = f"this path does not take that method: use {allowed}."
        return ApiError(405, message, code="method_not_allowed", headers=headers)
    kind = "server_error" if error.status_code >= 500 else "invalid_request_error"
    return ApiError(error.status_code, str(error.detail), kind, headers=headers)


def _internal_error() -> ApiError:
    message = "the server met an error it did not expect: tell its operator the x-request-id of this answer."
    return ApiError(500, message, "server_error", "internal_error")
