"""A real PostgreSQL for tests: made in a folder of its own, on a socket and a free port, durable as in earnest."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Postgres:
    """A server: `programs` are the folder of its binaries, `user` runs it (None: whoever runs the tests)."""

    programs: Path
    folder: Path
    port: int
    user: str | None

    def url(self, database: str, *, tcp: bool = False) -> str:
        """Of one of its databases, by its socket or by TCP."""
        if tcp:
            return f"postgresql+psycopg://heatbath@127.0.0.1:{self.port}/{database}"
        return f"postgresql+psycopg://heatbath@/{database}?host={self.folder}&port={self.port}"

    def create(self) -> str:
        """A new, empty database; its name."""
        name = f"t{uuid.uuid4().hex}"
        self.sql(f"CREATE DATABASE {name}")
        return name

    def sql(self, command: str, database: str = "postgres") -> str:
        """What a command prints."""
        where = ["-h", str(self.folder), "-p", str(self.port), "-U", "heatbath", "-d", database]
        return self._run("psql", *where, "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", command)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c max_connections=200"
        log = self.folder / "log"
        self._run("pg_ctl", "start", "-w", "-D", self._data, "-l", str(log), "-o", options)

    def stop(self, mode: str = "fast") -> None:
        """Stop it: "fast" in order, "immediate" as a crash would."""
        self._run("pg_ctl", "stop", "-w", "-D", self._data, "-m", mode)

    @contextlib.contextmanager
    def stopped(self, mode: str = "fast") -> Iterator[None]:
        """Down inside the block, up again after it."""
        self.stop(mode)
        try:
            yield
        finally:
            self.start()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """All of its processes halted inside the block: connections stay and nothing answers."""
        main = int(Path(self._data, "postmaster.pid").read_text().splitlines()[0])
        members = [main, *map(int, Path(f"/proc/{main}/task/{main}/children").read_text().split())]
        for member in members:
            os.kill(member, signal.SIGSTOP)
        try:
            yield
        finally:
            for member in members:
                os.kill(member, signal.SIGCONT)

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _run(self, program: str, *arguments: str) -> str:
        # Output goes to a file: a server that was started keeps a pipe open for ever.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                [self.programs / program, *arguments],
                cwd=self.folder,
                user=self.user,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=60,
            )
            output.seek(0)
            printed = output.read()
        assert done.returncode == 0, f"{program}: {printed}"
        return printed.strip()


def programs() -> Path | None:
    """The folder of the newest PostgreSQL installed, None if there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


@contextlib.contextmanager
def serving(binaries: Path) -> Iterator[Postgres]:
    """A server that lives as long as the block."""
    folder = Path(tempfile.mkdtemp(prefix="heatbath-pg-", dir="/tmp"))
    user = _unprivileged()
    if user is not None:
        shutil.chown(folder, user)
    server = Postgres(binaries, folder, _free_port(), user)
    try:
        server._run("initdb", "-D", server._data, "-U", "heatbath", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
        server.start()
        yield server
        server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for the session; whoever stops it starts it again."""
    binaries = programs()
    if binaries is None:
        pytest.skip("no PostgreSQL is installed: apt-get install postgresql")
    with serving(binaries) as server:
        yield server


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """The URL of a new, empty database."""
    name = postgres.create()
    yield postgres.url(name)
    postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")


def _unprivileged() -> str | None:
    """Whom to run the server as: it refuses to run as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
