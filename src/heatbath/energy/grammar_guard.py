"""Verdicts on grammars of strangers, which are tried in a process of their own before this one compiles them."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence, Set
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from heatbath.energy.grammar_worker import HEADER, GrammarLimits, WorkerSetup
from heatbath.errors import BadInput, HeatbathError

_MAX_VERDICTS = 4096
_MAX_REASON = 1000
_KEPT_STATUSES = frozenset({"usable", "refused", "died", "late"})
_COMMAND = (sys.executable, "-P", "-c", "from heatbath.energy.grammar_worker import main; main()")

_INHERITED = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "LANG", "LC_ALL", "TMPDIR")


class GrammarCheckLost(HeatbathError):
    """The process that tries grammars has ended without a verdict."""


class GrammarVocabulary(Protocol):
    """The properties of a vocabulary that a grammar reads; `heatbath.models.base.Vocabulary` has them."""

    @property
    def size(self) -> int: ...
    @property
    def stop_token_ids(self) -> Sequence[int]: ...
    @property
    def special_token_ids(self) -> Set[int]: ...


@dataclass(frozen=True)
class GrammarVerdict:
    """The result of trying a grammar.

    `status` is "usable"; "refused" by the library or because nothing matches, with the `reason`; "died" where the child
    crashed or ran out of memory; "late" after the processor time allowed, and "slow" after the time on the clock;
    "lost" where the process that tries grammars has ended itself.
    """

    status: str
    reason: str = ""

    def require_usable(self, name: str, limits: GrammarLimits) -> None:
        """Raise `BadInput` of the field `name` for a grammar that cannot be used, `GrammarCheckLost` for no verdict."""
        if self.status == "usable":
            return
        if self.status == "lost":
            raise GrammarCheckLost("the process that tries grammars has ended: try again later.")
        reasons = {
            "died": f"compiling the grammar crashed or took more than {limits.memory >> 20} MiB: simplify it.",
            "late": f"compiling the grammar took more than {limits.seconds:g} s: simplify it.",
            "slow": f"compiling the grammar took more than {limits.patience:g} s: simplify it, or try again later.",
        }
        raise build_grammar_error(name, reasons.get(self.status, self.reason))


def build_grammar_error(name: str, reason: str) -> BadInput:
    """Return the error of a grammar in the field `name`."""
    error = BadInput(f"field {name!r}: {reason}", param="fields", component=name)
    error.reason = " ".join(reason.split())
    return error


@dataclass
class _Job:
    """A grammar that is being tried, and those who wait for the verdict."""

    digest: str
    callers: set[Future[GrammarVerdict]] = field(default_factory=set)


class GrammarGuard:
    """Tries grammars over one vocabulary in child processes that are limited in time, memory and stack.

    The process that forks them is started with the first grammar: it takes about 1 s, and 70 MB for a vocabulary of
    49,152. Verdicts are kept by digest. Thread-safe. Needs `os.fork`.
    """

    def __init__(
        self,
        token_bytes: Callable[[int], bytes],
        vocabulary: GrammarVocabulary,
        *,
        limits: GrammarLimits | None = None,
        factory: str = "heatbath.energy.grammar_probe:build_probe",
    ) -> None:
        self.limits = limits or GrammarLimits()
        self._token_bytes, self._vocabulary, self._factory = token_bytes, vocabulary, factory
        self._verdicts: OrderedDict[str, GrammarVerdict] = OrderedDict()
        self._jobs: dict[int, _Job] = {}
        self._job_count = 0
        self._lock = threading.RLock()
        self._lines: queue.SimpleQueue[bytes | None] | None = None

    @staticmethod
    def is_supported() -> bool:
        """Return whether this platform can fork."""
        return hasattr(os, "fork")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def find_verdict(self, grammar: str) -> GrammarVerdict | None:
        """Return the verdict on a grammar that was tried before."""
        with self._lock:
            digest = _digest(grammar)
            if digest in self._verdicts:
                self._verdicts.move_to_end(digest)
            return self._verdicts.get(digest)

    def check(self, grammar: str) -> Future[GrammarVerdict]:
        """Return the future verdict on a grammar. A grammar that no caller waits for any more is ended."""
        future: Future[GrammarVerdict] = Future()
        with self._lock:
            known = self.find_verdict(grammar)
            if known is not None:
                future.set_result(known)
                return future
            number = self._find_job(grammar)
            self._jobs[number].callers.add(future)
        future.add_done_callback(lambda done: self._leave(number, done))
        return future

    def close(self) -> None:
        """End the process and its children; those who wait get the verdict "lost"."""
        with self._lock:
            lines = self._lines
        if lines is not None:
            self._lose_jobs(lines)
            lines.put(None)

    def _find_job(self, grammar: str) -> int:
        digest = _digest(grammar)
        for number, job in self._jobs.items():
            if job.digest == digest:
                return number
        self._job_count += 1
        self._jobs[self._job_count] = _Job(digest)
        self._send({"job": self._job_count, "grammar": grammar})
        return self._job_count

    def _leave(self, number: int, done: Future[GrammarVerdict]) -> None:
        if not done.cancelled():
            return
        with self._lock:
            job = self._jobs.get(number)
            if job is None:
                return
            job.callers.discard(done)
            if not job.callers:
                del self._jobs[number]
                self._send({"job": number})

    def _send(self, message: dict[str, Any]) -> None:
        if self._lines is None:
            self._lines = queue.SimpleQueue()
            threading.Thread(target=self._serve, args=(self._lines,), name="heatbath-grammars", daemon=True).start()
        self._lines.put(json.dumps(message).encode() + b"\n")

    # In threads of the guard.

    def _serve(self, lines: queue.SimpleQueue[bytes | None]) -> None:
        """Start the process and write to it what comes; another thread reads the verdicts."""
        process = None
        try:
            setup = pickle.dumps(self._build_setup())
            process = subprocess.Popen(
                _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment(), start_new_session=True
            )
            assert process.stdin is not None
            threading.Thread(
                target=self._read_verdicts, args=(process, lines), name="heatbath-verdicts", daemon=True
            ).start()
            line: bytes | None = HEADER.pack(len(setup)) + setup
            while line is not None:
                process.stdin.write(line)
                process.stdin.flush()
                line = lines.get()
        except OSError:
            pass
        finally:
            if process is not None:
                _end_process(process)
            self._lose_jobs(lines)

    def _read_verdicts(self, process: subprocess.Popen[bytes], lines: queue.SimpleQueue[bytes | None]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                message = json.loads(line)
                self._settle(message["job"], GrammarVerdict(message["status"], message.get("reason", "")[:_MAX_REASON]))
        lines.put(None)

    def _settle(self, number: int, verdict: GrammarVerdict) -> None:
        with self._lock:
            job = self._jobs.pop(number, None)
            if job is None:
                return
            if verdict.status in _KEPT_STATUSES:
                self._verdicts[job.digest] = verdict
                while len(self._verdicts) > _MAX_VERDICTS:
                    self._verdicts.popitem(last=False)
        _resolve(job, verdict)

    def _lose_jobs(self, lines: queue.SimpleQueue[bytes | None]) -> None:
        with self._lock:
            if self._lines is not lines:
                return
            self._lines = None
            jobs, self._jobs = self._jobs, {}
        for job in jobs.values():
            _resolve(job, GrammarVerdict("lost"))

    def _build_setup(self) -> WorkerSetup:
        size = self._vocabulary.size
        return WorkerSetup(
            self._factory,
            [bytes(self._token_bytes(token)) for token in range(size)],
            frozenset(self._vocabulary.special_token_ids),
            tuple(self._vocabulary.stop_token_ids),
            self.limits,
        )


def _resolve(job: _Job, verdict: GrammarVerdict) -> None:
    for future in tuple(job.callers):
        if future.set_running_or_notify_cancel():
            future.set_result(verdict)


def _digest(grammar: str) -> str:
    return hashlib.sha256(grammar.encode("utf-8", "surrogatepass")).hexdigest()


def _environment() -> dict[str, str]:
    """Return the environment of the process: the modules of this one, no secrets, and no threads, since it forks."""
    path = os.pathsep.join(each for each in sys.path if each)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
    return {name: os.environ[name] for name in _INHERITED if name in os.environ} | threads | {"PYTHONPATH": path}


def _end_process(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    try:
        process.stdin.close()
        process.wait(timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        process.kill()
        process.wait()
