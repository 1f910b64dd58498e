"""The page and the JSON file of a comparison: self-contained, escaped, and read back as they were."""

from __future__ import annotations

import errno
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heatbath.errors import BadInput
from heatbath.estimate.paired_differences import Difference
from heatbath.phases import Comparison, PhaseMap, compare_maps
from heatbath.phases.comparison.comparison_data import (
    DifferenceCurve,
    Pairing,
    SideSummary,
    TextComparison,
    TextQuantity,
    TokenDisagreement,
)
from heatbath.phases.comparison.comparison_verdicts import build_comparison_verdicts, format_difference
from heatbath.phases.result_file import COMPARISON_FORMAT
from heatbath.record import Provenance

EVIL = "<script>alert('x')</script> & \x1b[31m"
GRID = np.linspace(0.2, 1.8, 9)


def _curve(name: str, difference: float) -> DifferenceCurve:
    a, error = np.linspace(0.9, 0.1, 9), np.full(9, 0.02)
    shift = np.full(9, difference)
    p_value = np.full(9, 1e-6 if difference else 1.0)
    return DifferenceCurve(name, GRID, a, error, a + shift, error, shift, shift - 0.05, shift + 0.05, p_value)


@pytest.fixture
def comparison(chart: PhaseMap) -> Comparison:
    """Two sides with names that are out to do harm, and every part of a comparison."""
    return Comparison(
        a=SideSummary(f"one {EVIL}", Provenance("m", "sha256:a", "1"), {"seed": 0, "windows": "none"}),
        b=SideSummary("two", Provenance("m", "sha256:b", "1"), {"seed": 0, "windows": "top_p=0.9"}),
        settings={"low": 0.2, "high": 1.8, "length": 64, "prompts": 0},
        pairing=Pairing(90, GRID, np.linspace(1, 0, 9), np.linspace(64, 3, 9), np.array([np.nan, np.inf, *[2.0] * 7])),
        curves=[_curve("loop fraction", 0.0), _curve("entropy", 0.3), _curve("heat capacity", 0.0), _curve(EVIL, 0.0)],
        edges=compare_maps(chart, chart).edges,
        texts=TextComparison(
            "two given texts",
            2,
            100,
            1.0,
            True,
            [
                TextQuantity("entropy", "nats per token, B − A", Difference(0.1, 0.05, 0.15, 1e-3, 2)),
                TextQuantity("Jensen-Shannon divergence", "nats per token", Difference(0.02, 0.01, 0.03, 1e-3, 2)),
                TextQuantity("other most likely token", "share of tokens", Difference(0.1, 0.0, 0.2, 0.1, 2)),
            ],
            [TokenDisagreement(f"before {EVIL}", EVIL, -0.5, -np.inf, 0.3)],
        ),
        notes=[f"a note {EVIL}"],
    )


class _Page(HTMLParser):
    """Collects the text, the tags and what they point to, and checks that every element closes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.pointed: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.pointed += [str(value) for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.pointed += [str(value) for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_stands_alone_and_escapes_what_it_is_given(comparison: Comparison, tmp_path: Path) -> None:
    path = comparison.save(tmp_path / "new")
    assert {file.name for file in path.parent.iterdir()} == {"comparison.html", "comparison.json"}
    text = path.read_text(encoding="utf-8")
    page = _Page(text)
    assert page.open == [] and not {"script", "link", "iframe", "img"} & page.tags
    outside = re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL)
    assert not re.search(r"https?://|@import|url\((?!#)", text) and "$" not in outside
    assert all(target.startswith("#") for target in page.pointed)
    assert "\x1b" not in page.words and page.words.count("<script>alert('x')</script>") >= 6
    for words in (
        "1 of 4 differ",
        "at every temperature",
        "no difference found",
        "0.020 (0.010 to 0.030)",
        "90 pairs of texts of 64 tokens at 9 temperatures",
        "nothing varies",
        "top_p=0.9",
        "-inf",
    ):
        assert words in page.words, words


def test_a_comparison_is_read_as_it_was_written(comparison: Comparison, tmp_path: Path) -> None:
    comparison.save(tmp_path)
    again = Comparison.load(tmp_path)
    assert COMPARISON_FORMAT.format(again) == COMPARISON_FORMAT.format(comparison)
    assert again.texts is not None and again.texts.disagreements[0].b_logprob == -np.inf
    content = json.loads((tmp_path / "comparison.json").read_text())
    assert (content["kind"], content["schema"]) == ("heatbath comparison", 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 9}, "has schema 9, expected 1"),
        ({"kind": "heatbath phase map"}, "is not a comparison"),
        ({"curves": 3}, "is a damaged comparison"),
        ({"more": 3}, "has an unknown more"),
    ],
)
def test_another_file_is_refused_in_one_sentence(
    comparison: Comparison, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    path = tmp_path / "comparison.json"
    path.write_text(json.dumps({**json.loads(COMPARISON_FORMAT.format(comparison)), **change}))
    with pytest.raises(BadInput, match=words):
        Comparison.load(path)


def test_a_missing_or_broken_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is no file"):
        Comparison.load(tmp_path)
    (tmp_path / "comparison.json").write_text("{")
    with pytest.raises(BadInput, match="is not valid JSON"):
        Comparison.load(tmp_path)


def test_an_error_leaves_no_partial_page(
    comparison: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("heatbath.phases.comparison.comparison_page.render_comparison", fail)
    with pytest.raises(OSError, match="No space"):
        comparison.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_verdicts_say_what_differs(comparison: Comparison) -> None:
    verdicts = {v.title: v for v in build_comparison_verdicts(comparison)}
    assert verdicts["Observables"].reason.startswith("Entropy.")
    assert verdicts["Pairs"].statement == "50% of pairs identical"
    assert verdicts["Next-token distributions"].statement == "0.020 (0.010 to 0.030) nats a token"
    assert "10.0% of tokens have another most likely next token" in verdicts["Next-token distributions"].reason


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((0.1234, 0.05, 0.2), "+0.12 (+0.05 to +0.20)"),
        ((-0.1234, -0.2, 0.0), "−0.12 (−0.20 to 0.00)"),
        ((None, -0.2, 0.1), "−0.20 to +0.10"),
        ((0.0, 0.0, 0.0), "0 exactly"),
        ((0.25, 0.25, 0.25), "+0.25 exactly"),
        ((123.4, 100.0, 150.0), "+123 (+100 to +150)"),
        ((1e-9, 0.0, 2e-9), "+0.0000000010 (0.0000000000 to +0.0000000020)"),
    ],
)
def test_differences_have_a_sign_and_two_digits_of_their_width(
    given: tuple[float | None, float, float], words: str
) -> None:
    assert format_difference(*given) == words


def test_independent_sweeps_add_their_errors(chart: PhaseMap) -> None:
    later = [replace(c, value=c.value + 1, temperature=c.temperature + 0.4) for c in chart.curves]
    found = compare_maps(chart, replace(chart, curves=later, settings={**chart.settings, "window": "top_p=0.9"}))
    entropy = found["entropy"]
    assert entropy.temperature.min() == pytest.approx(0.6) and entropy.temperature.max() == pytest.approx(1.8)
    width = 1.96 * np.hypot(entropy.a_stderr, entropy.b_stderr)
    assert np.allclose(entropy.high - entropy.difference, width, rtol=1e-4)
    melt = found.edge("melt")
    assert melt.difference == pytest.approx(0)
    assert melt.interval == pytest.approx((-np.hypot(0.05, 0.06), np.hypot(0.05, 0.06)))
    assert found.edge("order").interval is None
    assert found.pairing is None and found.texts is None
    assert any(re.search(r"window \(.* and top_p=0.9\)", note) for note in found.notes)
    assert "independent" in found.notes[0]


def test_sweeps_that_have_nothing_in_common_are_refused(chart: PhaseMap) -> None:
    with pytest.raises(BadInput, match="texts of one length, got 128 and 256"):
        compare_maps(chart, replace(chart, settings={**chart.settings, "length": 256}))
    later = [replace(c, temperature=c.temperature + 5) for c in chart.curves]
    with pytest.raises(BadInput, match="no temperatures in common"):
        compare_maps(chart, replace(chart, curves=later))
    with pytest.raises(BadInput, match="no observable in common"):
        compare_maps(chart, replace(chart, curves=[replace(chart.curves[0], name="other")]))


def test_what_is_not_there_is_named(comparison: Comparison) -> None:
    assert comparison.texts is not None
    for look in (lambda: comparison["x"], lambda: comparison.edge("x"), lambda: comparison.texts["x"]):  # type: ignore[index]
        with pytest.raises(BadInput, match="there is no .* 'x'"):
            look()
