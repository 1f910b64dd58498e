"""Steps of clients that are commands: lm-eval, llm, aider. Each runs as its users run it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from steps import API, MODEL, NAME, Step, check, run_steps

TASK = """
task: sea
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: {kind}
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
{more}
"""


def run(command: str, *arguments: str) -> str:
    """Return what a command of this environment prints; raises with its last words where it fails."""
    path = Path(sys.executable).parent / command
    done = subprocess.run([str(path), *arguments], capture_output=True, text=True, timeout=400)
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or done.stdout.strip())[-300:])
    return done.stdout


def lm_eval_steps() -> dict[str, Step]:
    """Return the steps of lm-eval: the command with a task of two questions, over both APIs and tokenizers."""
    Path("sea.json").write_text(
        '{"question": "2 + 2 =", "answer": " 4"}\n{"question": "The sea is", "answer": " deep"}'
    )

    def evaluate(model: str, arguments: str, kind: str, *options: str) -> None:
        more = "doc_to_choice: [' 4', ' deep']" if kind == "multiple_choice" else "generation_kwargs: {max_gen_toks: 8}"
        Path("tasks").mkdir(exist_ok=True)
        Path("tasks/sea.yaml").write_text(TASK.format(data=Path("sea.json").resolve(), kind=kind, more=more))
        given = ["--model", model, "--model_args", arguments, "--tasks", "sea", "--include_path", "tasks"]
        run("lm_eval", "run", *given, "--output_path", "found", *options)
        newest = max(Path("found").rglob("results*.json"), key=os.path.getmtime)
        check(json.loads(newest.read_text())["results"]["sea"], newest)

    there = f"model={MODEL},base_url={API}/completions,max_retries=1,num_concurrent=1"
    chat = f"model={MODEL},base_url={API}/chat/completions,max_retries=1,tokenizer_backend=None"
    remote = f"{there},tokenizer_backend=remote"
    return {
        "choices": lambda: evaluate("local-completions", remote, "multiple_choice"),
        "choices at once": lambda: evaluate(
            "local-completions", remote.replace("num_concurrent=1", "num_concurrent=4"), "multiple_choice"
        ),
        "generation": lambda: evaluate("local-completions", remote, "generate_until"),
        "chat": lambda: evaluate("local-chat-completions", chat, "generate_until", "--apply_chat_template"),
    }


def llm_steps() -> dict[str, Step]:
    """Return the steps of llm, the command, with the server as one of its models."""
    os.environ["LLM_USER_PATH"] = str(Path("llm").resolve())
    Path("llm").mkdir(exist_ok=True)
    flags = "  supports_tools: true\n  supports_schema: true\n"
    Path("llm/extra-openai-models.yaml").write_text(
        f"- model_id: sea\n  model_name: {MODEL}\n  api_base: {API}\n  api_key_name: none\n{flags}"
    )
    few = ("-m", "sea", "-o", "max_tokens", "60")
    tool = 'def weather(town: str) -> str:\n    "The weather of a town."\n    return "Sun."'
    return {
        "plain": lambda: check(run("llm", *few, "--no-stream", "Say hello.", "--key", "none").strip()),
        "stream": lambda: check(run("llm", *few, "Say hello.", "--key", "none").strip()),
        "structured output": lambda: check(
            isinstance(json.loads(run("llm", *few, "--schema", "deep bool", "The sea", "--key", "none"))["deep"], bool)
        ),
        "tools": lambda: run("llm", *few, "--functions", tool, "Say hello.", "--key", "none"),
    }


def aider_steps() -> dict[str, Step]:
    """Return the steps of aider: one message, without a repository, in a stream and not."""
    options = ["--no-git", "--yes-always", "--no-check-update", "--analytics-disable", "--no-show-model-warnings"]
    there = ["--openai-api-base", API, "--openai-api-key", "none", "--edit-format", "ask", "--map-tokens", "0"]
    Path("settings.yml").write_text(f"- name: openai/{MODEL}\n  extra_params: {{max_tokens: 24}}\n")
    settings = ["--model", f"openai/{MODEL}", "--model-settings-file", "settings.yml"]

    def ask(*more: str) -> None:
        said = run("aider", *options, *there, *settings, *more, "--message", "Say hello.")
        # The client also prints that it cannot fetch a list of prices, which is no fault of the server.
        check(re.search(r"Tokens: [\d.]+k? sent, [1-9][\d.]*k? received", said), said[-300:])
        check(not re.search(r"litellm\.\w+Error", said), said[-300:])

    return {"plain": lambda: ask("--no-stream"), "stream": lambda: ask("--stream")}


STEPS = {"lm-eval": (lm_eval_steps, "lm-eval"), "llm": (llm_steps, "llm"), "aider": (aider_steps, "aider-chat")}

if __name__ == "__main__":
    build_steps, package = STEPS[NAME]
    run_steps(build_steps(), package)
