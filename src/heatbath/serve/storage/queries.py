"""Queries and statements that run inside a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import JSON, Connection, Engine, Row, Select, Text, bindparam, cast, column, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from heatbath.serve.interfaces import AnswerConfidence, AnswerQuery
from heatbath.serve.storage.minutes import Minute
from heatbath.serve.storage.row_codec import clean_text, to_json
from heatbath.serve.storage.schema import answers, confidences, contents, labels, minutes

# An id and its tenant.
AnswerKey = tuple[str, str]

_COLUMN_NAMES = [column.name for column in answers.c if column.name != "seq"]

# No minute starts here, so that a row written as a probe, or to keep the time of retention, is not taken for one.
_PROBE_START, _RETENTION_START = -1.0, -2.0
_PROBE_BYTES = 1 << 16


def insert_answers(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> set[AnswerKey]:
    """Insert rows of `answers` that carry their `body` too. Return those whose id another tenant has.

    An id that is there already stays as it is, so that a commit whose outcome is unknown can be repeated.
    """
    numbers = {id: seq for id, seq in _insert_new(connection, rows)}
    # Of two rows with the same id the first was inserted.
    first = {row["id"]: row for row in reversed(rows)}
    bodies = {numbers[id]: row["body"] for id, row in first.items() if id in numbers and row["body"] is not None}
    if bodies:
        connection.execute(contents.insert(), [{"seq": seq, "body": body} for seq, body in bodies.items()])
        insert_labels(
            connection, {numbers[id]: row["labels"] for id, row in first.items() if numbers.get(id) in bodies}
        )
    measured = [
        {"seq": numbers[id], **each} for id, row in first.items() if id in numbers for each in row["confidences"]
    ]
    if measured:
        connection.execute(confidences.insert(), measured)
    owners = {id: row["tenant"] for id, row in first.items()} | _read_owners(connection, set(first) - set(numbers))
    return {(row["id"], row["tenant"]) for row in rows if row["tenant"] != owners[row["id"]]}


def insert_labels(connection: Connection, metadata: Mapping[int, Mapping[str, str]]) -> None:
    """Insert the metadata of contents, by their number."""
    rows = [
        {"seq": seq, "name": name, "value": value}
        for seq, by_name in metadata.items()
        for name, value in by_name.items()
    ]
    if rows:
        connection.execute(labels.insert(), rows)


def _insert_new(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> Iterable[Any]:
    """Insert rows that are not there yet; return their ids and numbers."""
    plain = [{name: row[name] for name in _COLUMN_NAMES} for row in rows]
    if connection.dialect.name != "postgresql":
        return connection.execute(_ignore_existing(sqlite.insert(answers)), plain)
    for row in plain:
        row |= {name: to_json(row[name]).decode() for name in _COLUMN_NAMES if isinstance(answers.c[name].type, JSON)}
    return connection.execute(_build_bulk_insert(), {"rows": plain})


@cache
def _build_bulk_insert() -> Any:
    """Return a statement with all rows as one parameter: the driver takes longer to read a thousand of them than the
    server to run them.

    JSON is passed in it as text, since the server does not accept a NUL inside JSON.
    """
    kinds = {name: answers.c[name].type for name in _COLUMN_NAMES}
    columns = [column(name, Text() if isinstance(kind, JSON) else kind) for name, kind in kinds.items()]
    table = func.json_to_recordset(bindparam("rows", type_=JSON)).table_valued(*columns).render_derived(with_types=True)
    values = select(*(cast(table.c[name], kind) for name, kind in kinds.items()))
    return _ignore_existing(postgresql.insert(answers).from_select(_COLUMN_NAMES, values))


def _ignore_existing(insert: Any) -> Any:
    return insert.on_conflict_do_nothing(index_elements=["id"]).returning(answers.c.id, answers.c.seq)


def _read_owners(connection: Connection, ids: set[str]) -> dict[str, str]:
    if not ids:
        return {}
    existing = connection.execute(select(answers.c.id, answers.c.tenant).where(answers.c.id.in_(ids)))
    return {id: tenant for id, tenant in existing}


def upsert_minutes(connection: Connection, instance: str, rows: Sequence[Minute]) -> None:
    """Replace the figures that one process wrote before."""
    insert = _dialect_insert(connection, minutes)
    replace = insert.on_conflict_do_update(
        index_elements=["start", "instance", "model"],
        set_={"counts": insert.excluded.counts, "histograms": insert.excluded.histograms},
    )
    values = [
        {
            "start": row.start,
            "instance": instance,
            "model": clean_text(row.model),
            "counts": row.counts,
            "histograms": row.histograms,
        }
        for row in rows
    ]
    # In the same order everywhere, else two processes could wait for each other's rows.
    connection.execute(replace, sorted(values, key=lambda value: (value["start"], value["model"])))


def probe_write(engine: Engine, instance: str) -> None:
    """Commit a row and remove it again, to see whether the database can be written."""
    with engine.begin() as connection:
        upsert_minutes(connection, instance, [Minute(_PROBE_START, "", {"x" * _PROBE_BYTES: 0.0})])
    with engine.begin() as connection:
        connection.execute(delete(minutes).where(minutes.c.start == _PROBE_START, minutes.c.instance == instance))


def delete_expired(connection: Connection, before: float, limit: int) -> int:
    """Delete outcomes stored before a time, at most `limit`, and return their number."""
    old = select(answers.c.seq).where(answers.c.stored < before).order_by(answers.c.stored).limit(limit)
    is_old = (minutes.c.start < before) & (minutes.c.start != _RETENTION_START)
    connection.execute(delete(minutes).where(is_old))
    return connection.execute(delete(answers).where(answers.c.seq.in_(old))).rowcount


def read_last_time(connection: Connection) -> float:
    """Return the time of the latest row, or that of retention if it is later; 0 if there is neither."""
    kept, _ = read_retention(connection)
    return max(connection.execute(select(func.max(answers.c.stored))).scalar() or 0.0, kept or 0.0)


def read_retention(connection: Connection) -> tuple[float | None, float | None]:
    """Return the time of retention, None where it was never kept; in that case with the time of the latest row."""
    kept = connection.execute(select(minutes.c.counts).where(minutes.c.start == _RETENTION_START)).scalar()
    if kept is not None:
        return float(kept["time"]), None
    times = [connection.execute(select(func.max(each))).scalar() for each in (answers.c.stored, minutes.c.start)]
    return None, max((time for time in times if time is not None and time >= 0), default=None)


def write_retention(connection: Connection, time: float) -> None:
    """Keep the time of retention, one for all processes."""
    upsert_minutes(connection, "retention", [Minute(_RETENTION_START, "", {"time": time})])


def select_answer(id: str, tenant: str | None) -> Select[Any]:
    """Return the query of one outcome with its content."""
    return _select_of_tenant(tenant).where(answers.c.id == clean_text(id))


def select_page(query: AnswerQuery) -> Select[Any]:
    """Return the query of the outcomes with content that `query` asks for."""
    rows = select(answers, contents.c.body).join(contents, answers.c.seq == contents.c.seq)
    rows = rows.where(answers.c.tenant == clean_text(query.tenant), answers.c.endpoint == query.endpoint)
    if query.model is not None:
        rows = rows.where(answers.c.model == clean_text(query.model))
    if query.after is not None:
        last = select(answers.c.seq).where(answers.c.id == clean_text(query.after)).scalar_subquery()
        rows = rows.where(answers.c.seq > last if query.ascending else answers.c.seq < last)
    for name, value in query.metadata.items():
        is_match = (labels.c.name == clean_text(name)) & (labels.c.value == clean_text(value))
        rows = rows.where(answers.c.seq.in_(select(labels.c.seq).where(is_match)))
    return rows.order_by(answers.c.seq if query.ascending else answers.c.seq.desc()).limit(query.limit)


def select_newest(count: int, tenant: str | None) -> Select[Any]:
    """Return the query of the newest outcomes with their content, newest first."""
    return _select_of_tenant(tenant).order_by(answers.c.seq.desc()).limit(count)


def _select_of_tenant(tenant: str | None) -> Select[Any]:
    rows = select(answers, contents.c.body).outerjoin(contents, answers.c.seq == contents.c.seq)
    return rows if tenant is None else rows.where(answers.c.tenant == clean_text(tenant))


def select_confidence(id: str, tenant: str, choice: int) -> Select[Any]:
    """Return the query of the confidence of one choice."""
    rows = select(confidences, answers.c.id).join(answers, answers.c.seq == confidences.c.seq)
    is_own = (answers.c.id == clean_text(id)) & (answers.c.tenant == clean_text(tenant))
    return rows.where(is_own, confidences.c.choice == choice)


def select_confidences(calibrator: str, limit: int) -> Select[Any]:
    """Return the query of the newest confidences by a calibrator, newest first."""
    rows = select(confidences, answers.c.id).join(answers, answers.c.seq == confidences.c.seq)
    newest = (confidences.c.seq.desc(), confidences.c.choice.desc())
    return rows.where(confidences.c.calibrator == calibrator).order_by(*newest).limit(limit)


def confidence_from_row(row: Row[Any]) -> tuple[str, AnswerConfidence]:
    """Convert a row of `confidences` with the id of its answer."""
    weight = 1.0 if row.weight is None else row.weight
    return row.id, AnswerConfidence(
        row.choice, row.value, row.calibrator, row.withheld, row.correct, row.labeled, weight
    )


def select_minutes_since(since: float) -> Select[Any]:
    """Return the query of all processes' figures from a time on."""
    return select(minutes).where(minutes.c.start >= max(since, 0.0))


def minute_from_row(row: Row[Any]) -> Minute:
    """Convert a row of `minutes`."""
    return Minute(row.start, row.model, row.counts, row.histograms)


def _dialect_insert(connection: Connection, table: Any) -> Any:
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
