"""The report of a phase map: figures, verdicts, HTML and JSON."""
