"""Requests and responses as msgspec structs: the fields that are used; others are refused or ignored by name."""
