"""What every refusal must look like."""

from __future__ import annotations

import json
import re

_INSIDE = re.compile(r"Traceback|File \"|/home/|/root/|/tmp/|site-packages|\.py\b|0x[0-9a-f]{6}")


def error_of(status: int, body: bytes) -> dict[str, str]:
    """The error in a body: all four keys, one sentence, nothing of the inside."""
    assert 400 <= status < 600
    whole = json.loads(body)
    assert set(whole) == {"error"}
    error: dict[str, str] = whole["error"]
    assert set(error) == {"message", "type", "param", "code"}
    message = error["message"]
    assert isinstance(message, str) and message.endswith((".", "!")) and "\n" not in message, message
    assert len(message) < 600 and not _INSIDE.search(message), message
    return error
