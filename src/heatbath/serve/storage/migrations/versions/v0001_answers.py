"""Tables of outcomes, their contents, and figures by the minute."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables."""
    _create_answers()
    op.create_table(
        "contents",
        sa.Column("seq", _NUMBER, nullable=False, autoincrement=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_contents"),
        sa.ForeignKeyConstraint(["seq"], ["answers.seq"], ondelete="CASCADE", name="fk_contents_seq"),
    )
    op.create_table(
        "minutes",
        sa.Column("start", sa.Double, nullable=False),
        sa.Column("instance", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("counts", sa.JSON, nullable=False),
        sa.Column("histograms", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("start", "instance", "model", name="pk_minutes"),
    )


def _create_answers() -> None:
    op.create_table(
        "answers",
        sa.Column("seq", _NUMBER, nullable=False, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("stored", sa.Double, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("stream", sa.Boolean, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
        sa.Column("cached_tokens", sa.BigInteger, nullable=False),
        sa.Column("completion_tokens", sa.BigInteger, nullable=False),
        sa.Column("finish", sa.JSON, nullable=False),
        sa.Column("waited", sa.Double),
        sa.Column("first_token", sa.Double),
        sa.Column("duration", sa.Double, nullable=False),
        sa.Column("seed", sa.Text),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("summary", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_answers"),
        sa.UniqueConstraint("id", name="uq_answers_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_answers_tenant", "answers", ["tenant", "seq"])
    op.create_index("ix_answers_stored", "answers", ["stored"])
