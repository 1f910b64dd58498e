"""Documents as energies: an index of passages, the evidence they give, and the measured support of citations."""
