"""Live tests of a calibration: on labels of answers, and on the distribution of their confidence.

monitor = CalibrationMonitor(sample)          the confidences of the calibration
monitor.add_confidence(p); monitor.add_label(answer, choice, p, is_right=True)
monitor.is_stale, monitor.describe()
"""

from heatbath.trust.monitoring.calibration_monitor import ALPHA, CalibrationMonitor
from heatbath.trust.monitoring.martingales import (
    BettingMixture,
    label_factors,
    log_capital_path,
    rank_factors,
)
from heatbath.trust.monitoring.rank_test import RankTest

__all__ = [
    "ALPHA",
    "BettingMixture",
    "CalibrationMonitor",
    "RankTest",
    "label_factors",
    "log_capital_path",
    "rank_factors",
]
