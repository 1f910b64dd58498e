"""Our server and those that it is compared with, each set up as its documentation recommends for throughput."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heatbath.bench.serve_load import StreamCall
from heatbath.bench.serve_process import ServerSpec
from heatbath.errors import BadInput

PEER_VARIABLE = "HEATBATH_BENCH_VLLM"
"""Environment variable with the path of a Python that has vLLM for the CPU, and transformers' server."""
MAX_STREAMS = 64
"""The most streams at once that a server is asked for."""


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
    """Return vLLM's server with five log-probabilities a token.

    As its page on processors advises: all cores for the engine (by default it leaves one of two idle) and room for the
    cache in `VLLM_CPU_KVCACHE_SPACE`; it preloads tcmalloc and OpenMP by itself. It runs no more sequences at once than
    are asked for here.
    """
    options = ["--model", str(folder), "--served-model-name", "model", "--dtype", "bfloat16", "--max-logprobs", "5"]
    options += ["--max-num-seqs", str(MAX_STREAMS)]
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
    """Return the server of transformers as its page on throughput advises: continuous batching, attention by SDPA.

    It has room for 45,000 tokens (1 GB here); by default it takes all memory.
    """
    options = ["--dtype", "bfloat16", "--device", "cpu", "--continuous-batching", "--attn-implementation", "sdpa"]
    options += ["--cb-block-size", "32", "--cb-num-blocks", "1400", "--cb-max-batch-tokens", "2048"]

    def command(port: int) -> list[str]:
        where = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
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
