"""Signed notes: a text with signature lines, keys by name, and their text forms.

Source: C2SP signed-note, v1.0.0, and tlog-cosignature, v1.0.1.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from heatbath.errors import BadInput, MissingExtra

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
except ImportError as error:
    raise MissingExtra("a ledger", "ledger") from error

ED25519 = 0x01
COSIGNATURE = 0x04
"""Signature types: of a note, and of a checkpoint with a time."""
MAX_NOTE_SIZE = 1 << 20
MAX_SIGNATURES = 100

_DASH = "— "
_NAME = re.compile(r"[^\s+\x00-\x1f]+")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


class SignatureInvalid(BadInput):
    """A note that no known key has signed, or with a signature of a known key that does not verify."""


@dataclass(frozen=True)
class NoteSignature:
    """A signature line: name and id of the key, and the bytes of the signature."""

    name: str
    key_id: bytes
    signature: bytes

    def __str__(self) -> str:
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.signature).decode()}\n"


@dataclass(frozen=True)
class SignedNote:
    """A text, which ends with a newline, and its signatures."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def __str__(self) -> str:
        return f"{self.text}\n{''.join(map(str, self.signatures))}"


def parse_note(content: str) -> SignedNote:
    """Return the note. Raises `BadInput` for text that is none."""
    text, separator, lines = content.rpartition("\n\n")
    if len(content) > MAX_NOTE_SIZE or not separator or not lines.endswith("\n") or _CONTROL.search(content):
        raise BadInput("this is not a signed note: expected a text, an empty line and signature lines.")
    signatures = tuple(_parse_signature(line) for line in lines[:-1].split("\n"))
    if len(signatures) > MAX_SIGNATURES:
        raise BadInput(f"the note has {len(signatures)} signatures: at most {MAX_SIGNATURES} are read.")
    return SignedNote(text + "\n", signatures)


def _parse_signature(line: str) -> NoteSignature:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    signature = decode_base64(encoded)
    if not line.startswith(_DASH) or not _NAME.fullmatch(name) or signature is None or len(signature) < 5:
        raise BadInput(f"{line[:60]!r} is not a signature line of a note.")
    return NoteSignature(name, signature[:4], signature[4:])


def decode_base64(encoded: str) -> bytes | None:
    """Return the bytes of canonical base64, None for anything else."""
    try:
        decoded = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    return decoded if base64.b64encode(decoded).decode() == encoded else None


@dataclass(frozen=True)
class VerifierKey:
    """A public key by its name; `kind` is that of its signatures, `ED25519` of notes, `COSIGNATURE` of witnesses."""

    name: str
    public: bytes
    kind: int = ED25519

    @property
    def key_id(self) -> bytes:
        """The four bytes that signature lines of this key begin with."""
        content = self.name.encode() + b"\n" + bytes([self.kind]) + self.public
        return hashlib.sha256(content).digest()[:4]

    def __str__(self) -> str:
        encoded = base64.b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    def verify(self, text: str, signature: bytes) -> None:
        """Raise `SignatureInvalid` unless the signature is of the text, by this key."""
        message, raw = text.encode(), signature
        if self.kind == COSIGNATURE:
            message, raw = cosigned_message(text, read_cosignature_time(signature)), signature[8:]
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(raw, message)
        except (InvalidSignature, ValueError):
            raise SignatureInvalid(f"the signature of {self.name} does not verify: the text was changed.") from None


def parse_verifier_key(encoded: str) -> VerifierKey:
    """Return the key of its text form, `name+id+key`. Raises `BadInput` for another text, or another kind of key."""
    name, _, rest = encoded.strip().partition("+")
    key_id, _, material = rest.partition("+")
    decoded = decode_base64(material)
    if _NAME.fullmatch(name) and decoded and len(decoded) == 33 and decoded[0] in (ED25519, COSIGNATURE):
        key = VerifierKey(name, decoded[1:], decoded[0])
        if key.key_id.hex() == key_id:
            return key
    raise BadInput(f"{encoded[:60]!r} is not the public key of a log or witness: expected name+id+base64 of Ed25519.")


@dataclass(frozen=True)
class SignerKey:
    """A private key by its name; the name has no spaces and no plus sign."""

    name: str
    private: Ed25519PrivateKey
    kind: int = ED25519

    @property
    def verifier(self) -> VerifierKey:
        """The public key."""
        return VerifierKey(self.name, self.private.public_key().public_bytes_raw(), self.kind)

    def __str__(self) -> str:
        encoded = base64.b64encode(bytes([self.kind]) + self.private.private_bytes_raw()).decode()
        return f"PRIVATE+KEY+{self.name}+{self.verifier.key_id.hex()}+{encoded}"

    def __repr__(self) -> str:
        return f"SignerKey({self.verifier})"

    def sign(self, text: str, *, time: int = 0) -> NoteSignature:
        """Return the signature line of a text; a key of cosignatures signs `time` too, in seconds since 1970."""
        verifier = self.verifier
        if self.kind == COSIGNATURE:
            signature = time.to_bytes(8, "big") + self.private.sign(cosigned_message(text, time))
        else:
            signature = self.private.sign(text.encode())
        return NoteSignature(self.name, verifier.key_id, signature)


def create_signer_key(name: str, *, kind: int = ED25519) -> SignerKey:
    """Return a new key. Raises `BadInput` for a name that signature lines cannot have."""
    if not _NAME.fullmatch(name):
        raise BadInput(f"the name of a key must not be empty nor have spaces or plus signs, got {name[:60]!r}.")
    return SignerKey(name, Ed25519PrivateKey.generate(), kind)


def parse_signer_key(encoded: str) -> SignerKey:
    """Return the private key of its text form. Raises `BadInput`, which does not repeat the text, for another."""
    parts = encoded.strip().split("+", 4)
    material = decode_base64(parts[4]) if len(parts) == 5 and parts[:2] == ["PRIVATE", "KEY"] else None
    if material and len(material) == 33 and material[0] in (ED25519, COSIGNATURE):
        key = SignerKey(parts[2], Ed25519PrivateKey.from_private_bytes(material[1:]), material[0])
        if key.verifier.key_id.hex() == parts[3]:
            return key
    raise BadInput("this is not the private key of a log: expected PRIVATE+KEY+name+id+base64 of Ed25519.")


def cosigned_message(text: str, time: int) -> bytes:
    """Return the bytes that a witness signs for the text of a checkpoint."""
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def read_cosignature_time(signature: bytes) -> int:
    """Return the time of a cosignature, in seconds since 1970. Raises `SignatureInvalid` for one of another length."""
    if len(signature) != 72:
        raise SignatureInvalid(f"a cosignature has {len(signature)} bytes in place of 72.")
    return int.from_bytes(signature[:8], "big")


def verify_note(note: SignedNote, keys: Sequence[VerifierKey]) -> list[tuple[VerifierKey, NoteSignature]]:
    """Return the known keys that have signed, with their signatures; lines of unknown keys are ignored.

    Raises:
        SignatureInvalid: no key of `keys` has signed, or the signature of one does not verify.
    """
    known = {(key.name, key.key_id): key for key in keys}
    found = []
    for signature in note.signatures:
        key = known.get((signature.name, signature.key_id))
        if key is not None:
            key.verify(note.text, signature.signature)
            found.append((key, signature))
    if not found:
        names = ", ".join(f"{each.name}+{each.key_id.hex()}" for each in note.signatures)
        raise SignatureInvalid(f"none of the given keys has signed this note; it is signed by {names[:200]}.")
    return found
