"""The files of the page: a fixed list, nothing inline, nothing from elsewhere."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from pagecalls import ask
from process import Running

import heatbath.serve.dashboard.static_files as files

STATIC = Path(files.__file__).with_name("static")
OWN = [name for name in files.FILE_NAMES if not name.startswith("vendor/")]


def test_the_list_is_what_there_is() -> None:
    there = {str(path.relative_to(STATIC)) for path in STATIC.rglob("*") if path.is_file()}
    assert there == set(files.FILE_NAMES)


def test_the_markup_has_no_script_and_no_style_in_it() -> None:
    html = "".join((STATIC / name).read_text() for name in (files.INDEX_FILE, files.REVIEW_FILE))
    assert not re.search(r"\son\w+=|\sstyle=|<style|javascript:", html)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", html))


@pytest.mark.parametrize("name", OWN)
def test_no_file_names_another_host(name: str) -> None:
    text = (STATIC / name).read_text().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|//[a-z]+\.[a-z]+/|@import|url\(", text)


@pytest.mark.parametrize("name", [name for name in OWN if name.endswith(".js")])
def test_no_script_writes_markup(name: str) -> None:
    text = (STATIC / name).read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text)


def test_what_was_taken_over_is_unchanged() -> None:
    told = (STATIC / "vendor" / "uplot.VERSION.txt").read_text()
    for name, digest in re.findall(r"(\S+)\s+sha256 ([0-9a-f]{64})", told):
        assert hashlib.sha256((STATIC / "vendor" / name).read_bytes()).hexdigest() == digest


def test_every_file_is_served_with_the_policy(server: Running) -> None:
    for name in files.FILE_NAMES:
        response = ask(server, f"/static/{name}")
        assert response.status == 200
        assert response.body == (STATIC / name).read_bytes()
        assert response.headers["content-security-policy"] == files.PAGE_SECURITY_POLICY
    assert ask(server, "/").body == (STATIC / files.INDEX_FILE).read_bytes()


def test_a_file_the_browser_has_is_not_sent_again(server: Running) -> None:
    tag = ask(server, "/static/main.js").headers["etag"]
    assert ask(server, "/static/main.js", if_none_match=tag).status == 304
    assert ask(server, "/static/main.js", if_none_match='"other"').status == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/static/", "/static/../files.py", "/static/..%2ffiles.py", "/static/%2e%2e/files.py", "/static/vendor/"),
        *("/static//etc/passwd", "/static/%2fetc%2fpasswd", "/static/main.js%00.txt", "/static/vendor/../../feed.py"),
        *("/static/..\\files.py", "/static/%5c..%5cfiles.py", "/static/main.js/"),
    ],
)
def test_no_path_leads_out(server: Running, path: str) -> None:
    got = server.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    status = int(got.split(b" ", 2)[1])
    assert status in (400, 404), got[:200]
    assert b"import" not in got and b"root:" not in got
