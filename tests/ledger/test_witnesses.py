"""Witnesses on loopback: cosignatures of each checkpoint, conflicts, forks, and answers that are refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from heatbath.errors import BadInput
from heatbath.ledger import Ledger, build_entry, open_checkpoint
from heatbath.ledger.merkle import hash_leaf
from heatbath.ledger.signed_note import COSIGNATURE, create_signer_key
from heatbath.ledger.verification import verify_log
from heatbath.ledger.witness_client import WITNESS_FILE, Witness, parse_witness

sys.path.insert(0, str(Path(__file__).parent))
from loopback_witness import TIME, is_consistent, run_witness

ORIGIN = "example.com/agent"


@pytest.fixture
def witness():
    with run_witness() as found:
        yield found


def open_with(folder, witness):
    with Ledger(folder, ORIGIN) as ledger:
        witness.log_keys = list(ledger.verifier_keys)
    (folder / WITNESS_FILE).write_text(f"{Witness(witness.key.verifier, witness.url)}\n")
    return Ledger(folder)


def append(ledger, count):
    ledger.append_many([build_entry({"n": i}) for i in range(count)])
    return ledger.publish()


def test_each_checkpoint_is_cosigned_and_stored_with_its_cosignature(tmp_path, witness):
    with open_with(tmp_path / "log", witness) as ledger:
        for count in (1, 3, 255, 1, 300):
            found = append(ledger, count)
            assert found.witnesses == ((witness.key.name, TIME),)
            assert ledger.witness_problems == []
        assert witness.statuses == [200] * 5
        stored = (tmp_path / "log" / "public" / "checkpoint").read_text()
        keys, witnesses = ledger.verifier_keys, [witness.key.verifier]
        assert open_checkpoint(stored, keys, witnesses, quorum=1).checkpoint.size == 560
        ledger.prove(3).verify(hash_leaf(ledger.read_body(3)), keys, witnesses, quorum=1)
        assert verify_log(ledger.storage, keys, witnesses=witnesses, quorum=1).is_intact
        other = create_signer_key("witness.example/other", kind=COSIGNATURE).verifier
        assert not verify_log(ledger.storage, keys, witnesses=[other], quorum=1).is_intact


def test_a_size_that_the_witness_alone_knows_is_asked_for(tmp_path, witness):
    with open_with(tmp_path / "log", witness) as ledger:
        append(ledger, 5)
        path = tmp_path / "log" / "public" / "checkpoint"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[:-1]))
        assert append(ledger, 7).witnesses
        assert witness.statuses == [200, 409, 200]


def test_a_witness_that_was_away_is_asked_again(tmp_path, witness):
    with open_with(tmp_path / "log", witness) as ledger:
        address = witness.url.rpartition(":")[2]
        (tmp_path / "log" / WITNESS_FILE).write_text(f"{Witness(witness.key.verifier, 'http://127.0.0.1:1')}\n")
        with Ledger(tmp_path / "log") as away:
            assert append(away, 3).witnesses == ()
            assert "cannot be reached" in away.witness_problems[0]
            assert away.publish().witnesses == ()
        assert address and ledger.publish().witnesses


def test_a_log_that_was_cut_or_forked_is_not_cosigned(tmp_path, witness):
    with open_with(tmp_path / "log", witness) as ledger:
        append(ledger, 9)
        witness.size += 1
        assert append(ledger, 0 + 1).witnesses == ()
        assert "refused" in ledger.witness_problems[0]
        witness.size = 99
        assert append(ledger, 1).witnesses == ()
        assert "cut" in ledger.witness_problems[0]
        witness.size, witness.root = 9, hash_leaf(b"another log")
        assert append(ledger, 1).witnesses == ()
        assert "(422)" in ledger.witness_problems[0]
        witness.log_keys = [create_signer_key(ORIGIN).verifier]
        assert append(ledger, 1).witnesses == ()
        assert "(403)" in ledger.witness_problems[0]


@pytest.mark.parametrize(
    "tamper",
    [
        lambda body: "",
        lambda body: "no signature\n",
        lambda body: body[:-12] + "AAAAAAAA" + body[-4:],
        lambda body: str(create_signer_key("witness.example/w", kind=COSIGNATURE).sign("x\n", time=5)),
    ],
)
def test_answers_that_are_no_cosignature_are_not_stored(tmp_path, witness, tamper):
    witness.tamper = tamper
    with open_with(tmp_path / "log", witness) as ledger:
        found = append(ledger, 2)
        assert found.witnesses == () and len(found.note.signatures) == 1
        assert "not a cosignature" in ledger.witness_problems[0]


def test_a_cosignature_without_a_time_is_not_stored(tmp_path, witness):
    with open_with(tmp_path / "log", witness) as ledger:
        witness.tamper = lambda body: str(witness.key.sign(note_text(ledger), time=0))

        def note_text(ledger):
            from heatbath.ledger.checkpoint import Checkpoint
            from heatbath.ledger.merkle import root_of

            bodies = [ledger.read_body(0)]
            return str(Checkpoint(ORIGIN, 1, root_of(map(hash_leaf, bodies))))

        assert append(ledger, 1).witnesses == ()
        assert "no time" in ledger.witness_problems[0]


def test_lines_that_are_no_witness(tmp_path, witness):
    key = witness.key.verifier
    assert parse_witness(f"{key} https://w.example/a/") == Witness(key, "https://w.example/a")
    for line in (
        "",
        str(key),
        f"{key} file:///etc/passwd",
        f"{key} w.example",
        f"{create_signer_key('a').verifier} http://a",
    ):
        with pytest.raises(BadInput):
            parse_witness(line)


def test_the_check_of_the_witness_itself():
    leaves = [hash_leaf(bytes([i])) for i in range(3)]
    from heatbath.ledger.merkle import hash_node, root_of

    assert is_consistent(2, 3, root_of(leaves[:2]), root_of(leaves), [leaves[2]])
    assert not is_consistent(2, 3, hash_node(leaves[1], leaves[0]), root_of(leaves), [leaves[2]])
    assert not is_consistent(2, 3, root_of(leaves[:2]), root_of(leaves), [])
