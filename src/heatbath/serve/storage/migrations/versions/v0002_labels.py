"""The metadata of outcomes as rows, to search by, and an index for the lists of an endpoint."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table and fill it from the settings of stored outcomes."""
    labels = op.create_table(
        "labels",
        sa.Column("seq", _NUMBER, nullable=False, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("seq", "name", name="pk_labels"),
        sa.ForeignKeyConstraint(["seq"], ["contents.seq"], ondelete="CASCADE", name="fk_labels_seq"),
    )
    op.create_index("ix_labels_name", "labels", ["name", "value", "seq"])
    op.create_index("ix_answers_endpoint", "answers", ["tenant", "endpoint", "seq"])
    _fill_labels(labels)


def _fill_labels(labels: sa.Table) -> None:
    answers = sa.table("answers", sa.column("seq"), sa.column("settings", sa.JSON))
    contents = sa.table("contents", sa.column("seq"))
    has_metadata = sa.cast(answers.c.settings, sa.Text).like('%"metadata"%')
    query = sa.select(answers.c.seq, answers.c.settings).join(contents, answers.c.seq == contents.c.seq)
    connection = op.get_bind()
    for row in connection.execute(query.where(has_metadata)).all():
        metadata = row.settings.get("metadata")
        if isinstance(metadata, dict):
            rows = {
                name.replace("\0", "\ufffd"): str(value).replace("\0", "\ufffd") for name, value in metadata.items()
            }
            if rows:
                values = [{"seq": row.seq, "name": name, "value": value} for name, value in rows.items()]
                connection.execute(labels.insert(), values)
