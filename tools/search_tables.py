"""Make four sets of judged queries, index their documents, and print the tables of docs/retrieval.md.

pip download --no-deps --dest build/search gensim && apt-get download dict-foldoc wordnet-base   # in build/search
unzip build/search/gensim*.whl 'gensim/test/test_data/*' -d build/search
for package in build/search/*.deb; do dpkg-deb -x $package build/search; done
python tools/search_tables.py build/search

`lee`: news stories that people compared in pairs; the query is a story, an answer one that they rated at 0.5 or more.
`foldoc`: a dictionary of computing; the query is a headword, the answer its entry.
`wordnet`: nouns with their definitions; the query is a sentence that uses the noun, without the noun itself.
`code`: source code of heatbath without its docstrings; the query is the first line of one, the answer its function.
"""

from __future__ import annotations

import argparse
import ast
import gzip
import json
import random
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from heatbath.cli.search_table import format_interval
from heatbath.retrieval import add_documents, open_index
from heatbath.retrieval.judged_queries import read_judged_queries
from heatbath.retrieval.search_evaluation import METRICS, SearchEvaluation, evaluate_search

ROOT = Path(__file__).resolve().parent.parent
QUERIES, ENTRIES, SEED = 300, 1000, 0
CODE_PACKAGES = ("ensemble", "decode", "retrieval")
Entries = list[dict[str, Any]]


def write_documents(folder: Path, documents: Iterable[tuple[str, str]]) -> None:
    """Write documents by their file names."""
    for name, text in documents:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def make_lee(data: Path, folder: Path) -> Entries:
    """Write the 50 stories, and return each as a query for the others."""
    stories = (data / "gensim/test/test_data/lee.cor").read_text("latin-1").strip().split("\n")
    upper = np.loadtxt(data / "gensim/test/test_data/similarities0-1.txt")
    similarity = np.maximum(upper, upper.T)
    write_documents(folder, ((f"{i:02}.txt", story) for i, story in enumerate(stories)))
    entries = []
    for i, story in enumerate(stories):
        near = {f"lee/{j:02}.txt": float(similarity[i, j]) for j in range(50) if j != i and similarity[i, j] >= 0.5}
        if near:
            entries.append({"query": story, "relevant": near, "exclude": [f"lee/{i:02}.txt"]})
    return entries


def make_foldoc(data: Path, folder: Path) -> Entries:
    """Write entries of the dictionary, and return headwords as queries."""
    text = gzip.decompress((data / "usr/share/dictd/foldoc.dict.dz").read_bytes()).decode("utf-8", "replace")
    found = re.findall(r"^(\S[^\n]*)\n\n((?:[ \t{][^\n]*\n|\n(?=[ \t]))+)", text, re.MULTILINE)
    entries = [(head, body) for head, body in found if len(body) > 80 and len(head) > 3]
    chosen = random.Random(SEED).sample(entries, min(ENTRIES, len(entries)))
    write_documents(folder, ((f"{i:05}.txt", f"{head}\n\n{body}") for i, (head, body) in enumerate(chosen)))
    return [{"query": head, "relevant": [f"foldoc/{i:05}.txt"]} for i, (head, _) in enumerate(chosen)]


def make_wordnet(data: Path, folder: Path) -> Entries:
    """Write definitions of nouns, and return sentences that use them, with the noun left out, as queries."""
    rows = []
    for line in (data / "usr/share/wordnet/data.noun").read_text("utf-8").splitlines():
        fields, _, gloss = line.partition(" | ")
        example = re.search(r'"([^"]{30,})"', gloss)
        if example and line[0] != " ":
            parts = fields.split()
            words = [parts[4 + 2 * i].replace("_", " ") for i in range(int(parts[3], 16))]
            rows.append((words, gloss.partition('"')[0].strip(" ;"), example[1]))
    chosen = random.Random(SEED).sample(rows, min(ENTRIES, len(rows)))
    write_documents(folder, ((f"{i:05}.txt", f"{', '.join(w)}: {gloss}") for i, (w, gloss, _) in enumerate(chosen)))
    entries: Entries = []
    for i, (words, _, sentence) in enumerate(chosen):
        stems = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
        query = re.sub(rf"\b({stems})\w*", "", sentence, flags=re.IGNORECASE)
        entries.append({"query": query, "relevant": [f"wordnet/{i:05}.txt"]})
    return [each for each in entries if len(each["query"].split()) > 3]


def make_code(_: Path, folder: Path) -> Entries:
    """Write the packages without docstrings, and return first lines of docstrings as queries for their functions."""
    entries: Entries = []
    for package in CODE_PACKAGES:
        for path in sorted((ROOT / "src/heatbath" / package).rglob("*.py")):
            name = path.relative_to(ROOT / "src/heatbath").as_posix()
            text, queries = remove_docstrings(path.read_text("utf-8"))
            write_documents(folder, [(name, text)])
            for query, (start, end) in zip(queries, find_functions(text), strict=True):
                if query and len(query.split()) >= 5:
                    span = {"path": f"code/{name}", "start": start, "end": end}
                    entries.append({"query": query, "relevant": [span]})
    return entries


def remove_docstrings(text: str) -> tuple[str, list[str | None]]:
    """Return a module without docstrings, and the first line of that of each function in order."""
    lines: list[str | None] = list(text.splitlines(keepends=True))
    queries: list[str | None] = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        docstring = ast.get_docstring(node)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            queries.append(docstring.splitlines()[0] if docstring else None)
        if docstring is not None:
            first = node.body[0]
            own = range(first.lineno - 1, first.end_lineno or 0)
            lines[own.start] = " " * first.col_offset + "...\n" if len(node.body) == 1 else None
            for number in own[1:]:
                lines[number] = None
    return "".join(line for line in lines if line is not None), queries


def find_functions(text: str) -> list[tuple[int, int]]:
    """Return the code points where each function of a module begins and ends, in the order of `remove_docstrings`."""
    starts = np.concatenate([[0], np.cumsum([len(line) for line in text.splitlines(keepends=True)])])
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.append((int(starts[node.lineno - 1]), int(starts[node.end_lineno or node.lineno])))
    return found


SETS: dict[str, Callable[[Path, Path], Entries]] = {
    "lee": make_lee,
    "foldoc": make_foldoc,
    "wordnet": make_wordnet,
    "code": make_code,
}


def evaluate_set(name: str, data: Path, *, k: int = 10) -> tuple[SearchEvaluation, int]:
    """Make a set, index it, and return its evaluation and the number of its passages."""
    work = data / "sets"
    entries = SETS[name](data, work / name)
    chosen = random.Random(SEED).sample(entries, min(QUERIES, len(entries)))
    judged = work / f"{name}.jsonl"
    judged.write_text("".join(json.dumps(each) + "\n" for each in chosen), encoding="utf-8")
    report = add_documents(work / f"{name}.index", [work / name])
    index = open_index(work / f"{name}.index")
    return evaluate_search(index, read_judged_queries(judged, index.manifest), k=k), report.passages


def main() -> None:
    """Print a table of metrics and one of differences for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with the unpacked packages")
    parser.add_argument("--set", action="append", choices=SETS, help="set; repeatable, all by default")
    given = parser.parse_args()
    for name in given.set or SETS:
        evaluation, passages = evaluate_set(name, given.data)
        print(f"\n`{name}`: {evaluation.queries} queries, {passages} passages\n")
        print("| | " + " | ".join(f"{metric}@{evaluation.k}" for metric in METRICS) + " |")
        print("| --- " * (len(METRICS) + 1) + "|")
        for rows, sign in ((evaluation.means, ""), (evaluation.differences, "+")):
            for row, cells in rows.items():
                print(f"| {row} | " + " | ".join(format_interval(cells[m], sign) for m in METRICS) + " |", flush=True)


if __name__ == "__main__":
    main()
