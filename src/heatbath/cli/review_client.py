"""Calls of a running server's review queue."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from heatbath.errors import BadInput, HeatbathError

_TIMEOUT_SECONDS = 30.0
_PAGE_SIZE = 100

Entry = dict[str, Any]


class ReviewConflict(HeatbathError):
    """Somebody else has the item or has decided it; `item` is the item as it is now."""

    def __init__(self, message: str, item: Entry) -> None:
        super().__init__(message)
        self.item = item


@dataclass(frozen=True)
class ReviewClient:
    """The review queue of the server at `url`, with a key that has the scope "review"."""

    url: str
    key: str | None = None

    def list_page(self, **query: Any) -> dict[str, Any]:
        """Return a page of items; options of the query that are None are left out."""
        given = {name: value for name, value in query.items() if value is not None}
        return self._call("GET", f"/v1/review?{urllib.parse.urlencode(given)}")

    def iterate_decided(self) -> Iterator[Entry]:
        """Yield all decided items once, the newest first; those that are decided meanwhile may be left out."""
        seen: set[str] = set()
        offset: int | None = 0
        while offset is not None:
            page = self.list_page(status="decided", limit=_PAGE_SIZE, offset=offset)
            for entry in page["data"]:
                if entry["id"] not in seen:
                    seen.add(entry["id"])
                    yield entry
            offset = page["next"]

    def find(self, id: str) -> Entry:
        """Return one item, pending or decided. Raises `BadInput` if there is none."""
        for status in ("pending", "decided"):
            found: list[Entry] = self.list_page(status=status, id=id)["data"]
            if found:
                return found[0]
        raise BadInput(f"there is no item {id!r} in the review queue: see `heatbath review list`.")

    def lock(self, id: str, seconds: float | None) -> Entry:
        """Take an item for some seconds, those of the server where they are None; 0 gives it back."""
        return self._call("POST", f"/v1/review/{urllib.parse.quote(id, safe='')}/lock", {"seconds": seconds})

    def decide(self, id: str, action: str, *, reason: str = "", text: str | None = None) -> Entry:
        """Decide an item."""
        body = {"action": action, "reason": reason, "text": text}
        return self._call("POST", f"/v1/review/{urllib.parse.quote(id, safe='')}/decision", body)

    def _call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Return the JSON of a response.

        Raises:
            BadInput: the URL cannot be used, or the server refuses the request.
            ReviewConflict: another reviewer has the item or has decided it.
            HeatbathError: the server cannot be reached, or fails.
        """
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {self.key}"} if self.key else {})
        data = None if body is None else json.dumps(body).encode()
        if not self.url.startswith(("http://", "https://")):
            raise BadInput(f"{self.url!r} is no address of a server: give one like http://127.0.0.1:8000.")
        request = urllib.request.Request(self.url.rstrip("/") + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
                answer: dict[str, Any] = json.load(response)
                return answer
        except urllib.error.HTTPError as error:
            raise _read_refusal(error) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or type(error).__name__
            raise HeatbathError(f"the server at {self.url} cannot be reached ({reason}): is it running?") from None


def _read_refusal(error: urllib.error.HTTPError) -> HeatbathError:
    try:
        body = json.load(error)
        message = str(body["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return HeatbathError(f"the server answered {error.code} without a reason: is it heatbath?")
    if error.code == 409:
        return ReviewConflict(message, body["item"])
    return BadInput(message) if error.code < 500 else HeatbathError(message)
