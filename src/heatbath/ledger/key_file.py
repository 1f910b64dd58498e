"""The key file of a ledger: the private keys that checkpoints are signed with, one a line, the oldest first."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from heatbath.errors import BadInput
from heatbath.ledger.signed_note import SignerKey, VerifierKey, create_signer_key, parse_signer_key

KEY_FILE = "ledger.key"
PUBLIC_KEY_FILE = "ledger.pub"


class KeyFile:
    """The keys in a folder, which are read again when the file changes, since another process may rotate them.

    Args:
        folder: the folder of the ledger, which must have the file.

    Raises:
        BadInput: there is no key file, or it cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / KEY_FILE
        self._public = folder / PUBLIC_KEY_FILE
        self._version: tuple[int, ...] = ()
        self._keys: tuple[SignerKey, ...] = ()
        self.origin = self.read()[0].name

    def read(self) -> tuple[SignerKey, ...]:
        """Return the keys that checkpoints are signed with. Raises `BadInput` for a file that cannot be read."""
        with _describe_failure(self.path):
            status = self.path.stat()
            version = status.st_mtime_ns, status.st_ino, status.st_size
            if version != self._version:
                lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
                keys = tuple(parse_signer_key(line) for line in lines if line.strip())
                if not keys:
                    raise BadInput(f"the key of the ledger, {self.path}, is empty: put the key back.")
                self._keys, self._version = keys, version
        return self._keys

    def read_public(self) -> tuple[VerifierKey, ...]:
        """Return the public keys."""
        return tuple(key.verifier for key in self.read())

    def replace(self, keys: tuple[SignerKey, ...]) -> None:
        """Put other keys in place of these, all or none."""
        with _describe_failure(self.path):
            temporary = _write_private(self.path, "".join(f"{key}\n" for key in keys))
            os.replace(temporary, self.path)
            _sync_folder(self.path.parent)
            _write_public(self._public, keys)


def open_key_file(folder: Path, origin: str | None, *, is_new: bool) -> KeyFile:
    """Return the key file of a ledger; a new ledger gets one.

    Args:
        origin: the name of a new key.
        is_new: True if nothing else of a ledger is there yet.

    Raises:
        BadInput: no key file in a ledger that has files, no origin for a new one, or a file that cannot be read.
    """
    path = folder / KEY_FILE
    with _describe_failure(path):
        if not path.exists():
            if origin is None:
                raise BadInput(
                    f"there is no ledger in {folder}: give an origin, such as example.com/agent, to make one."
                )
            if not is_new:
                raise BadInput(f"the ledger in {folder} has no key file {KEY_FILE}: put it back; nothing was written.")
            _create(folder, create_signer_key(origin))
    return KeyFile(folder)


def _create(folder: Path, key: SignerKey) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    temporary = _write_private(folder / KEY_FILE, f"{key}\n")
    try:
        os.link(temporary, folder / KEY_FILE)
    except FileExistsError:
        return
    finally:
        temporary.unlink()
    _sync_folder(folder)
    _write_public(folder / PUBLIC_KEY_FILE, (key,))


def _write_private(path: Path, content: str) -> Path:
    """Write a file beside `path`, durably and for its owner alone; return it."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return Path(name)


def _write_public(path: Path, keys: tuple[SignerKey, ...]) -> None:
    temporary = _write_private(path, "".join(f"{key.verifier}\n" for key in keys))
    temporary.chmod(0o644)
    os.replace(temporary, path)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _describe_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadInput(f"the key of the ledger, {path}, cannot be read or written ({error.strerror}).") from None
