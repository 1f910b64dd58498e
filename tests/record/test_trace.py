"""A trace answers at any temperature what the model would say, and survives the disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heatbath.engine import measure
from heatbath.ensemble import state
from heatbath.errors import BadInput
from heatbath.models import MarkovModel, RandomEnergyModel, UrnModel
from heatbath.record import NODE_COLUMNS, THERMO_COLUMNS, Trace, observe, read_traces, write_traces

RNG = np.random.default_rng(3)
ENERGIES = RNG.normal(0.0, 3.0, (40, 500))
TOKENS = RNG.integers(0, 500, 40)
TEMPERATURES = (0.1, 0.3, 0.7, 1.0, 1.5, 3.0)


def urn_trace(temperature: float = 1.0) -> Trace:
    return measure(UrnModel(1.0), "+-++-+--" * 4, temperature=temperature)


def written_out(trace: Trace, temperature: float) -> np.ndarray:
    """Log-probabilities of the tokens after the first, from the urn's law itself."""
    spins = 2.0 * trace.tokens - 1
    means = np.cumsum(spins)[:-1] / np.arange(1, len(spins))
    return -np.log1p(np.exp(-2 * means * spins[1:] / temperature))


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_logprob_at_any_temperature_without_the_model(temperature: float) -> None:
    trace = urn_trace()
    assert np.isnan(trace.logprob(temperature)[0])
    np.testing.assert_allclose(trace.logprob(temperature)[1:], written_out(trace, temperature), atol=1e-3)


@pytest.mark.parametrize("temperature", [0.05, 0.7, 5.0])
def test_own_temperature_is_exact_even_outside_the_nodes(temperature: float) -> None:
    trace = urn_trace(temperature)
    np.testing.assert_allclose(trace.logprob(temperature)[1:], written_out(trace, temperature), atol=1e-12)


@pytest.mark.parametrize("temperature", [0.05, 4.0, -1.0, np.nan, 0.0])
def test_elsewhere_outside_the_nodes_is_refused(temperature: float) -> None:
    with pytest.raises(BadInput):
        urn_trace().logprob(temperature)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_entropy_and_heat_capacity_agree_with_the_ensemble(temperature: float) -> None:
    trace = synthetic()
    exact = state(ENERGIES, 1 / temperature, index=TOKENS)
    np.testing.assert_allclose(trace.logprob(temperature), exact.logprob, atol=1e-3)
    np.testing.assert_allclose(trace.entropy(temperature), exact.entropy, atol=3e-3)
    np.testing.assert_allclose(trace.heat_capacity(temperature), exact.heat_capacity, rtol=0.02, atol=0.02)


def synthetic(energies: np.ndarray = ENERGIES) -> Trace:
    like = urn_trace()
    return Trace(
        TOKENS, np.arange(len(TOKENS)), observe(energies, TOKENS), like.provenance, lambda token: b"%d " % token
    )


def test_columns_hold_together() -> None:
    record = observe(ENERGIES, TOKENS, beta=0.8)
    np.testing.assert_allclose(record["logprob"], -0.8 * record["energy"] - record["log_z"], atol=1e-10)
    np.testing.assert_allclose(record["entropy"], record["log_z"] + 0.8 * record["mean_energy"], atol=1e-9)
    np.testing.assert_allclose(record["heat_capacity"], 0.64 * record["variance"], rtol=1e-9)
    assert (record["temperature"] == 1.25).all()
    assert {record[name].shape for name in THERMO_COLUMNS} == {(40,)}
    assert {record[name].shape for name in NODE_COLUMNS} == {(40, 16)}


def test_a_gauge_moves_energies_and_log_z_alone() -> None:
    here, there = synthetic(), synthetic(ENERGIES + 100.0)
    for name in ("logprob", "entropy", "heat_capacity", "p_max", "rank", *NODE_COLUMNS):
        np.testing.assert_allclose(there.record[name], here.record[name], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(there.logprob(0.5), here.logprob(0.5), atol=1e-5)
    np.testing.assert_allclose(there.energies - here.energies, 100.0)


def test_first_token_without_context_is_null() -> None:
    rows = urn_trace().to_table().to_pylist()
    assert (rows[0]["position"], rows[0]["token_id"], rows[0]["text"]) == (0, 1, "+")
    assert all(rows[0][name] is None for name in (*THERMO_COLUMNS, *NODE_COLUMNS, "temperature"))
    assert all(value is not None for value in rows[1].values())


def test_the_disk_keeps_the_trace(tmp_path: Path) -> None:
    trace = urn_trace()
    trace.save(tmp_path / "t.parquet")
    back = Trace.load(tmp_path / "t.parquet")
    assert back.to_table().equals(trace.to_table())
    assert back.provenance == trace.provenance
    assert (back.text, back.token_bytes) == (trace.text, trace.token_bytes)
    np.testing.assert_array_equal(back.logprob(1.0), trace.logprob(1.0))
    np.testing.assert_allclose(back.logprob(0.5), trace.logprob(0.5), atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.sampled_from([0.0, 0.4, 1.0]))
def test_many_sequences_in_one_file(tmp_path_factory: pytest.TempPathFactory, lengths: list[int], t: float) -> None:
    path = tmp_path_factory.mktemp("many") / "t.parquet"
    model = MarkovModel(RNG.normal(size=(3, 3)))
    tokens = [RNG.integers(0, 3, n).tolist() for n in lengths]
    traces = [measure(model, row, temperature=t) for row in tokens]
    numbered = [Trace(x.tokens, x.positions, x.record, x.provenance, x.token_to_bytes, i) for i, x in enumerate(traces)]
    write_traces(path, numbered)
    back = read_traces(path)
    assert [trace.tokens.tolist() for trace in back] == tokens
    assert all(a.to_table().equals(b.to_table()) for a, b in zip(back, numbered, strict=True))
    assert Trace.load(path, sequence=len(lengths) - 1).tokens.tolist() == tokens[-1]


def test_files_say_what_is_wrong_with_them(tmp_path: Path) -> None:
    (tmp_path / "no.parquet").write_bytes(b"nothing")
    pq.write_table(urn_trace().to_table().replace_schema_metadata(None), tmp_path / "bare.parquet")
    for name in ("no.parquet", "bare.parquet", "missing.parquet"):
        with pytest.raises(BadInput, match=name):
            read_traces(tmp_path / name)
    write_traces(tmp_path / "two.parquet", [urn_trace(), Trace(*_parts(urn_trace()), sequence=1)])
    with pytest.raises(BadInput, match="0, 1"):
        Trace.load(tmp_path / "two.parquet")


def _parts(trace: Trace) -> tuple[object, ...]:
    return trace.tokens, trace.positions, trace.record, trace.provenance, trace.token_to_bytes


def test_a_later_schema_is_refused(tmp_path: Path) -> None:
    table = urn_trace().to_table()
    content = json.loads(table.schema.metadata[b"heatbath"]) | {"schema": 99}
    pq.write_table(table.replace_schema_metadata({b"heatbath": json.dumps(content)}), tmp_path / "t.parquet")
    with pytest.raises(BadInput, match="schema 99"):
        read_traces(tmp_path / "t.parquet")


def test_json_lines_are_strict_json_with_the_names_of_the_columns() -> None:
    lines = urn_trace(0.0).to_jsonl().splitlines()
    rows = [json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON")) for line in lines]
    columns = ["logprob_at_temperature" if name == "logprob" else name for name in THERMO_COLUMNS]
    names = ["position", "token_id", "text", "logprob", *columns, "temperature"]
    assert all(list(row) == names for row in rows)
    assert rows[3]["rank"] in (1, 2)


def test_bytes_on_disk(tmp_path: Path) -> None:
    n, size = 4096, 2000
    energies = RNG.normal(0, 3, (n, 1)) + RNG.gumbel(0, 3, (n, size)).astype(np.float32)
    tokens = RNG.integers(0, size, n)
    like = urn_trace()
    trace = Trace(tokens, np.arange(n), observe(energies, tokens), like.provenance, lambda token: b" w%d" % token)
    trace.save(tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").stat().st_size / n <= 256


def test_random_energies_are_measured_too() -> None:
    model = RandomEnergyModel(length=8, seed=1)
    trace = measure(model, [0, 1, 1, 0, 1])
    assert np.isfinite(trace.logprob(0.8)[1:]).all()
