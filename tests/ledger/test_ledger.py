"""A ledger in a folder: appending, publishing, proofs, erasure, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from heatbath.errors import BadInput
from heatbath.ledger import Ledger, build_entry, parse_entry
from heatbath.ledger.canonical import canonical_bytes, parse_json
from heatbath.ledger.entry_queue import QueueUnusable
from heatbath.ledger.key_file import KEY_FILE
from heatbath.ledger.merkle import hash_leaf
from heatbath.ledger.tree_tail import LogDamaged

ORIGIN = "example.com/agent"

json_scalars = st.none() | st.booleans() | st.integers(-(1 << 53) + 1, (1 << 53) - 1) | st.text()
json_values = st.recursive(
    json_scalars | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "log", ORIGIN) as found:
        yield found


def append_numbers(ledger, count):
    ledger.append_many([build_entry({"n": i}) for i in range(count)])
    return ledger.publish()


def test_an_entry_is_sequenced_then_published_then_proved(ledger):
    receipt = ledger.append({"answer": 1.5}, kind="decision", content={"prompt": "secret"})
    assert (receipt.number, ledger.entry_state(0)) == (0, "sequenced")
    with pytest.raises(BadInput, match="not published yet"):
        ledger.prove(0)
    ledger.publish()
    assert ledger.entry_state(0) == "published"
    ledger.prove(0).verify(hash_leaf(ledger.read_body(0)), ledger.verifier_keys)
    assert b"secret" not in ledger.read_body(0)
    assert ledger.read_content(ledger.read_entry(0)) == {"prompt": b"secret"}
    assert ledger.find_number(receipt.id) == 0
    assert ledger.find_number("no id") is None


@pytest.mark.parametrize("count", [1, 255, 256, 257, 600])
def test_every_entry_is_proved_after_many_checkpoints(ledger, count):
    for begin in range(0, count, 100):
        append_numbers(ledger, min(100, count - begin))
    for number in range(0, count, 37):
        ledger.prove(number).verify(hash_leaf(ledger.read_body(number)), ledger.verifier_keys)
        assert ledger.read_entry(number).data["n"] == number % 100


def test_publishing_again_changes_nothing_and_another_process_continues(ledger, tmp_path):
    first = append_numbers(ledger, 300)
    assert ledger.publish() == first
    with Ledger(tmp_path / "log") as other:
        assert append_numbers(other, 5).checkpoint.size == 305
        assert other.entry_state(304) == "published"
    assert append_numbers(ledger, 1).checkpoint.size == 306


def test_an_entry_with_a_known_id_keeps_its_number(ledger):
    one = ledger.append({"a": 1}, entry_id="a" * 32)
    ledger.append({"b": 1})
    assert ledger.append({"a": 2}, entry_id="a" * 32) == one
    assert ledger.publish().checkpoint.size == 2
    assert ledger.append({"a": 3}, entry_id="a" * 32) == one


def test_erased_content_is_gone_and_proofs_stay(ledger, tmp_path):
    ledger.append({"a": 1}, content={"prompt": "a very secret text"})
    ledger.publish()
    proof, body = ledger.prove(0), ledger.read_body(0)
    receipt = ledger.erase(0, "asked for by its author")
    assert ledger.read_content(ledger.read_entry(0)) == {"prompt": None}
    ledger.publish()
    proof.verify(hash_leaf(body), ledger.verifier_keys)
    ledger.prove(0).verify(hash_leaf(body), ledger.verifier_keys)
    erasure = ledger.read_entry(receipt.number)
    assert (erasure.kind, erasure.data["entry"]) == ("erasure", 0)
    ledger.close()
    for path in (tmp_path / "log").rglob("*"):
        assert not path.is_file() or b"very secret" not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"a": float("nan")}, "`data.a` is nan"),
        ({"a": [1, {"b": float("inf")}]}, r"`data.a\[1\].b` is inf"),
        ({"a": 1 << 53}, "beyond 2"),
        ({1: 2}, "keys of JSON are texts"),
        ({"a": b"bytes"}, "type bytes"),
        ({"a": "\ud800"}, "surrogate"),
        ({"a": "x" * 70_000}, "65,535 fit"),
    ],
)
def test_data_that_json_does_not_have_is_refused_and_nothing_is_written(ledger, data, message):
    with pytest.raises(BadInput, match=message):
        ledger.append(data)
    assert ledger.publish().checkpoint.size == 0


def test_scalars_of_numpy_are_plain_numbers():
    value = {"a": np.float32(1.5), "b": np.int64(2), "c": np.bool_(True), "d": (np.float64(0.1),)}
    assert canonical_bytes(value) == b'{"a":1.5,"b":2,"c":true,"d":[0.1]}'


@given(json_values)
def test_canonical_bytes_are_those_of_the_reference_and_read_back(value):
    body = canonical_bytes({"v": value})
    assert body == rfc8785.dumps({"v": value})
    assert canonical_bytes(parse_json(body)) == body


@pytest.mark.parametrize(
    "body",
    [b'{"v":1.0}', b'{"v":1e-07}', b'{"v":-0}', b'{"b":1,"a":2}', b'{"v":1e+16}', b'{"v":"\\u0041"}', b'{"v": 1}'],
)
def test_other_bytes_are_not_canonical(body):
    assert canonical_bytes(parse_json(body)) != body


def test_a_body_that_is_no_entry_is_refused():
    for body in (b"", b"[]", b"{}", b'{"schema":"heatbath.entry/2"}', b'{"schema":"heatbath.entry/1"}'):
        with pytest.raises(BadInput):
            parse_entry(body)


def test_ledgers_that_cannot_be_opened(tmp_path):
    with pytest.raises(BadInput, match="give an origin"):
        Ledger(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with Ledger(tmp_path / "log", ORIGIN) as ledger:
        append_numbers(ledger, 3)
    with pytest.raises(BadInput, match="belongs to the log"):
        Ledger(tmp_path / "log", "example.com/other")
    key = (tmp_path / "log" / KEY_FILE).read_text()
    (tmp_path / "log" / KEY_FILE).unlink()
    with pytest.raises(BadInput, match="no key file"):
        Ledger(tmp_path / "log", ORIGIN)
    (tmp_path / "log" / KEY_FILE).write_text("")
    with pytest.raises(BadInput, match="is empty"):
        Ledger(tmp_path / "log", ORIGIN)
    (tmp_path / "log" / KEY_FILE).write_text(key)
    (tmp_path / "log" / "ledger.db").write_bytes(b"not a database, but long enough to be read as one " * 100)
    with pytest.raises(QueueUnusable):
        Ledger(tmp_path / "log", ORIGIN)


def test_nothing_is_signed_over_tiles_that_do_not_continue_the_checkpoint(ledger, tmp_path):
    append_numbers(ledger, 5)
    before = ledger.checkpoint()
    path = tmp_path / "log" / "public" / "tile" / "0" / "000.p" / "5"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with Ledger(tmp_path / "log") as other, pytest.raises(LogDamaged, match="nothing was signed"):
        append_numbers(other, 1)
    assert ledger.checkpoint() == before
