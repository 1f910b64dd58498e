"""Content that entries refer to by keyed digests: prompts, answers, records; it can be erased.

A digest is HMAC-SHA256 with a random key of its own, kept beside the content. Once both are erased, nobody can tell
from the digest whether a guessed text was the content.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from heatbath.errors import BadInput

KEY_SIZE = 32


@dataclass(frozen=True)
class Content:
    """Content of an entry: bytes, and the key of their digest."""

    body: bytes
    key: bytes

    @property
    def digest(self) -> str:
        """HMAC-SHA256 of the body, hex digits."""
        return hmac.new(self.key, self.body, hashlib.sha256).hexdigest()

    def validate(self, digest: str) -> None:
        """Raise `BadInput` unless the digest is that of this content."""
        if not hmac.compare_digest(self.digest, digest):
            raise BadInput(f"the content is not that of digest {digest[:16]}…: it was changed.")


def create_content(body: str | bytes) -> Content:
    """Return content with a new key."""
    return Content(body.encode() if isinstance(body, str) else body, secrets.token_bytes(KEY_SIZE))
