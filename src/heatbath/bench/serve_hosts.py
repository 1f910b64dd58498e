"""Servers to measure, each a process group of its own, suspended while another is measured."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from heatbath.bench.serve_load import StreamCall
from heatbath.errors import BadInput, ModelError

PEER_VARIABLE = "HEATBATH_BENCH_VLLM"
"""Environment variable with the path of a Python that has vLLM for the CPU, and transformers' server."""
_START_SECONDS, _STOP_SECONDS = 400.0, 30.0

CallBuilder = Callable[[str, int], StreamCall]


@dataclass(frozen=True)
class ServerSpec:
    """The command that starts a server on a port, and its requests.

    Attributes:
        command: returns the command line for a port.
        build_call: returns the call for a prompt and a number of tokens.
        ready_path: a path that responds with 200 when the server is ready.
    """

    name: str
    command: Callable[[int], Sequence[str]]
    build_call: CallBuilder
    ready_path: str = "/health"
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class RunningServer:
    """A running server, which writes to `output`."""

    host: ServerSpec
    port: int
    process: subprocess.Popen[bytes]
    output: IO[bytes]

    def suspend(self) -> None:
        """Stop all of its threads, so that they cost nothing to a server that is being measured."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Continue after `suspend`."""
        os.killpg(self.process.pid, signal.SIGCONT)

    def stop(self) -> str:
        """End the server, with force if it takes long, and return its output."""
        with contextlib.suppress(ProcessLookupError):
            self.resume()
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.read_output()

    def read_output(self) -> str:
        """Return the output so far."""
        self.output.seek(0)
        return self.output.read().decode(errors="replace")


@contextlib.contextmanager
def run_server(host: ServerSpec) -> Iterator[RunningServer]:
    """Yield the server when it is ready. Raises `ModelError` with its last output if it ends before."""
    port = _find_free_port()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            host.command(port),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            cwd=folder,
            env={**os.environ, **host.environment},
        )
        server = RunningServer(host, port, process, output)
        try:
            _wait_until_ready(server)
            yield server
        finally:
            server.stop()


def _wait_until_ready(server: RunningServer) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if server.process.poll() is not None:
            break
        if _is_answering(f"http://127.0.0.1:{server.port}{server.host.ready_path}"):
            return
        time.sleep(0.2)
    raise ModelError(f"the server of {server.host.name} did not start: {server.read_output()[-500:]}")


def _is_answering(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def heatbath_server(name: str, child: Mapping[str, Any], body: Mapping[str, Any], key: str | None = None) -> ServerSpec:
    """Return a server of `heatbath.bench.serve_child`, asked for completions with the fields of `body`, with `key`."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}

    def command(port: int) -> list[str]:
        settings = {**child["settings"], "server": {"port": port, "log": "error"}}
        return [sys.executable, "-m", "heatbath.bench.serve_child", json.dumps({**child, "settings": settings})]

    def ask(prompt: str, tokens: int) -> StreamCall:
        return StreamCall(
            "/v1/completions",
            _build_completion_body(prompt, tokens, child["settings"]["model"]["name"]) | dict(body),
            headers,
        )

    return ServerSpec(name, command, ask, "/health/ready")


def vllm_server(python: str, folder: Path) -> ServerSpec:
    """Return vLLM's server with five log-probabilities a token, on all processors: by default it leaves one idle."""
    options = ["--model", str(folder), "--served-model-name", "model", "--dtype", "bfloat16", "--max-logprobs", "5"]
    quiet = ["--no-enable-log-requests", "--disable-uvicorn-access-log"]

    def command(port: int) -> list[str]:
        where = ["--host", "127.0.0.1", "--port", str(port)]
        return [python, "-m", "vllm.entrypoints.openai.api_server", *where, *options, *quiet]

    def ask(prompt: str, tokens: int) -> StreamCall:
        return StreamCall("/v1/completions", _build_completion_body(prompt, tokens, "model") | {"logprobs": 5})

    processors = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    given = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": processors, "HF_HUB_OFFLINE": "1"}
    return ServerSpec("vLLM", command, ask, environment=given)


def transformers_server(python: str, folder: Path) -> ServerSpec:
    """Return the server of transformers, with continuous batching and room for 45,000 tokens (1 GB here).

    By default it takes all memory for them, which leaves none for the servers beside it.
    """
    options = ["--dtype", "bfloat16", "--device", "cpu", "--continuous-batching", "--log-level", "error"]
    options += ["--cb-block-size", "32", "--cb-num-blocks", "1400", "--cb-max-batch-tokens", "2048"]

    def command(port: int) -> list[str]:
        where = ["--host", "127.0.0.1", "--port", str(port)]
        return [python, "-m", "transformers.cli.transformers", "serve", str(folder), *where, *options]

    def ask(prompt: str, tokens: int) -> StreamCall:
        # It has no way to ignore the end of an answer but to have none.
        chosen = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "eos_token_id": -1}
        chosen |= {"max_new_tokens": tokens, "pad_token_id": 0}
        body = {"model": str(folder), "prompt": prompt, "max_tokens": tokens, "stream": True}
        return StreamCall("/v1/completions", body | {"generation_config": json.dumps(chosen)})

    return ServerSpec("transformers serve", command, ask, environment={"HF_HUB_OFFLINE": "1"})


def find_peer_python() -> str:
    """Return the Python of the servers to compare with. Raises `BadInput` where there is none."""
    found = os.environ.get(PEER_VARIABLE)
    if not found:
        raise BadInput(f"{PEER_VARIABLE} is not set: run tools/vllm_env.sh FOLDER and set it to FOLDER/bin/python.")
    if not Path(found).is_file():
        raise BadInput(
            f"{PEER_VARIABLE} is {found}, which is no file: set it to the path of a Python that has vllm-cpu."
        )
    return found


def _build_completion_body(prompt: str, tokens: int, model: str) -> dict[str, Any]:
    asked = {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 1.0, "stream": True}
    return asked | {"ignore_eos": True, "stream_options": {"include_usage": True}}
