"""`heatbath review`: the answers that wait for a person, on a running server."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heatbath.cli.output_files import Force, validate_output_file
from heatbath.errors import BadInput

if TYPE_CHECKING:
    from heatbath.cli.review_client import Entry, ReviewClient

app = typer.Typer(
    help="Review answers that wait for a person, on a running server.",
    no_args_is_help=True,
    add_completion=False,
)

ServerUrl = Annotated[str, typer.Option(help="Address of the server.", envvar="HEATBATH_URL")]
Key = Annotated[
    str | None,
    typer.Option(help='Key with the scope "review".', envvar="HEATBATH_KEY", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]
ItemId = Annotated[str, typer.Argument(help="Id of the item.", show_default=False)]
_DEFAULT_URL = "http://127.0.0.1:8000"
_KEYS = {"a": "approve", "e": "edit", "r": "reject"}
_MAX_LINE = 60


@app.command("list")
def list_items(
    *,
    url: ServerUrl = _DEFAULT_URL,
    key: Key = None,
    decided: Annotated[bool, typer.Option("--decided", help="Decided items in place of pending ones.")] = False,
    rule: Annotated[str | None, typer.Option(help="Only items that this rule sent.", show_default=False)] = None,
    model: Annotated[str | None, typer.Option(help="Only answers of this model.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(help="Items at most.", min=1, max=100)] = 20,
    as_json: AsJson = False,
) -> None:
    """List items: pending ones by priority and age, decided ones from the newest."""
    status = "decided" if decided else "pending"
    page = _client(url, key).list_page(status=status, rule=rule, model=model, limit=limit)
    if not page["data"] and not as_json:
        typer.echo(f"no {status} items", err=True)
    for entry in page["data"]:
        typer.echo(json.dumps(entry) if as_json else _format_line(entry))
    if page["next"] is not None:
        typer.echo("there are more: raise --limit, or narrow the list.", err=True)


@app.command()
def show(id: ItemId, *, url: ServerUrl = _DEFAULT_URL, key: Key = None, as_json: AsJson = False) -> None:
    """Print an item: the prompt, the text, the rules that sent it, and the decision."""
    _print_entry(_client(url, key).find(id), as_json)


@app.command()
def take(
    id: Annotated[str | None, typer.Argument(help="Id of the item.", show_default="the first that is free")] = None,
    *,
    url: ServerUrl = _DEFAULT_URL,
    key: Key = None,
    seconds: Annotated[
        float | None, typer.Option(help="Time to have it; 0 gives it back.", show_default="as the server has it")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take an item, so that no other reviewer can decide it meanwhile."""
    client = _client(url, key)
    taken = _take_next(client, seconds) if id is None else client.lock(id, seconds)
    if taken is None:
        raise BadInput("no item is free: all pending ones are taken, or there are none.")
    _print_entry(taken, as_json)


@app.command()
def decide(
    id: ItemId,
    action: Annotated[str, typer.Argument(help="approve, edit or reject.", show_default=False)],
    *,
    url: ServerUrl = _DEFAULT_URL,
    key: Key = None,
    reason: Annotated[str, typer.Option(help="Reason, which is stored.")] = "",
    text: Annotated[str | None, typer.Option(help="Text to give instead, for edit.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Decide an item. Each is decided once: if it was before, that decision is printed, and the exit code is 1."""
    _print_entry(_client(url, key).decide(id, action, reason=reason, text=text), as_json)


@app.command()
def run(*, url: ServerUrl = _DEFAULT_URL, key: Key = None) -> None:
    """Take one item after the other and ask for decisions, until none is left or q is typed."""
    from heatbath.cli.review_client import ReviewConflict

    client, count = _client(url, key), 0
    skipped: set[str] = set()
    while (entry := _take_next(client, None, skipped)) is not None:
        _print_entry(entry, as_json=False)
        answer = _ask_action()
        if answer in ("s", "q"):
            client.lock(entry["id"], 0)
            skipped.add(entry["id"])
            if answer == "q":
                break
            continue
        text = typer.prompt("text") if answer == "e" else None
        reason = typer.prompt("reason", default="", show_default=False)
        try:
            client.decide(entry["id"], _KEYS[answer], reason=reason, text=text)
            count += 1
        except ReviewConflict as conflict:
            typer.echo(f"heatbath: {conflict}", err=True)
    typer.echo(f"{count} decided")


@app.command()
def export(
    *,
    url: ServerUrl = _DEFAULT_URL,
    key: Key = None,
    out: Annotated[Path, typer.Option(help="File for the labels, JSON lines.")] = Path("labels.jsonl"),
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write the decisions of people as labels with their probability of selection, and estimate over all answers.

    Approved is right, edited and rejected is wrong. Estimates weigh each label by 1/probability.
    """
    from heatbath.cli.review_labels import build_labels, estimate_reliability
    from heatbath.record.output_files import atomic_write

    validate_output_file(out, "JSON lines", force=force)
    labels = build_labels(list(_client(url, key).iterate_decided()))
    with atomic_write(out) as part:
        part.write_text("".join(json.dumps(label) + "\n" for label in labels), encoding="utf-8")
    found = estimate_reliability(labels)
    if as_json:
        typer.echo(json.dumps(found))
    else:
        typer.echo("\n".join([f"{len(labels)} labels: {out}", *found["sentences"]]))


def _client(url: str, key: str | None) -> ReviewClient:
    from heatbath.cli.review_client import ReviewClient

    return ReviewClient(url, key)


def _take_next(client: ReviewClient, seconds: float | None, skipped: Collection[str] = ()) -> Entry | None:
    """Return the first pending item that could be taken, None if there is none."""
    from heatbath.cli.review_client import ReviewConflict

    offset: int | None = 0
    while offset is not None:
        page = client.list_page(limit=100, offset=offset)
        for entry in page["data"]:
            if entry["locked_by"] is None and entry["id"] not in skipped:
                try:
                    return client.lock(entry["id"], seconds)
                except ReviewConflict:
                    continue  # another reviewer was faster
        offset = page["next"]
    return None


def _ask_action() -> str:
    while True:
        answer = str(typer.prompt("[a]pprove, [e]dit, [r]eject, [s]kip or [q]uit")).strip().lower()[:1]
        if answer in (*_KEYS, "s", "q"):
            return answer


def _print_entry(entry: Entry, as_json: bool) -> None:
    typer.echo(json.dumps(entry) if as_json else "\n".join(_describe(entry)))


def _describe(entry: Entry) -> Iterator[str]:
    """Yield the lines of an item."""
    yield _format_line(entry)
    yield f"request {entry['request']}, choice {entry['choice']}, of {entry['tenant']} at {entry['endpoint']}"
    if entry["prompt"]:
        yield from ("", "prompt:", _visible(entry["prompt"]))
    yield from ("", "text:", "(erased)" if entry["text"] is None else _visible(entry["text"]))
    if (decision := entry["decision"]) is not None:
        words = f"decided by {decision['reviewer']}: {decision['action']}"
        yield from ("", f"{words}, {_visible(decision['reason'])}" if decision["reason"] else words)
        if decision["text"] is not None:
            yield _visible(decision["text"])


def _format_line(entry: Entry) -> str:
    age = max(0, round(time.time() - entry["created_at"]))
    rules = ", ".join(entry["rules"]) or f"drawn at random ({entry['probability']:g})"
    if entry["decision"] is not None:
        state = f"{entry['decision']['action']} by {entry['decision']['reviewer']}"
    else:
        state = f"taken by {entry['locked_by']}" if entry["locked_by"] else "free"
    text = " ".join((entry["text"] or "").split())
    short = _visible(text if len(text) <= _MAX_LINE else text[: _MAX_LINE - 1] + "…")
    return f"{entry['id']}  priority {entry['priority']}  {age} s  {state}  [{rules}]  {short}"


def _visible(text: str) -> str:
    """Return a text without control characters, which could change what the terminal shows."""
    return "".join(c if c in "\n\t" or c.isprintable() else "\ufffd" for c in text)
