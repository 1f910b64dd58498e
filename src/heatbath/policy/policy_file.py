"""A policy that follows its file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from threading import Lock

from heatbath.errors import HeatbathError
from heatbath.policy.policy import Policy
from heatbath.policy.rule_reader import read_rules
from heatbath.policy.yaml_nodes import parse_yaml, read_yaml


class PolicyFile:
    """The last good policy of a file. Thread-safe.

    Attributes:
        policy: the policy in force.
        problem: a sentence about the file as it is now, None where the policy is that of the file.
    """

    def __init__(self, path: str | Path) -> None:
        """Load the file. Raises as `load_policy` does: there is no earlier policy to keep."""
        self.path = Path(path)
        self._lock = Lock()
        self._stamp = self._read_stamp()
        data, document = read_yaml(self.path)
        self._digest = hashlib.sha256(data).digest()
        self.policy = Policy(read_rules(document))
        self.problem: str | None = None

    def refresh(self) -> bool:
        """Load the file again if it has changed, and return True if another policy is in force.

        A file with a mistake, or one that cannot be read, keeps the policy; `problem` then says so. A file whose time
        and size are the same is not read.
        """
        with self._lock:
            stamp = self._read_stamp()
            if stamp == self._stamp and stamp is not None:
                return False
            self._stamp = stamp
            try:
                return self._load()
            except (OSError, HeatbathError) as error:
                self.problem = f"{_describe(error, self.path)} The policy {self.policy.version} stays in force."
                self._digest = b""
                return False

    def _load(self) -> bool:
        data = self.path.read_bytes()
        digest = hashlib.sha256(data).digest()
        if digest == self._digest:
            return False
        policy = Policy(read_rules(parse_yaml(data, self.path)))
        changed = policy.version != self.policy.version
        self.policy, self.problem, self._digest = policy, None, digest
        return changed

    def _read_stamp(self) -> tuple[int, int, int] | None:
        """Return what changes when the file does: its time, its size and its number; None without a file."""
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino


def _describe(error: OSError | HeatbathError, path: Path) -> str:
    if isinstance(error, HeatbathError):
        return str(error)
    return f"{path.name} cannot be read ({error.strerror or type(error).__name__})."
