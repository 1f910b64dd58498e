"""The report of a phase map: figures, verdicts, HTML page and JSON file."""
