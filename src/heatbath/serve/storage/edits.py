"""Changes of stored outcomes, run inside a transaction of the writing thread."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select, update

from heatbath.serve.interfaces import AnswerConfidence
from heatbath.serve.storage.queries import confidence_from_row, insert_labels, select_confidence
from heatbath.serve.storage.review_queries import erase_reviews
from heatbath.serve.storage.row_codec import clean_text, encode_labels, replace_metadata
from heatbath.serve.storage.schema import answers, confidences, contents, labels


class Edit(ABC):
    """A change that the writing thread makes in one transaction with others.

    It may be run again: alone where another one of its transaction failed, and after a commit whose outcome is unknown.
    Edits of one transaction run by `lock_order`, else two servers could wait for each other's rows.
    """

    @property
    def lock_order(self) -> str:
        """The place of the edit among others."""
        return ""

    @abstractmethod
    def apply(self, connection: Connection) -> bool:
        """Make the change; False if there is nothing to change."""


@dataclass(frozen=True)
class AnswerEdit(Edit):
    """A change of a tenant's stored outcome: other `metadata`, or the deletion of its content where that is None."""

    id: str
    tenant: str
    metadata: Mapping[str, str] | None = None

    def apply(self, connection: Connection) -> bool:
        """Make the change; False if the tenant has stored no content of that id."""
        found = select(contents.c.seq, contents.c.body).join(answers, answers.c.seq == contents.c.seq)
        is_own = (answers.c.id == clean_text(self.id)) & (answers.c.tenant == clean_text(self.tenant))
        row = connection.execute(found.where(is_own)).first()
        if row is None:
            return False
        connection.execute(delete(labels).where(labels.c.seq == row.seq))
        if self.metadata is None:
            connection.execute(delete(contents).where(contents.c.seq == row.seq))
            connection.execute(update(answers).where(answers.c.seq == row.seq).values(settings={}))
            erase_reviews(connection, self.id, self.tenant)
        else:
            body = replace_metadata(row.body, self.metadata)
            connection.execute(update(contents).where(contents.c.seq == row.seq).values(body=body))
            insert_labels(connection, {row.seq: encode_labels(self.metadata)})
        return True


@dataclass
class LabelEdit(Edit):
    """A label of a choice of a tenant's stored outcome; `before` is the choice as it was, None until it is found."""

    id: str
    tenant: str
    choice: int
    is_right: bool
    time: float
    weight: float | None = None
    before: AnswerConfidence | None = None

    def apply(self, connection: Connection) -> bool:
        """Store the label, unless the choice was withheld; False if the tenant has stored no confidence of it.

        An edit that is committed twice, since its outcome was unknown, keeps what it found the first time.
        """
        found = select_confidence(self.id, self.tenant, self.choice)
        row = connection.execute(found).first()
        if row is None:
            return False
        self.before = self.before or confidence_from_row(row)[1]
        if not row.withheld:
            is_own = (confidences.c.seq == row.seq) & (confidences.c.choice == self.choice)
            time = self.time if row.labeled is None else row.labeled
            label = {"correct": self.is_right, "labeled": time, "weight": self.weight}
            connection.execute(update(confidences).where(is_own).values(label))
        return True
