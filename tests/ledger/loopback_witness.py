"""A witness on loopback, which checks all that C2SP tlog-witness v1.0.0 asks of one, by code of its own."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from heatbath.ledger.signed_note import COSIGNATURE, SignatureInvalid, create_signer_key, parse_note, verify_note

TIME = 1_700_000_000


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def is_consistent(old: int, new: int, old_root: bytes, new_root: bytes, proof: list[bytes]) -> bool:
    """Check a consistency proof by the recursion of RFC 6962, section 2.1.2, on the proof from its end."""
    rest = list(proof)

    def walk(size: int, total: int, is_whole: bool) -> tuple[bytes, bytes]:
        if size == total:
            known = old_root if is_whole else rest.pop(0)
            return known, known
        middle = 1 << ((total - 1).bit_length() - 1)
        if size <= middle:
            first, second = walk(size, middle, is_whole)
            return first, _node(second, rest.pop(0))
        first, second = walk(size - middle, total - middle, False)
        left = rest.pop(0)
        return _node(left, first), _node(left, second)

    try:
        return walk(old, new, True) == (old_root, new_root) and not rest
    except IndexError:
        return False


class LoopbackWitness:
    """One witness of one log. `tamper` may change the body of an answer of success."""

    def __init__(self, name: str = "witness.example/w") -> None:
        self.key = create_signer_key(name, kind=COSIGNATURE)
        self.log_keys: list = []
        self.size, self.root = 0, hashlib.sha256(b"").digest()
        self.statuses: list[int] = []
        self.tamper: Callable[[str], str] = lambda body: body
        self.url = ""
        self._lock = threading.Lock()

    def answer(self, body: str) -> tuple[int, str]:
        head, _, note_text = body.partition("\n\n")
        first, *lines = head.split("\n")
        if not first.startswith("old ") or len(lines) > 63:
            return 400, ""
        old, proof = int(first[4:]), [base64.b64decode(line, validate=True) for line in lines]
        note = parse_note(note_text)
        origin, size, root = note.text.split("\n")[:3]
        if origin not in {key.name for key in self.log_keys}:
            return 404, ""
        try:
            verify_note(note, self.log_keys)
        except SignatureInvalid:
            return 403, ""
        return self._update(old, int(size), base64.b64decode(root), proof, note.text)

    def _update(self, old: int, size: int, root: bytes, proof: list[bytes], text: str) -> tuple[int, str]:
        if old > size:
            return 400, ""
        if old != self.size:
            return 409, f"{self.size}\n"
        if old == 0:
            is_right = not proof and (size > 0 or root == hashlib.sha256(b"").digest())
        elif old == size:
            is_right = not proof and root == self.root
        else:
            is_right = is_consistent(old, size, self.root, root, proof)
        if not is_right:
            return 422, ""
        self.size, self.root = size, root
        return 200, self.tamper(str(self.key.sign(text, time=TIME)))

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"])).decode()
        with self._lock:
            status, answer = self.answer(body) if handler.path == "/add-checkpoint" else (404, "")
            self.statuses.append(status)
        handler.send_response(status)
        handler.send_header("Content-Type", "text/x.tlog.size" if status == 409 else "text/plain; charset=utf-8")
        handler.send_header("Content-Length", str(len(answer.encode())))
        handler.end_headers()
        handler.wfile.write(answer.encode())


@contextmanager
def serve_posts(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """Run a server on loopback while the block runs; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def run_witness() -> Iterator[LoopbackWitness]:
    witness = LoopbackWitness()
    with serve_posts(witness.serve) as url:
        witness.url = url
        yield witness
