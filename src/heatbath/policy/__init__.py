"""Rules as energies and as a gate: what a text may say, what a rule costs, and the people who decide in doubt."""
