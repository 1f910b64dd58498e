"""Batches of sequences that rows join and leave at every step, as a server needs them."""
