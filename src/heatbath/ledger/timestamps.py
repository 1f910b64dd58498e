"""RFC 3161 timestamps of checkpoints: a signed statement of an authority that a checkpoint existed at a time.

The statement is over the text of the checkpoint (origin, size, root), which can be made again from the tiles.
"""

from __future__ import annotations

import os
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from heatbath.errors import BadInput, HeatbathError, MissingExtra
from heatbath.ledger.checkpoint import Checkpoint
from heatbath.ledger.witness_client import post

TIMESTAMP_FOLDER = "timestamps"


class TimestampFailed(HeatbathError):
    """An authority that gives no timestamp, or one that does not verify."""


def request_timestamp(checkpoint: Checkpoint, url: str) -> bytes:
    """Return the timestamp of a checkpoint, DER, from an authority.

    Raises:
        BadInput: the address is none.
        TimestampFailed: it cannot be reached, or refuses.
        MissingExtra: without the extra `timestamps`.
    """
    library = _load_library()
    if urlsplit(url).scheme not in ("http", "https"):
        raise BadInput(f"{url[:80]!r} is not the address of a timestamp authority: give one of http or https.")
    query = library.TimestampRequestBuilder().data(_message(checkpoint)).build()
    kind = {"Content-Type": "application/timestamp-query"}
    try:
        status, _, body = post(urllib.request.Request(url, query.as_bytes(), kind))
    except OSError as error:
        raise TimestampFailed(f"the timestamp authority cannot be reached ({error}).") from None
    try:
        response = library.decode_timestamp_response(body)
        is_granted = status == 200 and response.status in (0, 1)
    except ValueError:
        is_granted = False
    if not is_granted:
        raise TimestampFailed(f"the timestamp authority gave no timestamp ({status}).")
    return body


def verify_timestamp(checkpoint: Checkpoint, timestamp: bytes, roots: bytes) -> datetime:
    """Return the time of a timestamp of a checkpoint.

    Args:
        roots: certificates of authorities that are trusted, PEM.

    Raises:
        TimestampFailed: it is of another checkpoint, or no trusted authority has signed it.
        BadInput: `roots` holds no certificate.
        MissingExtra: without the extra `timestamps`.
    """
    from cryptography import x509

    library = _load_library()
    try:
        certificates = x509.load_pem_x509_certificates(roots)
    except ValueError:
        raise BadInput("there is no certificate in PEM form to verify timestamps with.") from None
    builder = library.VerifierBuilder()
    for certificate in certificates:
        builder = builder.add_root_certificate(certificate)
    try:
        response = library.decode_timestamp_response(timestamp)
        builder.build().verify_message(response, _message(checkpoint))
    except (ValueError, library.VerificationError) as error:
        raise TimestampFailed(f"the timestamp does not verify ({str(error)[:120]}).") from None
    moment: datetime = response.tst_info.gen_time
    return moment.astimezone(UTC)


def store_timestamp(folder: Path, size: int, timestamp: bytes) -> Path:
    """Write a timestamp into the folder of a ledger and return its file."""
    path = folder / TIMESTAMP_FOLDER / f"{size}.tsr"
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(timestamp)
    os.replace(temporary, path)
    return path


def _message(checkpoint: Checkpoint) -> bytes:
    return str(checkpoint).encode()


def _load_library() -> Any:
    try:
        import rfc3161_client
    except ImportError as error:
        raise MissingExtra("a timestamp", "timestamps") from error
    return rfc3161_client
