"""Make the environments of clients, start a server, run the steps of each client, and print a table."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MODEL = "smollm2-135m"
SECONDS = 900
"""Time for all steps of one client."""
SERVE = "import sys; from heatbath.cli.main import main; sys.exit(main())"
QUIET = {
    "DO_NOT_TRACK": "1",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "HF_HUB_OFFLINE": "1",
    "AIDER_ANALYTICS_DISABLE": "1",
    "NO_COLOR": "1",
}
"""Settings that keep clients from calling home, and their output plain."""


@dataclass(frozen=True)
class Client:
    """The packages of a client, and the script with its steps."""

    packages: tuple[str, ...]
    script: str


CLIENTS = {
    "openai": Client(("openai",), "official.py"),
    "anthropic": Client(("anthropic",), "official.py"),
    "cohere": Client(("cohere",), "official.py"),
    "langchain-openai": Client(("langchain-openai",), "frameworks.py"),
    "llama-index": Client(("llama-index-llms-openai-like",), "frameworks.py"),
    "litellm": Client(("litellm",), "frameworks.py"),
    "haystack": Client(("haystack-ai",), "frameworks.py"),
    "dspy": Client(("dspy",), "frameworks.py"),
    "instructor": Client(("instructor", "openai"), "structured.py"),
    "outlines": Client(("outlines", "openai"), "structured.py"),
    "guidance": Client(("guidance", "openai"), "structured.py"),
    "pydantic-ai": Client(("pydantic-ai-slim[openai]",), "agent_frameworks.py"),
    "openai-agents": Client(("openai-agents",), "agent_frameworks.py"),
    "inspect-ai": Client(("inspect-ai", "openai"), "agent_frameworks.py"),
    "lm-eval": Client(("lm-eval[api]",), "command_line.py"),
    "llm": Client(("llm",), "command_line.py"),
    "aider": Client(("aider-chat",), "command_line.py"),
    # By tag, since npm else chooses an older release where the newest asks for a newer Node.
    "node": Client(
        ("openai@latest", "ai@latest", "@ai-sdk/openai@latest", "@langchain/openai@latest", "zod@latest"), "node.mjs"
    ),
}


def main() -> int:
    """Run the clients named on the command line, all of them by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where environments are made and kept")
    parser.add_argument("--url", help="a server that runs already")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help=", ".join(CLIENTS))
    options = parser.parse_args()
    unknown = [name for name in options.clients if name not in CLIENTS]
    if unknown:
        parser.error(f"there is no client {unknown[0]!r}: choose from {', '.join(CLIENTS)}.")
    rows: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = options.url or stack.enter_context(run_server())
        for name in options.clients or CLIENTS:
            found = run_client(name, folder.resolve() / name, url)
            rows += found
            if not options.json:
                print(format_table(found), flush=True)
    failed = sum(bool(row["error"]) for row in rows)
    print(json.dumps(rows, indent=1) if options.json else f"{len(rows) - failed} of {len(rows)} steps passed")
    return int(failed > 0)


@contextlib.contextmanager
def run_server() -> Iterator[str]:
    """Yield the address of a server with the default model, on a free port, with its data in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "HEATBATH_STORAGE__URL": f"sqlite:///{folder}/answers.db",
            "HEATBATH_SERVER__LOG": "warning",
            "HEATBATH_MODEL__ALIASES": '{"gpt-4o": "smollm2-135m"}',
        }
        command = [sys.executable, "-c", SERVE, "serve", "--port", "0", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                if not line:
                    raise SystemExit("the server did not start: see its message above.")
                yield json.loads(line)["url"]
            finally:
                process.terminate()


def run_client(name: str, folder: Path, url: str) -> list[dict[str, Any]]:
    """Return a row for each step of a client: client, version, step and error, which is empty where all went well."""
    client = CLIENTS[name]
    try:
        command = make_node(folder, client.packages) if name == "node" else make_environment(folder, client.packages)
    except subprocess.CalledProcessError as error:
        return [{"client": name, "version": "", "step": "installation", "error": _last_line(error.stderr)}]
    with tempfile.TemporaryDirectory() as work:
        found = Path(work) / "steps.jsonl"
        script = folder / client.script if name == "node" else HERE / client.script
        given = {**os.environ, **QUIET, "OPENAI_API_KEY": "none", "OPENAI_BASE_URL": f"{url}/v1", "HOME": work}
        given.pop("PYTHONPATH", None)
        failure = ""
        try:
            done = subprocess.run(
                [*command, str(script), name, url, MODEL, str(found)],
                cwd=work,
                env=given,
                capture_output=True,
                text=True,
                timeout=SECONDS,
            )
            failure = _last_line(done.stderr) if done.returncode else ""
        except subprocess.TimeoutExpired:
            failure = f"not done after {SECONDS} s"
        rows = [json.loads(line) for line in found.read_text().splitlines()] if found.exists() else []
    if failure or not rows:
        rows.append({"version": "", "step": "run", "error": failure or "no step ran"})
    return [{"client": name, **row} for row in rows]


def make_environment(folder: Path, packages: Sequence[str]) -> list[str]:
    """Return the Python of an environment with the newest releases of `packages`, made if it is not there."""
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade", *packages])
        (folder / "complete").touch()
    return [str(python)]


def make_node(folder: Path, packages: Sequence[str]) -> list[str]:
    """Return the command for scripts in a folder whose node_modules hold the newest releases of `packages`."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "complete").exists():
        _run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder), *packages])
        (folder / "complete").touch()
    (folder / "node.mjs").write_text((HERE / "node.mjs").read_text())
    return ["node"]


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def _last_line(text: str | None) -> str:
    lines = [line for line in (text or "").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no message"


def format_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a table."""
    lines = []
    for row in rows:
        client = f"{row['client']} {row['version']}".strip()
        lines.append(f"{client:<28} {row['step']:<24} {row['error'] or 'ok'}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
