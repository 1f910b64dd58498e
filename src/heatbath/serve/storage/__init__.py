"""Storage of outcomes and minutes: SQLite by default, PostgreSQL by URL, one schema."""

from heatbath.serve.storage.database import default_url
from heatbath.serve.storage.db_errors import DatabaseUnusable
from heatbath.serve.storage.minutes import Minute, MinuteStore
from heatbath.serve.storage.store import SqlStore, open_store

__all__ = ["DatabaseUnusable", "Minute", "MinuteStore", "SqlStore", "default_url", "open_store"]
