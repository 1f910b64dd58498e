#!/usr/bin/env bash
# Packages: inspect-ai==0.3.285, openai==3.57.0
#
# Expected: a generation with max_tokens=16 makes one request, with that limit; if the client has to
#   find out first what a server offers, it asks for little, such as its list of routes.
# Happens: before the first request to a model "openai/NAME" at a base URL of one's own, the client sends
#   another one to /v1/responses, to see whether that route exists: a prompt of its own, fields of
#   reasoning models, and no max_output_tokens. The limit, the retries and the time-out of the
#   configuration do not reach it. A small local model that does not end by itself then writes until its
#   context is full, which takes minutes on a CPU, and the generation that was asked for waits.
#   With responses_api=False there is no such request.
# Seen on 2026-11-29:
#   by default: /v1/responses without a limit, /v1/responses with 16
#   with responses_api=False: /v1/chat/completions with 16
# Source thread: none known.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet inspect-ai==0.3.285 openai==3.57.0

INSPECT_LOG_DIR="$folder/logs" "$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from inspect_ai.model import GenerateConfig, get_model

seen = []


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        limit = next((body[name] for name in ("max_output_tokens", "max_tokens", "max_completion_tokens") if name in body), None)
        seen.append(f"{self.path} {'without a limit' if limit is None else f'with {limit}'}")
        message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
                   "content": [{"type": "output_text", "text": "Hello.", "annotations": []}]}
        usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2, "prompt_tokens": 1, "completion_tokens": 1,
                 "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
        answer = {"id": "resp_1", "object": "response", "created_at": 1, "created": 1, "model": "m", "status": "completed",
                  "output": [message], "usage": usage, "parallel_tool_calls": False, "tool_choice": "auto", "tools": [],
                  "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello."}}]}
        if self.path.endswith("completions"):
            answer |= {"id": "chatcmpl-1", "object": "chat.completion"}
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
Thread(target=server.serve_forever, daemon=True).start()


async def ask(**options):
    seen.clear()
    config = GenerateConfig(max_tokens=16, max_retries=0, timeout=100)
    url = f"http://127.0.0.1:{server.server_port}/v1"
    async with get_model("openai/m", base_url=url, api_key="none", memoize=False, **options) as model:
        await model.generate("Say hello.", config=config)
    return ", ".join(seen)


usual, chat = asyncio.run(ask()), asyncio.run(ask(responses_api=False))
print(f"by default: {usual}\nwith responses_api=False: {chat}")
if usual != "/v1/responses without a limit, /v1/responses with 16" or chat != "/v1/chat/completions with 16":
    sys.exit("inspect-ai no longer sends a request without a limit before the user's own.")
PYTHON
