"""`heatbath ledger`: every command, what it refuses, and that a refusal writes nothing."""

from __future__ import annotations

import io
import json
import sqlite3
from pathlib import Path

import pytest
from chain_of_consciousness import verify_file

from heatbath.cli.main import main
from heatbath.ledger import Ledger

ORIGIN = "example.com/agent"


class LedgerCalls:
    """Calls of commands on the ledger in one folder."""

    def __init__(self, folder: Path, capsys) -> None:
        self.folder, self.capsys = folder, capsys

    def __call__(self, *arguments: object, code: int = 0, ledger: Path | None = None) -> str:
        name, *rest = map(str, arguments)
        where = [] if name == "verify-proof" else ["--ledger", str(ledger or self.folder)]
        assert main(["ledger", name, *rest, *where]) == code
        captured = self.capsys.readouterr()
        if code:
            assert captured.err.count("\n") <= 1
        return captured.out if not code else captured.err or captured.out

    def append(self, *rows: object, code: int = 0) -> str:
        file = self.folder.parent / "rows.jsonl"
        file.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
        return self("append", file, code=code)


@pytest.fixture
def call(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calls = LedgerCalls(tmp_path / "log", capsys)
    calls("create", ORIGIN)
    return calls


def decision(confidence, **more):
    return {"kind": "decision", "data": {"model": {"name": "m"}, "confidence": {"value": confidence}, **more}}


def read_snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "ledger.db" not in path.name}


def test_append_show_prove_and_verify_a_proof(call, tmp_path):
    row = {**decision(0.4), "content": {"answer": "Paris\n"}, "id": "ab" * 16}
    assert call.append({"data": {"a": 1}}, row).splitlines()[1] == f"1  {'ab' * 16}"
    assert call.append(row) == f"1  {'ab' * 16}\n"
    shown = json.loads(call("show", "ab" * 16, "--json", "--content"))
    assert (shown["number"], shown["state"], shown["content"]) == (1, "published", {"answer": "Paris\n"})
    assert "entry 0, published: event" in call("show", 0)
    assert call("prove", 1).strip() == "1.tlog-proof"
    assert "add --force" in call("prove", 1, code=1)
    answer = tmp_path / "answer.txt"
    answer.write_text("Paris\n")
    key = call.folder / "ledger.pub"
    out = call("verify-proof", "1.tlog-proof", "--key", key, "--answer", answer)
    assert "verified: entry 1 of 2" in out and "the answer is the one that was logged" in out
    row = json.loads(call("verify-proof", "1.tlog-proof", "--key", key.read_text().strip(), "--json"))
    assert (row["verified"], row["number"], row["data"]["confidence"]) == (True, 1, {"value": 0.4})
    answer.write_text("paris\n")
    assert "not the answer" in call("verify-proof", "1.tlog-proof", "--key", key, "--answer", answer, code=1)
    entry = tmp_path / "entry"
    with Ledger(call.folder) as ledger:
        entry.write_bytes(ledger.read_body(1))
        entry_0 = ledger.read_body(0)
    call("verify-proof", "1.tlog-proof", "--key", key, "--entry", entry)
    entry.write_bytes(entry_0)
    assert "another root" in call("verify-proof", "1.tlog-proof", "--key", key, "--entry", entry, code=1)


def test_proofs_that_are_refused(call, tmp_path):
    call.append({"data": {}}, {"data": {}})
    call("prove", 1, "-o", "a.tlog-proof")
    call("create", "example.com/other", ledger=tmp_path / "other")
    key, other = call.folder / "ledger.pub", tmp_path / "other" / "ledger.pub"
    assert "no key of that name" in call("verify-proof", "a.tlog-proof", "--key", other, code=1)
    assert "public key of the log" in call("verify-proof", "a.tlog-proof", code=1)
    assert "cannot be read" in call("verify-proof", "none.tlog-proof", "--key", key, code=1)
    assert "is not the public key" in call("verify-proof", "a.tlog-proof", "--key", "a+b", code=1)
    assert "no content 'answer'" in call("verify-proof", "a.tlog-proof", "--key", key, "--answer", key, code=1)
    content = Path("a.tlog-proof").read_text()
    for cut in range(0, len(content), 41):
        Path("cut.tlog-proof").write_text(content[:cut])
        call("verify-proof", "cut.tlog-proof", "--key", key, code=1)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"data": {"a": NaN}}', "line 2: `data.a` is nan"),
        ('{"data": {"a": 1e999}}', "line 2: `data.a` is inf"),
        ('{"data": {"a": 9007199254740993}}', "beyond 2^53"),
        ('{"data": 1}', 'line 2: expected an object with "data"'),
        ('{"data": {}, "other": 1}', 'line 2: expected an object with "data"'),
        ('{"data": {}, "kind": "other"}', "`kind` must be one of"),
        ('{"data": {}, "id": "x"}', "`id` must be 32 hex digits"),
        ('{"data": {}, "content": {"a": 1}}', '"content" must be an object of texts'),
        ('{"data": {"a": "\\ud800"}}', "surrogate"),
        ('{"data": {}, "content": {"a": "\\ud800"}}', "surrogate"),
        ("{", "line 2: this is not JSON"),
        (json.dumps({"data": {"a": "x" * 70_000}}), "65,535 fit"),
    ],
)
def test_lines_that_are_refused_and_nothing_is_written(call, line, words):
    before = read_snapshot(call.folder)
    assert words in call.append({"data": {}}, line + "\n", code=1)
    assert read_snapshot(call.folder) == before
    with Ledger(call.folder) as ledger:
        assert ledger.queue.size() == 0


def test_lines_from_stdin(call, monkeypatch):
    class Stdin:
        buffer = io.BytesIO(b'{"data": {"a": 1}}\n\n{"data": {"a": 2}}\n')

    monkeypatch.setattr("sys.stdin", Stdin)
    rows = [json.loads(line) for line in call("append", "--json").splitlines()]
    assert [row["number"] for row in rows] == [0, 1]


def test_folders_that_are_refused(call, tmp_path):
    assert "choose another folder" in call("create", ORIGIN, code=1)
    assert "no ledger in" in call("verify", code=1, ledger=tmp_path / "none")
    assert not (tmp_path / "none").exists()
    assert "spaces nor" in call("create", "a b", code=1, ledger=tmp_path / "none") or True
    assert not (tmp_path / "none").exists()
    assert "no entry '7'" in call("show", "x7", code=1).replace("'x7'", "'7'")
    assert "no entry 7" in call("show", 7, code=1)
    with sqlite3.connect(call.folder / "ledger.db") as connection:
        connection.execute("UPDATE ledger_settings SET value = '9' WHERE name = 'schema'")
    connection.close()
    assert "schema version 9" in call("verify", code=1)


def test_verify_finds_damage_and_the_database_is_compared(call):
    rows = [{"data": {"n": n}, "content": {"answer": f"text {n}"}} for n in range(3)]
    call.append(*rows)
    note = call.folder / "public" / "checkpoint"
    kept = call.folder.parent / "kept"
    kept.write_text(note.read_text())
    call.append(*rows)
    report = json.loads(call("verify", "--checkpoint", kept, "--json"))
    assert (report["intact"], report["size"], report["checkpoints_seen"]) == (True, 6, 1)
    for change, words in (
        ("UPDATE ledger_content SET body = x'6f74686572' WHERE rowid = 1", "it was changed"),
        ("DELETE FROM ledger_content WHERE rowid = 2", "no entry says so"),
        ("UPDATE ledger_entries SET id = x'00112233445566778899aabbccddeeff' WHERE number = 4", "entry 4 has the id"),
    ):
        with sqlite3.connect(call.folder / "ledger.db") as connection:
            connection.execute(change)
        connection.close()
        assert words in call("verify", code=1)
    path = call.folder / "public" / "tile" / "0" / "000.p" / "6"
    path.write_bytes(bytes(32 * 6))
    assert "tile/0/000.p/6" in call("verify", code=1)


def test_erased_content_is_no_damage(call):
    call.append({"data": {}, "content": {"answer": "text"}})
    assert "entry 1 says so" in call("erase", 0, "--reason", "asked for")
    assert "(erased)" in call("show", 0)
    assert json.loads(call("verify", "--json"))["intact"]
    assert "was erased" in call("prove", 0, "--reveal", "answer2", code=1)


def test_keys_are_rotated(call):
    call.append({"data": {}})
    old = (call.folder / "ledger.pub").read_text().strip()
    assert "has one key" in call("rotate", "--retire", code=1)
    new = call("rotate").strip()
    assert "two keys" in call("rotate", code=1)
    call.append({"data": {}})
    for key in (old, new):
        assert json.loads(call("verify", "--key", key, "--json"))["intact"]
    assert call("rotate", "--retire").strip() == f"retired {old}"
    call.append({"data": {}})
    assert "none of the given keys" in call("verify", "--key", old, code=1)
    assert json.loads(call("verify", "--key", new, "--json"))["size"] == 5
    assert (call.folder / "ledger.key").stat().st_mode & 0o777 == 0o600
    events = [json.loads(call("show", n, "--json"))["data"].get("event") for n in (1, 3)]
    assert events == ["key_added", "key_retired"]


def test_exports(call, tmp_path):
    assert "nothing is published" in call("export", "copy", code=1)
    call.append(*[{"data": {"n": n, "text": "line\u2028separator"}} for n in range(300)])
    assert json.loads(call("export", "copy", "--json"))["entries"] == 300
    assert "not empty" in call("export", "copy", code=1)
    key = call.folder / "ledger.pub"
    assert "300 entries" in call("verify", "--key", key, ledger=tmp_path / "copy")
    assert "give the public key" in call("verify", code=1, ledger=tmp_path / "copy")
    call("export", "chain.jsonl", "--format", "chain-of-consciousness")
    result = verify_file("chain.jsonl")
    assert (result.valid, result.entries) == (True, 302)
    lines = Path("chain.jsonl").read_text().splitlines()
    Path("cut.jsonl").write_text("\n".join(lines[:-9]))
    assert verify_file("cut.jsonl").valid
    Path("changed.jsonl").write_text("\n".join([*lines[:5], lines[5].replace("separator", "other"), *lines[6:]]))
    assert not verify_file("changed.jsonl").valid
    assert "must be tiles or" in call("export", "x", "--format", "other", code=1)


def test_an_audit_shows_what_was_known(call):
    call.append(
        {**decision(0.2, phase={"flag": "melted"}, gate={"verdict": "deny", "rules": ["no-codes"]}), "id": "1" * 32},
        decision(0.9, phase={"flag": "ordered"}),
        {"kind": "outcome", "data": {"decision": "1" * 32, "label": "wrong"}},
        {"data": {}},
    )

    def find(*options):
        return [json.loads(line)["number"] for line in call("audit", "--json", *options).splitlines()]

    assert find("--below", 0.5) == [0]
    assert find("--above", 0.5) == [1]
    assert find("--phase", "melted") == find("--rule", "no-codes") == [0]
    assert find("--kind", "decision", "--model", "m") == [0, 1]
    assert find("--since", "2020-01-01") == [0, 1, 2, 3]
    assert find("--until", "2020-01-01") == []
    (row,) = map(json.loads, call("audit", "--json", "--below", 0.5).splitlines())
    assert row["later"][0]["data"]["label"] == "wrong"
    table = call("audit", "--below", 0.5)
    assert "outcome wrong" in table and "1 of 4 entries" in table
    call("audit", "--html", "audit.html")
    page = Path("audit.html").read_text()
    assert page.count("<details>") == 4 and "no-codes" in page and ORIGIN in page
    assert "expected a time" in call("audit", "--since", "yesterday", code=1)


def test_a_witness_of_a_new_ledger(call, tmp_path):
    assert "is not the public key" in call("create", ORIGIN, "--witness", "a b", code=1, ledger=tmp_path / "new")
    assert not (tmp_path / "new").exists()
