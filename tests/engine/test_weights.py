"""The instrument on the default model against a plain forward pass of `transformers`, in float32."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heatbath.engine import generate, join_traces, measure, measure_stream
from heatbath.engine.chunking import token_stream
from heatbath.record import THERMO_COLUMNS, Trace

pytestmark = pytest.mark.weights

TEXT = "The capital of France is Paris."
LONGER = (
    "Heat is energy in transfer between a thermodynamic system and its surroundings – by conduction, "
    "convection or radiation. Übergänge, 相転移 and переходы 🔥 happen at 0 °C!\n\n    def f(x):\n        return x\n"
)


@pytest.fixture(scope="module")
def plain(smollm2_folder: Path) -> Any:
    """Logits (T, V) of a text by transformers alone, float64."""
    import torch
    from transformers import AutoModelForCausalLM

    module = AutoModelForCausalLM.from_pretrained(smollm2_folder, dtype=torch.float32).eval()

    @cache
    def logits(tokens: tuple[int, ...]) -> Any:
        with torch.inference_mode():
            return module(input_ids=torch.tensor([tokens])).logits[0].double().numpy()

    return lambda tokens: logits(tuple(tokens))


@pytest.fixture(scope="module")
def longer(smollm2: Any) -> Trace:
    """What measuring `LONGER` gives."""
    return measure(smollm2, LONGER)


def thermodynamics(logits: Any, tokens: list[int], temperature: float) -> dict[str, Any]:
    """Every column, written out."""
    energies = -logits[:-1]
    chosen = energies[np.arange(len(energies)), tokens[1:]]
    weights = -energies / temperature
    top = weights.max(-1)
    log_z = top + np.log(np.exp(weights - top[:, None]).sum(-1))
    p = np.exp(weights - log_z[:, None])
    mean = (p * energies).sum(-1)
    variance = (p * (energies - mean[:, None]) ** 2).sum(-1)
    entropy, capacity = log_z + mean / temperature, variance / temperature**2
    rank = 1.0 + (energies < chosen[:, None]).sum(-1)
    values = (chosen, -chosen / temperature - log_z, log_z, mean, variance, entropy, capacity)
    return dict(zip(THERMO_COLUMNS, (*values, energies.min(-1), p.max(-1), rank), strict=True))


@pytest.mark.parametrize("text", [TEXT, LONGER])
def test_measure_agrees_with_a_plain_forward_pass(smollm2: Any, plain: Any, text: str) -> None:
    trace = measure(smollm2, text)
    expected = thermodynamics(plain(trace.tokens.tolist()), trace.tokens.tolist(), 1.0)
    assert trace.text == text
    for name in THERMO_COLUMNS:
        np.testing.assert_allclose(trace.record[name][1:], expected[name], atol=1e-3, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("temperature", [0.3, 0.7, 1.5])
def test_a_stored_trace_answers_at_other_temperatures(
    longer: Trace, plain: Any, tmp_path: Path, temperature: float
) -> None:
    longer.save(tmp_path / "t.parquet")
    trace = Trace.load(tmp_path / "t.parquet")
    expected = thermodynamics(plain(trace.tokens.tolist()), trace.tokens.tolist(), temperature)
    np.testing.assert_allclose(trace.logprob(temperature)[1:], expected["logprob"], atol=1e-3)
    np.testing.assert_allclose(trace.entropy(temperature)[1:], expected["entropy"], atol=5e-3)
    np.testing.assert_allclose(trace.heat_capacity(temperature)[1:], expected["heat_capacity"], atol=5e-2)


def test_bytes_a_token_on_disk(longer: Trace, tmp_path: Path) -> None:
    longer.save(tmp_path / "t.parquet")
    few = longer.to_table().slice(0, 1)
    assert few.num_rows == 1
    overhead = 14_000  # of any file: names, metadata, statistics
    assert ((tmp_path / "t.parquet").stat().st_size - overhead) / len(longer) <= 256


def test_generated_traces_are_what_measuring_gives(smollm2: Any) -> None:
    run = generate(smollm2, TEXT, n=2, temperature=[0.6, 1.0], max_tokens=6, seed=3, ignore_eos=True)
    for row, temperature in enumerate((0.6, 1.0)):
        tokens = [*run.prompts[row], *run.sequences[row]]
        whole = measure(smollm2, tokens, temperature=temperature)
        for name in THERMO_COLUMNS:
            got, expected = run.traces[row].record[name], whole.record[name][len(run.prompts[row]) :]
            np.testing.assert_allclose(got, expected, atol=2e-3, rtol=1e-4, err_msg=name)


def test_strides_score_every_token_once(smollm2: Any, longer: Trace) -> None:
    parts = list(measure_stream(smollm2, [LONGER], context=24))
    assert len(parts) > 3
    assert not any("�" in part.text for part in parts)
    joined = join_traces(parts)
    assert joined.text == LONGER and joined.tokens.tolist() == longer.tokens.tolist()
    np.testing.assert_allclose(joined.record["logprob"][1:20], longer.record["logprob"][1:20], atol=1e-3)


class Pieces(StringIO):
    """Gives a file a few characters at a time, so that it is cut in many places."""

    def read(self, size: int | None = -1) -> str:
        return super().read(700)


def test_a_file_is_tokenised_as_if_read_at_once(smollm2: Any) -> None:
    def words() -> Iterator[str]:
        rng = np.random.default_rng(0)
        for _ in range(300):
            yield str(rng.choice(LONGER.split(" "))) + str(rng.choice([" ", " ", " ", "  ", "\n", "\n\n", "\t", ", "]))

    text = "".join(words())
    assert list(token_stream(smollm2, Pieces(text))) == smollm2.encode(text)


def test_emoji_come_out_whole(smollm2: Any) -> None:
    trace = measure(smollm2, "a🔥b")
    assert trace.text == "a🔥b" and "" in trace.token_texts
