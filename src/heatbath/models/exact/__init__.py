"""Models whose distribution is written down: every sum over sequences is known."""
