"""`heatbath index`: add, remove, list, search and eval."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heatbath.cli.progress_bar import show_progress
from heatbath.errors import BadInput

if TYPE_CHECKING:
    from heatbath.retrieval import IndexSettings, SearchHit, UpdateReport

app = typer.Typer(
    help="Index documents, search them, and evaluate the search.", no_args_is_help=True, add_completion=False
)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the index.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Count = Annotated[int, typer.Option("-k", help="Number of passages.")]
Mode = Annotated[str, typer.Option(help="hybrid, bm25 or dense.")]


@app.command()
def add(
    folder: Folder,
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Files and folders; those of the index again where none are given.", show_default=False),
    ] = None,
    embedding: Annotated[
        str | None,
        typer.Option(
            help="sentence-transformers model of a new index, or none for BM25 alone.", show_default="all-minilm-l6-v2"
        ),
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(help="Tokens of a passage of a new index at most.", show_default="192")
    ] = None,
    overlap: Annotated[
        int | None, typer.Option(help="Tokens that a passage of a new index shares at most.", show_default="24")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring an index up to date with files and folders.

    Text, Markdown, HTML, PDF and source code are read. Unchanged files cost nothing, and files that have gone leave.
    After Ctrl-C the same command continues.
    """
    from heatbath.retrieval import add_documents

    try:
        with show_progress("kB indexed", "writing") as advance:
            report = add_documents(
                folder, paths or (), settings=_build_settings(folder, embedding, tokens, overlap), progress=advance
            )
    except KeyboardInterrupt:
        print("heatbath: what was stored is kept: the same command continues.", file=sys.stderr)
        raise
    _print_report(report, as_json)


@app.command()
def remove(
    folder: Folder,
    names: Annotated[list[str], typer.Argument(help="Paths from `heatbath index list`, or folders of them.")],
    as_json: AsJson = False,
) -> None:
    """Remove documents from an index; their files stay."""
    from heatbath.retrieval import remove_documents

    _print_report(remove_documents(folder, names), as_json)


@app.command("list")
def list_documents(folder: Folder, as_json: AsJson = False) -> None:
    """List the documents of an index, with --json one object a line."""
    from heatbath.retrieval.index_update import read_index

    manifest = read_index(folder)
    for record in manifest.documents:
        row = asdict(record)
        if as_json:
            print(json.dumps(row, ensure_ascii=False))
        else:
            print(f"{record.passages:>7}  {record.type:<11}  {_one_line(record.path)}")
    if not as_json:
        passages = sum(each.passages for each in manifest.documents)
        own = manifest.settings
        print(f"{passages:>7}  in {len(manifest.documents)} documents, embedding {own.embedding}", end="")
        print(f", {own.tokens} tokens, overlap {own.overlap}, version {manifest.version[:16]}")


@app.command()
def search(
    folder: Folder,
    query: Annotated[str, typer.Argument(help="Words or a question.")],
    k: Count = 8,
    mode: Mode = "hybrid",
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter", help="name=value, such as path=docs/*.md or type=pdf; repeatable.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search an index, and print the passages that fit best."""
    from heatbath.retrieval import open_index

    index = open_index(folder)
    hits = index.search(query, k=k, filters=_parse_filters(filters or []), mode=mode)  # type: ignore[arg-type]
    if as_json:
        found = [_describe_hit(hit) for hit in hits]
        content = {"version": index.version, "query": query, "mode": mode, "hits": found}
        print(json.dumps(content, ensure_ascii=False, allow_nan=False))
        return
    if not hits:
        print("nothing found", file=sys.stderr)
    for hit in hits:
        _print_hit(hit)


@app.command("eval")
def evaluate(
    folder: Folder,
    queries: Annotated[Path, typer.Argument(help='JSON lines with "query" and "relevant": see docs/retrieval.md.')],
    k: Annotated[int, typer.Option("-k", help="Length of the rankings.")] = 10,
    mode: Annotated[
        list[str] | None, typer.Option(help="Mode to compare; repeatable.", show_default="bm25, dense, hybrid")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure precision, recall, nDCG and MRR against judged queries, with 95 % intervals."""
    from heatbath.cli.search_table import describe_evaluation, print_evaluation
    from heatbath.retrieval import open_index
    from heatbath.retrieval.judged_queries import read_judged_queries
    from heatbath.retrieval.search_evaluation import MODES, evaluate_search

    index = open_index(folder)
    judged = read_judged_queries(queries, index.manifest)
    with show_progress("queries", "queries") as advance:
        evaluation = evaluate_search(index, judged, k=k, modes=mode or MODES, progress=advance)  # type: ignore[arg-type]
    if as_json:
        print(json.dumps(describe_evaluation(evaluation), allow_nan=False))
    else:
        print_evaluation(evaluation)


def _build_settings(
    folder: Path, embedding: str | None, tokens: int | None, overlap: int | None
) -> IndexSettings | None:
    """Return the settings that were given, the others as the index has them; None if none was."""
    from heatbath.retrieval import IndexSettings
    from heatbath.retrieval.manifest import read_manifest

    given = {"embedding": embedding, "tokens": tokens, "overlap": overlap}
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if not chosen:
        return None
    manifest = read_manifest(folder)
    return replace(manifest.settings if manifest else IndexSettings(), **chosen)


def _print_report(report: UpdateReport, as_json: bool) -> None:
    for reason in report.skipped.values():
        print(f"heatbath: left out: {reason}", file=sys.stderr)
    if as_json:
        print(json.dumps(asdict(report), ensure_ascii=False))
        return
    counts = ((len(getattr(report, name)), name) for name in ("added", "changed", "unchanged", "removed"))
    print(", ".join(f"{count} {name}" for count, name in counts), end="")
    print(f"; {report.passages} passages, {report.embedded} embedded, version {report.version[:16]}")


def _parse_filters(filters: list[str]) -> dict[str, Any]:
    """Return filters by name. A value that reads as JSON may be meant as such or as a text: either matches."""
    parsed: dict[str, Any] = {}
    for text in filters:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise BadInput(f"--filter must be name=value, got {text!r}.")
        parsed.setdefault(name, []).extend([value, *_read_scalar(value)])
    return parsed


def _read_scalar(text: str) -> list[Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return []
    return [value] if isinstance(value, int | float | bool | None) else []


def _describe_hit(hit: SearchHit) -> dict[str, Any]:
    passage = asdict(hit.passage)
    return {**asdict(hit), "passage": {**passage, "metadata": dict(hit.passage.metadata)}}


def _print_hit(hit: SearchHit) -> None:
    passage = hit.passage
    lists = (("bm25", hit.bm25_rank), ("dense", hit.dense_rank))
    ranks = ", ".join(f"{name} {rank}" for name, rank in lists if rank is not None)
    place = f"{_one_line(passage.document)}:{passage.start}-{passage.end}"
    print(f"{hit.rank:>3}  {hit.score:.6f} ({ranks})  {place}  {_one_line(passage.title)}")
    print(f"     {_one_line(passage.text)[:240]}")


def _one_line(text: str) -> str:
    from heatbath.pages.html_parts import replace_control_characters

    return replace_control_characters(" ".join(text.split()))
