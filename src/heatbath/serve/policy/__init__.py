"""The policy of a server: rules in use, their verdicts within a time limit, and what was done with each choice."""
