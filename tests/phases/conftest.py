"""A phase map as a language model might give, made up, for tests of what is done with one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from heatbath.estimate.finite_size import EdgeEstimate
from heatbath.estimate.smooth import CurveData
from heatbath.phases.advice import Advice, BestTemperature, WrongAnswers
from heatbath.phases.critical import Criticality
from heatbath.phases.curves import Curve
from heatbath.phases.edges import Edge
from heatbath.phases.phase_map import PhaseMap
from heatbath.phases.phase_map_data import Budget, TextSample
from heatbath.record import Provenance

GRID = np.linspace(0.2, 1.8, 121)
MEASURED = np.linspace(0.2, 1.8, 24)
EVIL = "<script>alert('x')</script> & \x1b[31m ü\n"

SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "energy above ground": lambda t: 6 / (1 + np.exp(-(t - 1.05) / 0.13)) + 0.4 * t,
    "surprisal": lambda t: 8 / (1 + np.exp(-(t - 1.05) / 0.12)),
    "surprisal at T = 1": lambda t: 10 / (1 + np.exp(-(t - 1.1) / 0.14)) + 0.3,
    "entropy": lambda t: 8 / (1 + np.exp(-(t - 1.05) / 0.12)) + 0.1 * t,
    "heat capacity": lambda t: 5.5 * np.exp(-(((t - 1.1) / 0.2) ** 2)) + 0.8 * t,
    "Fisher information of beta": lambda t: 5.5 * np.exp(-(((t - 1.1) / 0.2) ** 2)) * t**2,
    "loop fraction": lambda t: 1 / (1 + np.exp((t - 0.45) / 0.05)),
    "repetition": lambda t: 0.9 / (1 + np.exp((t - 0.6) / 0.15)),
    "length of <b>words</b>": lambda t: 4 + t,
}


def _curve(name: str, rng: np.random.Generator) -> Curve:
    shape = SHAPES[name]
    value, slope = shape(MEASURED), (shape(MEASURED + 1e-4) - shape(MEASURED - 1e-4)) / 2e-4
    size = 0.02 * np.ptp(shape(GRID)) * np.ones_like(MEASURED)
    noise, slope_noise = rng.normal(size=(2, len(MEASURED))) * size
    points = CurveData(MEASURED, value + noise, size, slope + 8 * slope_noise, 8 * size)
    band = np.full_like(GRID, 0.5 * size[0])
    return Curve(
        name, points, np.full_like(MEASURED, 40.0), GRID, shape(GRID), band, np.gradient(shape(GRID), GRID), 4 * band
    )


def _edge(name: str, at: float) -> Edge:
    sizes = {32: at - 0.04, 64: at - 0.01, 128: at}
    interval = (at - 0.05, at + 0.06)
    found = [
        EdgeEstimate(f"{name} by {way}", at, interval, sizes, True, "holds as the text grows") for way in ("a", "b")
    ]
    return Edge(name, at, interval, "two estimators agree", tuple(found))


def _no_edge(name: str) -> Edge:
    lost = EdgeEstimate("flow of the tag fraction", None, None, {64: 0.4}, False, "not found at every size")
    return Edge(name, None, None, "flow of the tag fraction: not found at every size", (lost, lost))


def _criticality() -> Criticality:
    t, sizes = np.linspace(0.2, 1.8, 12), (4, 8, 16, 32, 64, 128, 256)
    rng = np.random.default_rng(1)
    gamma = np.clip(1.6 / (t + 0.4) - 1, -0.1, 1)
    tau = 0.3 * np.array(sizes)[None, :] ** gamma[:, None] * np.exp(0.05 * rng.normal(size=(12, 7)))
    within = np.where(np.array(sizes) <= 128, 0.4 * tau, np.nan)
    lags = np.unique(np.geomspace(1, 128, 24).round().astype(np.int64))
    correlation = 0.2 * lags[None, :] ** (gamma[:, None] - 1) - 0.01
    omega = np.linspace(0, 0.5, 129)
    spectrum = (
        0.1 + 5 * np.exp(-t[:, None]) * np.exp(-((omega - 0.2) ** 2) / 1e-3) + 1 / (0.01 + omega) ** gamma[:, None]
    )
    return Criticality(
        tags="whitespace",
        length=256,
        sizes=sizes,
        temperature=t,
        texts=np.full(12, 40.0),
        dropped=np.zeros(12),
        tau=tau,
        tau_stderr=0.1 * tau,
        tau_within=within,
        gamma=np.diff(np.log2(tau), axis=1),
        gamma_stderr=np.full((12, 6), 0.1),
        gamma_flow=gamma,
        gamma_flow_stderr=np.full(12, 0.05),
        lags=lags,
        correlation=correlation,
        spectrum=spectrum,
        peaks=np.round(6 * np.exp(-t)),
        relaxation=20 * np.exp(-t),
        mixture=False,
        order=_no_edge("order"),
    )


@pytest.fixture(scope="session")
def chart() -> PhaseMap:
    """Both edges found, no order, criticality, advice from references, and texts that are out to do harm."""
    rng = np.random.default_rng(0)
    critical = _criticality()
    curve = (0.2, 0.5, 0.8), (0.3, 0.4, 0.2), (0.02, 0.02, 0.02), ((0.26, 0.34), (0.36, 0.44), (0.16, 0.24))
    wrong = (WrongAnswers(f"2 + 2 = {EVIL}", "4", "numeric", 0.5, 0.125, ("five", EVIL)),)
    return PhaseMap(
        model=Provenance("smollm2-<135m>", "sha256:" + "ab" * 32, "0.1.0"),
        settings={
            "dtype": "bfloat16",
            "device": "cpu",
            "low": 0.2,
            "high": 1.8,
            "length": 128,
            "seed": 7,
            "prompts": 57,
            "prompt_source": "questions.jsonl",
            "chat": True,
            "system": "be brief",
            "window": ["top_p=0.9", "min_p=0.05"],
            "allow_end": True,
            "tags": "auto",
        },
        budget=Budget(448, 448 * 128, 212.4),
        curves=[_curve(name, rng) for name in SHAPES],
        edges=[_edge("freeze", 0.45), _edge("melt", 1.08), critical.order],
        advice=Advice(
            (0.51, 1.03),
            "clear of both edges' intervals",
            (BestTemperature("one answer", 0.5, (0.2, 0.6), *curve),),
            wrong,
        ),
        turn=EdgeEstimate("entropy turning point", 0.9, (0.8, 1.0), {128: 0.9}, True, "log H turns convex"),
        criticality=critical,
        samples=[
            *[TextSample(t, f"T = {t}: {EVIL}") for t in (0.2, 0.6, 1.0, 1.4, 1.8)],
            TextSample(0.72, "a text of the range", f"<|user|> {EVIL}", finished=True, recommended=True),
        ],
    )


@pytest.fixture(scope="session")
def edgeless(chart: PhaseMap) -> PhaseMap:
    """Nothing found and nothing more asked for."""
    reason = "no freeze and melt edge was found, so there is no range between edges"
    return replace(
        chart,
        edges=[_no_edge("freeze"), _no_edge("melt")],
        advice=Advice(None, reason),
        turn=EdgeEstimate("entropy turning point", None, None, {}, False, "no turning point: log H does not turn"),
        criticality=None,
    )


@pytest.fixture(scope="session")
def written(chart: PhaseMap, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the whole report."""
    from heatbath.phases.report.html import write_report

    return write_report(chart, tmp_path_factory.mktemp("report") / "new").parent
