"""The server: an OpenAI-compatible API over an engine, its storage, its metrics and its page."""
