"""The server: an OpenAI-compatible API over an engine, with storage, metrics and a dashboard."""
