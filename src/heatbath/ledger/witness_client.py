"""Cosignatures of witnesses, which sign a checkpoint once they have seen that it continues the one before.

Source: C2SP tlog-witness, v1.0.0. No address is asked that the owner of the ledger has not written down.
"""

from __future__ import annotations

import base64
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from heatbath.errors import BadInput, HeatbathError
from heatbath.ledger.signed_note import (
    COSIGNATURE,
    NoteSignature,
    SignedNote,
    VerifierKey,
    parse_note,
    parse_verifier_key,
    read_cosignature_time,
    verify_note,
)

WITNESS_FILE = "ledger.witnesses"
"""File in the folder of a ledger; each line has the public key of a witness, a space, and its address."""

_TIMEOUT = 5.0
_MAX_RESPONSE = 1 << 16
_SIZE_TYPE = "text/x.tlog.size"


class WitnessFailed(HeatbathError):
    """A witness that does not cosign, or cannot be reached."""


@dataclass(frozen=True)
class Witness:
    """A witness: its public key, and the address that checkpoints are submitted below."""

    key: VerifierKey
    url: str

    def __str__(self) -> str:
        return f"{self.key} {self.url}"


def parse_witness(line: str) -> Witness:
    """Return the witness of a line with its public key and address. Raises `BadInput` for another line."""
    encoded, _, url = line.strip().partition(" ")
    key = parse_verifier_key(encoded)
    parts = urlsplit(url)
    if key.kind != COSIGNATURE or parts.scheme not in ("http", "https") or not parts.netloc:
        raise BadInput(
            f"{line.strip()[:80]!r} is not a witness: expected its public key for cosignatures, a space, and its "
            "address, such as https://witness.example/."
        )
    return Witness(key, url.rstrip("/"))


def read_witnesses(folder: Path) -> list[Witness]:
    """Return the witnesses of a ledger, none without a file of them. Raises `BadInput` for a malformed line."""
    try:
        lines = (folder / WITNESS_FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [parse_witness(line) for line in lines if line.strip()]


def request_cosignatures(
    witness: Witness, note: SignedNote, size: int, *, prove: Callable[[int], Sequence[bytes]], old_size: int = 0
) -> list[NoteSignature]:
    """Submit a checkpoint to a witness and return its cosignatures, which are verified.

    Args:
        note: the checkpoint, signed by its log.
        size: entries of the checkpoint.
        prove: returns the consistency proof from a size.
        old_size: size of the last checkpoint that the witness is known to have cosigned.

    Raises:
        WitnessFailed: it refuses, cannot be reached, or returns no cosignature of its key.
    """
    status, body = _submit(witness, note, prove, old_size)
    if status == 409:
        status, body = _submit(witness, note, prove, _read_size(witness, body, size, old_size))
    if status != 200:
        raise WitnessFailed(f"the witness {witness.key.name} refused the checkpoint over {size} entries ({status}).")
    try:
        answer = parse_note(f"{note.text}\n{body}")
        found = [signature for _, signature in verify_note(answer, [witness.key])]
    except BadInput as error:
        raise WitnessFailed(f"the answer of the witness {witness.key.name} is not a cosignature: {error}") from None
    if any(read_cosignature_time(each.signature) == 0 for each in found):
        raise WitnessFailed(f"the cosignature of the witness {witness.key.name} has no time.")
    return found


def _read_size(witness: Witness, body: str, size: int, sent: int) -> int:
    """Return the size that a witness has last cosigned. Raises `WitnessFailed` if this log cannot continue it."""
    digits = body.removesuffix("\n")
    if not digits.isascii() or not digits.isdecimal() or len(digits) > 19 or int(digits) == sent:
        raise WitnessFailed(f"the witness {witness.key.name} named no size that it has cosigned.")
    if int(digits) > size:
        raise WitnessFailed(
            f"the witness {witness.key.name} has cosigned this log with {digits} entries, and it has {size}: it was "
            "cut or restored from a copy."
        )
    return int(digits)


def _submit(
    witness: Witness, note: SignedNote, prove: Callable[[int], Sequence[bytes]], old_size: int
) -> tuple[int, str]:
    proof = prove(old_size) if old_size else []
    lines = [f"old {old_size}", *(base64.b64encode(each).decode() for each in proof), "", str(note)]
    request = urllib.request.Request(
        f"{witness.url}/add-checkpoint", "\n".join(lines).encode(), {"Content-Type": "text/plain; charset=utf-8"}
    )
    try:
        status, kind, body = post(request)
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        raise WitnessFailed(f"the witness {witness.key.name} cannot be reached ({reason}).") from None
    if status == 409 and kind != _SIZE_TYPE:
        raise WitnessFailed(f"the witness {witness.key.name} named no size that it has cosigned.")
    return status, body.decode(errors="replace")


class _RefuseRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves redirects as they are: nothing is sent to an address that the owner has not written down."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def post(request: urllib.request.Request) -> tuple[int, str, bytes]:
    """Send a request; return status, content type and body. Raises `OSError` if there is no answer."""
    opener = urllib.request.build_opener(_RefuseRedirect)
    try:
        with opener.open(request, timeout=_TIMEOUT) as response:
            return response.status, response.headers.get_content_type(), response.read(_MAX_RESPONSE)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get_content_type(), error.read(_MAX_RESPONSE)
