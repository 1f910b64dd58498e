"""Checkpoints: the size and root of a log at one moment, as signed notes; and proofs that stand alone.

Source: C2SP tlog-checkpoint, v1.0.0, and tlog-proof, a draft: commit ab17a74116563005f908b9167e6421cc929a5c2b.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass

from heatbath.errors import BadInput
from heatbath.ledger.merkle import HASH_SIZE, MAX_SIZE, ProofInvalid, verify_inclusion
from heatbath.ledger.signed_note import (
    COSIGNATURE,
    ED25519,
    SignatureInvalid,
    SignedNote,
    VerifierKey,
    decode_base64,
    parse_note,
    read_cosignature_time,
    verify_note,
)

PROOF_HEADER = "c2sp.org/tlog-proof@v1"
MAX_PROOF_LINES = 63

_NUMBER = re.compile(r"0|[1-9]\d{0,18}")


@dataclass(frozen=True)
class Checkpoint:
    """Origin, number of entries and root of a log, and extension lines, which nobody audits."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions]
        return "".join(f"{line}\n" for line in lines)


def parse_checkpoint(text: str) -> Checkpoint:
    """Return the checkpoint of the text of a note. Raises `BadInput` for another text."""
    origin, size, root, *extensions = [*text.removesuffix("\n").split("\n"), "", "", ""]
    extensions = extensions[:-3]
    decoded = decode_base64(root)
    is_sized = _NUMBER.fullmatch(size) and int(size) < MAX_SIZE
    if not text.endswith("\n") or not origin or not is_sized or decoded is None or len(decoded) != HASH_SIZE:
        raise BadInput("this is not a checkpoint: expected lines with an origin, a size and a root hash in base64.")
    if not all(extensions):
        raise BadInput("this is not a checkpoint: an extension line is empty.")
    return Checkpoint(origin, int(size), decoded, tuple(extensions))


@dataclass(frozen=True)
class VerifiedCheckpoint:
    """A checkpoint whose signatures were verified, and the names and times (seconds since 1970) of its witnesses."""

    checkpoint: Checkpoint
    note: SignedNote
    witnesses: tuple[tuple[str, int], ...] = ()


def open_checkpoint(
    content: str, keys: Sequence[VerifierKey], witnesses: Sequence[VerifierKey] = (), *, quorum: int = 0
) -> VerifiedCheckpoint:
    """Return the checkpoint of a signed note, which a key of its origin has signed.

    Args:
        content: the note.
        keys: keys of logs; only those with the name of the origin count.
        witnesses: keys of witnesses.
        quorum: witnesses that must have cosigned.

    Raises:
        BadInput: it is not a checkpoint.
        SignatureInvalid: no key of the origin has signed, a known signature fails, or too few witnesses signed.
    """
    note = parse_note(content)
    checkpoint = parse_checkpoint(note.text)
    own = [key for key in keys if key.name == checkpoint.origin and key.kind == ED25519]
    if not own:
        raise SignatureInvalid(
            f"the checkpoint is of the log {checkpoint.origin!r} and no key of that name is given: "
            f"{', '.join(key.name for key in keys) or 'there is none'}."
        )
    found = verify_note(note, [*own, *witnesses])
    if not any(key in own for key, _ in found):
        raise SignatureInvalid(f"the checkpoint is not signed by the given key of {checkpoint.origin}.")
    seen = {key.name: read_cosignature_time(signature.signature) for key, signature in found if key.kind == COSIGNATURE}
    if len(seen) < quorum:
        raise SignatureInvalid(f"{len(seen)} of the known witnesses have cosigned, and {quorum} are required.")
    return VerifiedCheckpoint(checkpoint, note, tuple(sorted(seen.items())))


@dataclass(frozen=True)
class InclusionProof:
    """A proof that stands alone: an index, hashes from the sibling of the leaf on, a checkpoint, opaque extra data."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: str
    extra: bytes | None = None

    def __str__(self) -> str:
        lines = [PROOF_HEADER]
        if self.extra is not None:
            lines.append(f"extra {base64.b64encode(self.extra).decode()}")
        lines.append(f"index {self.index}")
        lines += [base64.b64encode(each).decode() for each in self.hashes]
        return "\n".join([*lines, "", self.checkpoint])

    def verify(
        self,
        leaf_hash: bytes,
        keys: Sequence[VerifierKey],
        witnesses: Sequence[VerifierKey] = (),
        *,
        quorum: int = 0,
    ) -> VerifiedCheckpoint:
        """Verify that a leaf is in the log, without the log; return the checkpoint that says so.

        Raises:
            BadInput, SignatureInvalid: the checkpoint is none, or is not signed as is required.
            ProofInvalid: the leaf is not at this index of the log.
        """
        found = open_checkpoint(self.checkpoint, keys, witnesses, quorum=quorum)
        size, root = found.checkpoint.size, found.checkpoint.root
        verify_inclusion(self.index, size, leaf_hash, self.hashes, root)
        return found


def parse_proof(content: str) -> InclusionProof:
    """Return the proof of the text of a `.tlog-proof` file. Raises `BadInput` for another text."""
    head, separator, checkpoint = content.partition("\n\n")
    header, *lines = head.split("\n")
    if header != PROOF_HEADER:
        raise BadInput(f"this is not a proof: its first line must be {PROOF_HEADER}, got {header[:60]!r}.")
    if not separator or not checkpoint:
        raise BadInput("the proof is cut: it has no checkpoint.")
    has_extra = bool(lines) and lines[0].startswith("extra ")
    extra = decode_base64(lines.pop(0).removeprefix("extra ")) if has_extra else None
    if has_extra and extra is None:
        raise BadInput("the extra data of the proof is not base64.")
    index = lines.pop(0).removeprefix("index ") if lines and lines[0].startswith("index ") else ""
    hashes = [decode_base64(line) for line in lines]
    if not _NUMBER.fullmatch(index):
        raise BadInput("the proof has no line with the index of the entry, or that line is malformed.")
    if len(hashes) > MAX_PROOF_LINES or any(each is None or len(each) != HASH_SIZE for each in hashes):
        raise ProofInvalid(f"the proof must have at most {MAX_PROOF_LINES} hashes of {HASH_SIZE} bytes in base64.")
    return InclusionProof(int(index), tuple(each for each in hashes if each is not None), checkpoint, extra)
