"""The process in which grammars are tried: it forks a child for each, and ends those that take too much.

The library that compiles a grammar is native code: some small grammars make it crash, or compile without end. A child
is limited in time, memory and stack, and only its verdict comes back. Its parent only reads grammars from standard
input and writes verdicts to standard output, one JSON object a line, so that it stays small and has one thread.
"""

from __future__ import annotations

import json
import os
import pickle
import select
import signal
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from heatbath.errors import HeatbathError

Probe = Callable[[str], None]
"""Compiles a grammar and tries it. Raises `BadInput` for one that cannot be used."""
HEADER = struct.Struct("!Q")
"""The number of bytes of the pickled `WorkerSetup`, which comes before the first line."""


@dataclass(frozen=True)
class GrammarLimits:
    """Limits of trying one grammar.

    Attributes:
        seconds: of processor time.
        patience: seconds on the clock, of which a child on a busy machine spends some waiting for a processor.
        memory: bytes in addition to those of the process it is forked from.
        stack: bytes of the stack. Much less than the threads of a server have, which compile the grammar again.
        children: grammars that are tried at the same time; the others wait.
    """

    seconds: float = 2.0
    patience: float = 20.0
    memory: int = 512 << 20
    stack: int = 1 << 20
    children: int = 4


@dataclass(frozen=True)
class WorkerSetup:
    """The first message: `factory` (module:function) builds a probe from the other values."""

    factory: str
    pieces: list[bytes]
    special_token_ids: frozenset[int]
    stop_token_ids: tuple[int, ...]
    limits: GrammarLimits


@dataclass
class _Child:
    """A child, the pipe with its verdict, and when it is ended."""

    job: int
    pid: int
    pipe: int
    ends_at: float
    output: bytes = b""
    status: str = "died"


@dataclass
class GrammarWorker:
    """Reads jobs and cancellations from a file descriptor and writes verdicts to another, until the first is closed."""

    setup: WorkerSetup
    source: int = 0
    sink: int = 1
    children: dict[int, _Child] = field(default_factory=dict)
    waiting: deque[tuple[int, str]] = field(default_factory=deque)
    buffer: bytes = b""

    def __post_init__(self) -> None:
        module, _, name = self.setup.factory.partition(":")
        self.probe: Probe = getattr(import_module(module), name)(self.setup)

    def run(self) -> None:
        """Serve until the source is closed; then end all children."""
        try:
            while self._wait():
                self._end_late()
                while self.waiting and len(self.children) < self.setup.limits.children:
                    self._start(*self.waiting.popleft())
        finally:
            for child in self.children.values():
                _kill(child.pid)

    def _wait(self) -> bool:
        """Wait for a line, a verdict or the end of a child's time. Return False when the source is closed."""
        now = time.monotonic()
        timeout = min([max(0.0, child.ends_at - now) for child in self.children.values()], default=None)
        ready, _, _ = select.select([self.source, *self.children], [], [], timeout)
        for pipe in ready:
            if pipe != self.source:
                self._read_child(self.children[pipe])
        return self.source not in ready or self._read_lines()

    def _read_lines(self) -> bool:
        data = os.read(self.source, 1 << 16)
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "grammar" in message:
                self.waiting.append((message["job"], message["grammar"]))
            else:
                self._cancel(message["job"])
        return bool(data)

    def _cancel(self, job: int) -> None:
        self.waiting = deque(each for each in self.waiting if each[0] != job)
        for child in self.children.values():
            if child.job == job:
                _kill(child.pid)

    def _start(self, job: int, grammar: str) -> None:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            # The pipes of its siblings close with them only if no other child holds them.
            for pipe in (reading, *self.children):
                os.close(pipe)
            _run_child(self.probe, grammar, writing, self.setup.limits)
        os.close(writing)
        # Beside the limit of processor time, which a child that sleeps or waits does not use.
        self.children[reading] = _Child(job, pid, reading, time.monotonic() + self.setup.limits.patience)

    def _end_late(self) -> None:
        now = time.monotonic()
        for child in self.children.values():
            if child.ends_at <= now:
                child.status, child.ends_at = "slow", now + 60
                _kill(child.pid)

    def _read_child(self, child: _Child) -> None:
        data = os.read(child.pipe, 1 << 16)
        if data:
            child.output += data
            return
        os.close(child.pipe)
        del self.children[child.pipe]
        _, status = os.waitpid(child.pid, 0)
        verdict: dict[str, Any] = {"job": child.job, "status": child.status}
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
            verdict["status"] = "late"
        elif child.status == "died" and child.output.endswith(b"\n") and status == 0:
            verdict |= json.loads(child.output)
        _write(self.sink, json.dumps(verdict).encode() + b"\n")


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)  # Not waited for yet, so its number is not another's.


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _run_child(probe: Probe, grammar: str, pipe: int, limits: GrammarLimits) -> None:
    """Try a grammar in this process, write the verdict to `pipe`, and exit."""
    code = 1
    try:
        # What the native library prints when it fails is for nobody.
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        _limit_resources(limits)
        threading.stack_size(limits.stack)
        verdict: list[dict[str, str]] = []
        thread = threading.Thread(target=lambda: verdict.append(_try_grammar(probe, grammar)), daemon=True)
        thread.start()
        parent = os.getppid()
        while thread.is_alive() and os.getppid() == parent:
            thread.join(0.2)
        if verdict:
            _write(pipe, json.dumps(verdict[0]).encode() + b"\n")
            code = 0
    finally:
        os._exit(code)


def _try_grammar(probe: Probe, grammar: str) -> dict[str, str]:
    try:
        probe(grammar)
    except HeatbathError as error:
        return {"status": "refused", "reason": error.reason or str(error)}
    except MemoryError:
        return {"status": "died"}
    return {"status": "usable"}


def _limit_resources(limits: GrammarLimits) -> None:
    import resource

    seconds = max(1, round(limits.seconds))
    spent = int(time.process_time())
    resource.setrlimit(resource.RLIMIT_CPU, (spent + seconds, spent + seconds + 2))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with open("/proc/self/statm") as file:
            size = int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (size + limits.memory, size + limits.memory))


def main() -> None:
    """Read the setup from standard input, then serve."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # Signals to the group of the server are for the server, whose end closes standard input.
        signal.signal(number, signal.SIG_IGN)
    (size,) = HEADER.unpack(_read_exactly(0, HEADER.size))
    GrammarWorker(pickle.loads(_read_exactly(0, size))).run()


def _read_exactly(descriptor: int, size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        part = os.read(descriptor, size)
        if not part:
            sys.exit(0)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
