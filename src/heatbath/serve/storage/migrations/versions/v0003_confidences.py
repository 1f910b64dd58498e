"""The confidence of choices, and the labels that came for them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "confidences",
        sa.Column("seq", _NUMBER, nullable=False, autoincrement=False),
        sa.Column("choice", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("value", sa.Double, nullable=False),
        sa.Column("calibrator", sa.Text, nullable=False),
        sa.Column("withheld", sa.Boolean, nullable=False),
        sa.Column("correct", sa.Boolean),
        sa.Column("labeled", sa.Double),
        sa.PrimaryKeyConstraint("seq", "choice", name="pk_confidences"),
        sa.ForeignKeyConstraint(["seq"], ["answers.seq"], ondelete="CASCADE", name="fk_confidences_seq"),
    )
    op.create_index("ix_confidences_calibrator", "confidences", ["calibrator", "seq"])
