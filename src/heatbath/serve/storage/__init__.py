"""Where answers and figures are kept: SQLite by default, PostgreSQL by URL, one schema."""

from heatbath.serve.storage.database import default_url
from heatbath.serve.storage.minutes import History, Minute
from heatbath.serve.storage.store import SqlStore, open_store
from heatbath.serve.storage.trouble import Unusable

__all__ = ["History", "Minute", "SqlStore", "Unusable", "default_url", "open_store"]
