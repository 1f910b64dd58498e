"""The tables, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)

# SQLite numbers rows only in a column that is declared INTEGER.
Number = BigInteger().with_variant(Integer(), "sqlite")

answers = Table(
    "answers",
    metadata,
    # Newest means the largest number: timestamps go backwards when a clock is set back.
    Column("seq", Number, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    # When the row was written, by a clock that does not go back; rows expire by this time.
    Column("stored", Double, nullable=False),
    Column("created", Double, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("status", Integer, nullable=False),
    Column("error", Text),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("finish", JSON, nullable=False),
    Column("waited", Double),
    Column("first_token", Double),
    Column("duration", Double, nullable=False),
    # Text, as a seed may have more than 64 bits.
    Column("seed", Text),
    Column("settings", JSON, nullable=False),
    Column("summary", JSON, nullable=False),
    Index("ix_answers_tenant", "tenant", "seq"),
    Index("ix_answers_stored", "stored"),
    Index("ix_answers_endpoint", "tenant", "endpoint", "seq"),
    sqlite_autoincrement=True,
)

contents = Table(
    "contents",
    metadata,
    Column("seq", Number, ForeignKey("answers.seq", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
)

# The metadata of those contents, to search by; the body has it too.
labels = Table(
    "labels",
    metadata,
    Column("seq", Number, ForeignKey("contents.seq", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Index("ix_labels_name", "name", "value", "seq"),
)

# The confidence of choices, and the labels that came for them.
confidences = Table(
    "confidences",
    metadata,
    Column("seq", Number, ForeignKey("answers.seq", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("choice", Integer, primary_key=True, autoincrement=False),
    Column("value", Double, nullable=False),
    Column("calibrator", Text, nullable=False),
    Column("withheld", Boolean, nullable=False),
    Column("correct", Boolean),
    Column("labeled", Double),
    # The stake of the label in tests, less than 1 for one from a review that others were less likely to get.
    Column("weight", Double),
    Index("ix_confidences_calibrator", "calibrator", "seq"),
)

# Answers that wait for a person's decision, and the decisions.
reviews = Table(
    "reviews",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    # By the clock of rows, for retention; deadlines and locks are by a clock that never runs ahead.
    Column("stored", Double, nullable=False),
    Column("deadline", Double, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("request", Text, nullable=False),
    Column("choice", Integer, nullable=False),
    Column("rules", JSON, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("probability", Double, nullable=False),
    Column("weight", Double, nullable=False),
    Column("confidence", Double),
    Column("calibrator", Text, nullable=False),
    # Whether the content may stay after the decision.
    Column("kept", Boolean, nullable=False),
    Column("holder", Text),
    Column("locked_until", Double),
    # The decision, and the attempt that made it: one whose commit is unknown is repeated.
    Column("action", Text),
    Column("reviewer", Text),
    Column("reason", Text),
    Column("decided", Double),
    Column("attempt", Text),
    Index("uq_reviews_request", "request", "choice", "tenant", unique=True),
    Index("ix_reviews_action", "action", "deadline"),
    Index("ix_reviews_stored", "stored"),
    sqlite_autoincrement=True,
)

review_contents = Table(
    "review_contents",
    metadata,
    Column("seq", Number, ForeignKey("reviews.seq", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
)

minutes = Table(
    "minutes",
    metadata,
    Column("start", Double, primary_key=True),
    Column("instance", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("counts", JSON, nullable=False),
    Column("histograms", JSON, nullable=False),
)
