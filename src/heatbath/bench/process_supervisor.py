"""The parent of a server under test: no process of the server outlives the process that asked for it.

Run as a script, with a command and a pipe as standard input. It ends the command and all of its descendants when the
pipe is closed, which also happens when the process at the other end is killed, and when the command ends by itself.
Only the standard library is imported, so that it starts at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

STOP_SECONDS = 30.0
"""Seconds that a command has to end by itself after SIGTERM."""
_POLL_SECONDS = 0.05
_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36


def main(command: list[str]) -> int:
    """Run the command until it ends or standard input is closed; return its exit status."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # The pipe alone decides.
    _control_process(_SET_CHILD_SUBREAPER, 1)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_die_with_parent)
    try:
        while child.poll() is None and not _is_closed(0, _POLL_SECONDS):
            pass
        if child.poll() is None:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(STOP_SECONDS)
    finally:
        _kill_descendants(child)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def find_descendants(root: int) -> Iterator[int]:
    """Yield the processes below a process; none where the system has no /proc."""
    parents = {pid: parent for pid, parent in _read_parents() if pid != root}
    for pid in parents:
        above = parents.get(pid)
        while above is not None and above != root:
            above = parents.get(above)
        if above == root:
            yield pid


def _read_parents() -> Iterator[tuple[int, int]]:
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The name of the command, in brackets, may hold anything.
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            yield int(folder.name), int(fields[1])


def _kill_descendants(child: subprocess.Popen[bytes]) -> None:
    """Kill the command's group, and whatever has left the group: a subreaper inherits what loses its parent."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    until = time.monotonic() + STOP_SECONDS
    while time.monotonic() < until and (found := list(find_descendants(os.getpid()))):
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.01)


def _is_closed(descriptor: int, seconds: float) -> bool:
    """Return True if the other end of a pipe is closed; wait up to `seconds` for it."""
    return bool(select.select([descriptor], [], [], seconds)[0]) and not os.read(descriptor, 1)


def _die_with_parent() -> None:
    """Die with the supervisor, should something kill it (Linux)."""
    _control_process(_SET_PDEATHSIG, signal.SIGKILL)


def _control_process(option: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):  # not Linux
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
