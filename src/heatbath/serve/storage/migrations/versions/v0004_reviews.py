"""Answers that wait for a person's decision, and the weight of the labels that come of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables, and the column of the weight."""
    _create_reviews()
    op.create_table(
        "review_contents",
        sa.Column("seq", _NUMBER, nullable=False, autoincrement=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_review_contents"),
        sa.ForeignKeyConstraint(["seq"], ["reviews.seq"], ondelete="CASCADE", name="fk_review_contents_seq"),
    )
    op.add_column("confidences", sa.Column("weight", sa.Double))


def _create_reviews() -> None:
    op.create_table(
        "reviews",
        sa.Column("seq", _NUMBER, nullable=False, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("stored", sa.Double, nullable=False),
        sa.Column("deadline", sa.Double, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("choice", sa.Integer, nullable=False),
        sa.Column("rules", sa.JSON, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("probability", sa.Double, nullable=False),
        sa.Column("weight", sa.Double, nullable=False),
        sa.Column("confidence", sa.Double),
        sa.Column("calibrator", sa.Text, nullable=False),
        sa.Column("kept", sa.Boolean, nullable=False),
        sa.Column("holder", sa.Text),
        sa.Column("locked_until", sa.Double),
        sa.Column("action", sa.Text),
        sa.Column("reviewer", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("decided", sa.Double),
        sa.Column("attempt", sa.Text),
        sa.PrimaryKeyConstraint("seq", name="pk_reviews"),
        sa.UniqueConstraint("id", name="uq_reviews_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("uq_reviews_request", "reviews", ["request", "choice", "tenant"], unique=True)
    op.create_index("ix_reviews_action", "reviews", ["action", "deadline"])
    op.create_index("ix_reviews_stored", "reviews", ["stored"])
