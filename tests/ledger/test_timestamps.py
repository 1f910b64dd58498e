"""RFC 3161 timestamps of checkpoints, by an authority on loopback."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from heatbath.errors import BadInput
from heatbath.ledger import Ledger
from heatbath.ledger.checkpoint import Checkpoint
from heatbath.ledger.merkle import hash_leaf
from heatbath.ledger.timestamps import TimestampFailed, request_timestamp, store_timestamp, verify_timestamp

sys.path.insert(0, str(Path(__file__).parent))
from loopback_witness import serve_posts

CONFIGURATION = """
[tsa]
default_tsa = own
[own]
serial = {folder}/serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
ess_cert_id_chain = no
ess_cert_id_alg = sha256
[request]
distinguished_name = name
prompt = no
[name]
CN = authority
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[signer]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
"""

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="the program openssl is needed")


def call(folder, command):
    subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """The folder of an authority, and its address."""
    folder = tmp_path_factory.mktemp("authority")
    (folder / "conf").write_text(CONFIGURATION.format(folder=folder))
    (folder / "serial").write_text("01\n")
    common = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -config conf -section request"
    call(folder, f"req -x509 {common} -keyout root.key -out root.pem -extensions root -days 30")
    call(folder, f"req -new {common} -keyout signer.key -out signer.csr")
    call(
        folder,
        "x509 -req -in signer.csr -CA root.pem -CAkey root.key -CAcreateserial -out signer.pem -days 30 "
        "-extfile conf -extensions signer",
    )

    def answer(handler):
        (folder / "query").write_bytes(handler.rfile.read(int(handler.headers["Content-Length"])))
        call(
            folder,
            "ts -reply -config conf -section own -queryfile query -signer signer.pem -inkey signer.key -out reply",
        )
        body = (folder / "reply").read_bytes()
        handler.send_response(200)
        handler.send_header("Content-Type", "application/timestamp-reply")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    with serve_posts(answer) as url:
        yield folder, url


def test_a_timestamp_is_of_its_checkpoint_and_its_authority(authority, tmp_path):
    folder, url = authority
    roots = (folder / "root.pem").read_bytes()
    with Ledger(tmp_path / "log", "example.com/agent") as ledger:
        ledger.append({"a": 1})
        found = ledger.publish().checkpoint
    timestamp = request_timestamp(found, url)
    path = store_timestamp(tmp_path / "log", found.size, timestamp)
    assert path.read_bytes() == timestamp
    assert abs(verify_timestamp(found, timestamp, roots) - datetime.now(UTC)) < timedelta(minutes=1)
    with pytest.raises(TimestampFailed):
        verify_timestamp(Checkpoint(found.origin, 1, hash_leaf(b"another")), timestamp, roots)
    with pytest.raises(TimestampFailed):
        verify_timestamp(found, timestamp[:-40] + bytes(40), roots)
    with pytest.raises(TimestampFailed):
        verify_timestamp(found, b"no timestamp", roots)
    with pytest.raises(BadInput, match="no certificate"):
        verify_timestamp(found, timestamp, b"no certificate")
    with pytest.raises(TimestampFailed):
        call(folder, "req -x509 -newkey rsa:2048 -nodes -subj /CN=x -keyout other.key -out other.pem -config conf")
        verify_timestamp(found, timestamp, (folder / "other.pem").read_bytes())


def test_an_authority_that_is_none(tmp_path):
    checkpoint = Checkpoint("example.com/agent", 1, hash_leaf(b"a"))
    with pytest.raises(BadInput, match="address of a timestamp authority"):
        request_timestamp(checkpoint, "file:///etc/passwd")
    with pytest.raises(TimestampFailed, match="cannot be reached"):
        request_timestamp(checkpoint, "http://127.0.0.1:1")

    def refuse(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"no")

    with serve_posts(refuse) as url, pytest.raises(TimestampFailed, match="gave no timestamp"):
        request_timestamp(checkpoint, url)
