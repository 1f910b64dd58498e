"""Exact models, whose distributions over sequences have closed forms or can be enumerated."""
