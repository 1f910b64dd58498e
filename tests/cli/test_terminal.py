"""What commands print, as processes on a fresh home: our own lines and nothing of a library's."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-c", "import sys; from heatbath.cli.main import main; sys.exit(main())"]

# What a library may do while a command runs: named on the command line, it is imported and called inside.
LIBRARY = """
import logging, warnings

def observe(text):
    warnings.warn("a warning of a library", FutureWarning)
    logging.getLogger("library").warning("a log line of a library")
    logging.getLogger("transformers.library").warning("a log line below transformers")
    return len(text)

observe("")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the processes run: a tiny random model `model`, and `library.py`."""
    import torch
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

    from heatbath.models.hub.pretrained_loader import suppress_library_output

    folder = tmp_path_factory.mktemp("terminal")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    words.add_special_tokens([AddedToken("<s>", special=True), AddedToken("</s>", special=True)])
    config = LlamaConfig(
        vocab_size=258, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, bos_token_id=256, eos_token_id=257,
    )  # fmt: skip
    with suppress_library_output(), torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder / "model")
        fast = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>")
        fast.save_pretrained(folder / "model")
    (folder / "library.py").write_text(LIBRARY)
    return folder


def _environment(folder: Path, **more: str) -> dict[str, str]:
    """As on a machine where nothing has run: caches are empty, and nothing is said about warnings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHONWARN", "TRANSFORMERS_"))}
    home = {"HOME": str(folder), "HEATBATH_CACHE": str(folder / "cache"), "MPLCONFIGDIR": str(folder / "matplotlib")}
    return {**kept, **home, "PYTHONPATH": str(ROOT / "src"), **more}


def _run(folder: Path, arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = _environment(folder, **more)
    return subprocess.run([*COMMAND, *arguments.split()], cwd=folder, env=environment, capture_output=True, text=True)


SWEEP = "sweep --model model --length 32 --sequences 24 --batch 12 --anchors 6 --observable said=library:observe --json"
COMMANDS = {
    "measure": "measure --text Paris. --model model --json",
    "generate": "generate Paris --model model --max-tokens 4 --field dry=0.8 --json",
    "models": "models list --json",
    "doctor": "doctor --json",
}
SUMMARY = r"\d+ tokens at T = 1: surprisal .* per token, entropy .*, heat capacity .*\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_prints_its_answer_alone(name: str, folder: Path) -> None:
    run = _run(folder, COMMANDS[name])
    assert re.fullmatch(SUMMARY if name == "measure" else "", run.stderr)
    assert run.returncode == 0
    assert all(json.loads(line) is not None for line in run.stdout.splitlines())


def test_a_sweep_says_where_its_report_is_whatever_a_library_says(folder: Path) -> None:
    run = _run(folder, f"{SWEEP} --out quiet")
    assert run.stderr == "heatbath: the report is quiet/report.html\n"
    assert run.returncode == 0
    assert "said" in run.stdout and json.loads(run.stdout)


def test_what_libraries_say_is_shown_to_who_asks(folder: Path) -> None:
    run = _run(folder, f"{SWEEP} --out library.py", HEATBATH_DEBUG="1")  # refused before the model is loaded
    for said in ("a warning of a library", "a log line of a library", "a log line below transformers"):
        assert said in run.stderr


def test_a_server_prints_its_address_and_json_lines(folder: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "serve", "--model", "model", "--port", "0", "--json"],
        cwd=folder,
        env=_environment(folder, HEATBATH_STORAGE__URL=f"sqlite:///{folder / 'answers.db'}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        address = json.loads(process.stdout.readline())
        answer = _ask(address["api"])
        assert answer["usage"]["completion_tokens"] >= 1
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert out == ""
    lines = [json.loads(line) for line in errors.splitlines()]
    assert lines and all({"event", "level", "timestamp"} <= line.keys() for line in lines), errors
    assert process.returncode == 0


def _ask(api: str) -> Any:
    body = json.dumps({"model": "model", "prompt": "The capital", "max_tokens": 4}).encode()
    request = urllib.request.Request(f"{api}/completions", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.loads(response.read())
