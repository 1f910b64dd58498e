"""An evaluation harness's client gets, over HTTP, the log-likelihoods of a direct forward pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from process import Running

api = pytest.importorskip("lm_eval.models.openai_completions")
pytestmark = [pytest.mark.weights, pytest.mark.filterwarnings("default")]

_CONTEXTS = (
    "The capital of France is",
    "def add(a, b):\n    return",
    "Once upon a time there was",
    "Größe und Façade:",
)
_CONTINUATIONS = (" Paris", " a + b\n", " a little girl who lived in the woods.", " 冷たい")


def test_its_loglikelihoods_are_those_of_a_forward_pass(real: Running, smollm2: Any, smollm2_folder: Path) -> None:
    from lm_eval.api.instance import Instance

    client = api.LocalCompletionsAPI(
        model="smollm2-135m",
        base_url=f"{real.url}/v1/completions",
        tokenizer_backend="huggingface",
        tokenizer=str(smollm2_folder),
        tokenized_requests=True,
        batch_size=8,
        max_retries=1,
    )
    pairs = [(context, end) for context in _CONTEXTS for end in _CONTINUATIONS]
    asked = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
    found = client.loglikelihood(asked, disable_tqdm=True)
    assert len(found) == len(pairs) == 16
    for (context, end), (logprob, greedy) in zip(pairs, found, strict=True):
        tokens, rest = client._encode_pair(context, end)
        exact, best = _direct(smollm2, tokens, rest)
        assert logprob == pytest.approx(exact, abs=1e-4), (context, end)
        assert greedy == best, (context, end)
    assert {greedy for _, greedy in found} == {True, False}


def test_its_remote_tokenizer_reads_and_writes_as_the_local_one(real: Running, smollm2_folder: Path) -> None:
    from lm_eval.utils import RemoteTokenizer
    from transformers import AutoTokenizer

    local: Any = AutoTokenizer.from_pretrained(smollm2_folder)
    remote = RemoteTokenizer(f"{real.url}/v1/completions", max_retries=1)
    for name in ("eos_token", "bos_token", "pad_token", "eos_token_id", "bos_token_id"):
        assert getattr(remote, name) == getattr(local, name), name
    turns = [{"role": "user", "content": "Größe?"}, {"role": "assistant", "content": "12"}]
    rendered = remote.apply_chat_template(turns)
    assert rendered == local.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    for text in ("Hello there", " und so", "冷たい", rendered, "<|im_end|>"):
        tokens = remote.encode(text)
        assert tokens == local(text, add_special_tokens=False)["input_ids"]
        assert remote.decode(tokens) == text


def test_the_harness_scores_with_the_servers_tokenizer(real: Running, smollm2: Any) -> None:
    from lm_eval.api.instance import Instance

    client = api.LocalCompletionsAPI(
        model="smollm2-135m",
        base_url=f"{real.url}/v1/completions",
        tokenizer_backend="remote",
        tokenized_requests=True,
        max_retries=1,
    )
    pairs = [("The capital of France is", " Paris"), ("2 + 2 =", " 4")]
    found = client.loglikelihood([Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)], True)
    for (context, end), (logprob, _) in zip(pairs, found, strict=True):
        tokens, rest = client._encode_pair(context, end)
        assert logprob == pytest.approx(_direct(smollm2, tokens, rest)[0], abs=1e-4)


def _direct(model: Any, context: list[int], rest: list[int]) -> tuple[float, bool]:
    """Log-probability of `rest` after `context` by one forward pass, and whether it is the greedy one."""
    total, greedy = 0.0, True
    for window in model.score([context + rest]):
        logits = -np.asarray(window.energies, np.float64)
        logprobs = logits - np.logaddexp.reduce(logits, -1, keepdims=True)
        for position, target, row in zip(window.positions, window.targets, logprobs, strict=True):
            if position >= len(context):
                total += float(row[target])
                greedy &= int(row.argmax()) == target
    return total, greedy
