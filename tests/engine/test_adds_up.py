"""What fields and windows did to every token adds up to the change of its log-probability, for every sampler."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from heatbath.decode import schedules, top_k, top_p
from heatbath.energy import ForbiddenTokens, Grammar, LogitBias, MinLength, PresencePenalty, RepetitionPenalty
from heatbath.energy.potentials import TruncationPenalty
from heatbath.engine import generate
from heatbath.models import TableModel
from heatbath.record import FIELD_ENERGY_PREFIX, KEPT_MASS_PREFIX, WORK_PREFIX, Trace, read_traces, write_traces

TREE = TableModel.random(4, 5, 6, stop_token_ids=(4,), scale=1.5)
FIELDS = [RepetitionPenalty(1.2), LogitBias({0: 0.7, 2: -0.4}), 0.5 * PresencePenalty(0.8), MinLength(2)]
SAMPLERS = {
    "ancestral": {"n": 8},
    "best-of": {"n": 8},
    "vote": {"n": 8},
    "beam": {"width": 4},
    "smc": {"particles": 8, "replicates": 2, "alpha": 3.0, "threshold": 1.0},
    "power": {"particles": 8, "replicates": 2},
    "metropolis": {"chains": 4, "sweeps": 6},
    "lookahead": {"n": 4, "block": 2, "horizon": 2},
    "anneal": {"particles": 8, "ladder": 3, "threshold": 0.9},
    "tempering": {"chains": 2, "ladder": 3, "sweeps": 5},
}


def asked(name: str) -> dict:
    options = dict(SAMPLERS[name])
    if name in ("metropolis", "lookahead"):
        return {"sampler": "power", "method": name, **options}
    return {"sampler": name, **options}


def off(trace: Trace) -> float:
    """The largest difference between the change of log p and what the record says of it, in nats."""
    record = trace.record
    beta = 1 / trace.temperature
    fields = [name.removeprefix(WORK_PREFIX) for name in record if name.startswith(WORK_PREFIX)]
    windows = [name for name in record if name.startswith(KEPT_MASS_PREFIX)]
    parts = sum(record[WORK_PREFIX + name] - record[FIELD_ENERGY_PREFIX + name] for name in fields)
    change = beta * parts - sum(np.log(record[name]) for name in windows)
    return float(np.abs(record["drawn_logprob"] - record["logprob"] - change).max())


@pytest.mark.parametrize("name", SAMPLERS)
def test_records_of_every_sampler_add_up(name):
    out = generate(
        TREE, [], max_tokens=6, temperature=0.8, fields=FIELDS, window=[top_k(4), top_p(0.97)], seed=3, **asked(name)
    )
    names = {"repetition", "logit_bias", "presence", "min_length"}
    assert set(out.work) == names and {len(values) for values in out.work.values()} == {len(out)}
    assert max(off(trace) for trace in out.traces) < 1e-6
    for trace, sample in zip(out.traces, out.samples, strict=True):
        record = trace.record
        assert trace.tokens.tolist() == sample.token_ids and len(trace) >= 2
        assert {"kept_mass/top_k=4", "kept_mass/top_p=0.97", "divergence", "log_mass"} <= set(record)
        np.testing.assert_allclose(record["kept_mass"], record["kept_mass/top_k=4"] * record["kept_mass/top_p=0.97"])
        assert (record["divergence"] >= -1e-12).all()


def test_a_schedule_s_temperatures_add_up_too():
    cooling = schedules.geometric(1.5, 0.8, 0.5)
    out = generate(TREE, [], n=20, max_tokens=6, temperature=cooling, fields=FIELDS, window=top_p(0.9))
    assert max(off(trace) for trace in out.traces) < 1e-6
    np.testing.assert_allclose(out.traces[0].temperature[:3], [1.5, 1.2, 0.96])


def test_a_wrong_work_would_be_seen():
    trace = generate(TREE, [], max_tokens=6, fields=FIELDS).traces[0]
    trace.record["work/presence"][1] += 1e-5
    assert off(trace) > 5e-6


def test_divergence_is_that_of_what_was_drawn_from_the_model():
    out = generate(TREE, [], max_tokens=1, fields=[LogitBias({0: 1.0})])
    raw = TREE.open([[]]).energies()[0]
    p = np.exp(-raw - np.log(np.exp(-raw).sum()))
    tilted = p * np.exp([1.0, 0.0, 0.0, 0.0, 0.0])
    q = tilted / tilted.sum()
    record = out.traces[0].record
    expected = (q * np.log(q / p)).sum()
    np.testing.assert_allclose(record["divergence"], expected)
    np.testing.assert_allclose(record["divergence/logit_bias"], expected)
    np.testing.assert_allclose(record["log_mass"], np.log(tilted.sum()))


def test_files_keep_it(tmp_path: Path):
    out = generate(TREE, [], n=6, max_tokens=6, fields=[*FIELDS, ForbiddenTokens([1])], window=top_k(3))
    write_traces(tmp_path / "t.parquet", out.traces)
    assert max(off(trace) for trace in read_traces(tmp_path / "t.parquet")) < 1e-6


def test_the_record_says_where_a_schedule_crosses_an_edge():
    falling = schedules.linear(1.2, 0.2, 6)
    edges = {"freeze": 0.5, "melt": 1.1}
    out = generate(TREE, [], max_tokens=6, fields=[MinLength(6)], temperature=falling, edges=edges)
    record, temperature = out.traces[0].record, out.traces[0].temperature
    for name, edge in edges.items():
        crossed = np.flatnonzero(record[f"crossed/{name}"])
        assert len(crossed) == 1 and record[f"crossed/{name}"][crossed[0]] == -1
        assert temperature[crossed[0] - 1] >= edge > temperature[crossed[0]]


@pytest.mark.weights
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_default_model_adds_up(dtype, load_once):
    model = load_once("smollm2-135m", dtype=dtype)
    fields = [RepetitionPenalty(1.3), LogitBias({260: 2.0}), ForbiddenTokens([28])]
    out = generate(model, "The sea", n=3, max_tokens=8, temperature=0.9, fields=fields, window=[top_k(50), top_p(0.9)])
    assert max(off(trace) for trace in out.traces) < 1e-6


@pytest.mark.weights
def test_json_answers_of_the_default_model_are_valid_and_weighed(load_once):
    model = load_once("smollm2-135m", dtype="bfloat16")
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "maximum": 9999}},
        "required": ["city", "age"],
        "additionalProperties": False,
        "x-guidance": {"whitespace_flexible": False},
    }
    grammar = Grammar.from_json_schema(schema, model.token_bytes, model.vocabulary, max_tokens=32)
    prompt = model.encode_chat([{"role": "user", "content": "Give me a city and its age as JSON."}])
    asked = {"fields": grammar, "potentials": TruncationPenalty(), "max_tokens": 32}
    out = generate(model, prompt, sampler="smc", particles=4, replicates=2, **asked)
    for sample in out.samples:
        if np.isfinite(sample.log_weight):
            found = json.loads(sample.text)
            assert set(found) == {"city", "age"} and len(found["city"]) <= 12 and found["age"] <= 9999
    estimate = out.weighted_samples.log_z  # of few particles, so that `out.log_z` does not give it
    assert np.isfinite(estimate.value) and estimate.value < 0 and estimate.stderr > 0
    assert out.reliable_log_z is None
    assert np.isfinite(out.weighted_samples.log_weight[out.weighted_samples.selected_index])
    assert max(off(trace) for trace in out.traces) < 1e-6


def test_a_file_says_in_which_order_things_acted(tmp_path: Path):
    out = generate(TREE, [], max_tokens=6, fields=FIELDS, window=[top_p(0.9), top_k(3)])
    write_traces(tmp_path / "t.parquet", out.traces)
    schema = pq.read_schema(tmp_path / "t.parquet")
    assert json.loads(schema.metadata[b"heatbath"])["order"] == ["fields", "temperature", "windows"]
    assert [name for name in schema.names if name.startswith(KEPT_MASS_PREFIX)] == [
        "kept_mass/top_p=0.9",
        "kept_mass/top_k=3",
    ]
    assert [name for name in schema.names if name.startswith(WORK_PREFIX)] == [
        "work/repetition",
        "work/logit_bias",
        "work/presence",
        "work/min_length",
    ]
