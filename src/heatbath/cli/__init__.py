"""Thin commands, one file each; no mathematics."""
