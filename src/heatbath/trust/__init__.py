"""From what a model did to the probability that it is right: signals, calibration, its monitoring, decisions."""
