"""The page stands alone, escapes what it is given, and says what was found in plain words."""

from __future__ import annotations

import errno
import json
import re
from collections import Counter, defaultdict
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from heatbath.pages.html_parts import replace_control_characters
from heatbath.phases.phase_map import PhaseMap
from heatbath.phases.report import figures, html, plot_style
from heatbath.phases.report.verdicts import build_verdicts, format_with_error
from heatbath.phases.result_file import PHASE_MAP_FORMAT

VOID = {"meta", "br", "img", "hr", "link", "input"}


class Page(HTMLParser):
    """Checks that every element closes, and collects tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture(scope="module")
def page(written: Path) -> Page:
    return Page((written / "report.html").read_text(encoding="utf-8"))


def _plain(map_: PhaseMap) -> Page:
    return Page(html.render_page(map_, defaultdict(lambda: "<svg></svg>")))


def test_it_is_well_formed(page: Page) -> None:
    assert page.open == []
    assert page.tags["html"] == page.tags["h1"] == page.tags["main"] == 1


def test_it_asks_for_nothing_from_outside(page: Page, written: Path) -> None:
    text = (written / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\((?!#)", text)
    assert not {"script", "link", "iframe", "object"} & page.tags.keys()
    pointed = [value for name, value in page.attributes if name in ("src", "href")]
    assert pointed and all(str(value).startswith(("#", "data:")) for value in pointed)
    assert text.count("<img") == 0 and "$" not in re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL)


def test_ids_are_unique_and_found(page: Page) -> None:
    ids = Counter(value for name, value in page.attributes if name == "id")
    assert max(ids.values()) == 1
    assert {str(v)[1:] for n, v in page.attributes if n == "href" and str(v).startswith("#")} <= ids.keys()


def test_text_is_escaped(page: Page) -> None:
    assert "script" not in page.tags
    assert page.words.count("<script>alert('x')</script> & ") == 8, (
        "five texts, a prompt, and a wrong answer with its prompt"
    )
    assert "smollm2-<135m>" in page.words and "Length of <b>words</b>" in page.words
    assert "\x1b" not in page.words and "␛[31m" in page.words


def test_the_verdict_is_on_top(page: Page, chart: PhaseMap) -> None:
    places = [page.words.index(v.statement) for v in build_verdicts(chart)[:3]]
    assert places == sorted(places) and places[-1] < page.words.index("Estimates of each edge")
    for words in ("T = 0.45 (0.40 to 0.51)", "T = 0.51 to 1.03", "T = 1.08 (1.03 to 1.14)", "T = 0.90 (0.80 to 1.00)"):
        assert words in page.words


def test_what_was_swept_is_said_first(page: Page, written: Path) -> None:
    first = page.words[: page.words.index("57,344 tokens")]
    for words in (
        "Bfloat16 on cpu, chat template, system message 'be brief', 57 prompts of questions.jsonl.",
        "Drawn through top_p=0.9, then min_p=0.05, up to 128 tokens, end of text allowed.",
    ):
        assert words in first
    assert list(json.loads((written / "phases.json").read_text()))[:4] == ["kind", "schema", "model", "settings"]
    assert "counts at that temperature alone" in page.words and "without truncation" not in page.words
    assert "over all tokens of the texts" in page.words
    for setting in ("precision", "chat template", "windows", "end of text allowed", "top_p=0.9, min_p=0.05"):
        assert setting in page.words


def test_an_earlier_map_says_what_it_knows(chart: PhaseMap) -> None:
    page = _plain(replace(chart, settings={"length": 128, "dtype": None, "prompts": 1}))
    assert "None" not in page.words and "chat" not in page.words[:2000].replace("chart", "")
    assert "without truncation" in page.words


def test_what_was_scored_wrong_is_shown(page: Page, chart: PhaseMap) -> None:
    place = page.words.index("Scored wrong at T = 0.50")
    table = page.words[place : place + 1200]
    for words in ("2 + 2 = ", "numeric", "12%", "five", "All prompts with a wrong answer"):
        assert words in table
    many = replace(chart, advice=replace(chart.advice, wrong=chart.advice.wrong * 57))
    assert "40 of 57 prompts" in _plain(many).words
    assert "Scored wrong" not in _plain(replace(chart, advice=replace(chart.advice, wrong=()))).words


def test_texts_of_the_recommended_range_come_first(page: Page) -> None:
    words = page.words
    assert "T = 0.72, in the recommended range, ended by itself" in words and "<|user|> " in words
    assert words.index("a text of the range") < words.index("T = 0.2: ")


def test_everything_that_was_found_is_there(page: Page, chart: PhaseMap) -> None:
    for words in (
        "0.41 at 32, 0.44 at 64, 0.45 at 128",
        "seed",
        "7",
        chart.model.fingerprint,
        "0.1.0",
        "57,344 tokens",
    ):
        assert words in page.words
    for words in (
        "Mixture control",
        "40.0% (36.0% to 44.0%)",
        "Effective number of texts",
        "40.0 to 40.0, median 40.0",
    ):
        assert words in page.words
    assert page.tags["svg"] == 1 + len(chart.curves) + 5


def test_no_edge_found_is_said_with_its_reason(edgeless: PhaseMap) -> None:
    page = _plain(edgeless)
    assert page.words.count("no edge found") == 2
    assert "Flow of the tag fraction: not found at every size." in page.words
    assert "no range to recommend" in page.words and "No freeze and melt edge was found" in page.words
    assert "Critical behaviour" not in page.words and "scored prompts" not in page.words


def test_a_mixture_is_named(chart: PhaseMap) -> None:
    assert chart.criticality is not None
    mixed = replace(chart, criticality=replace(chart.criticality, mixture=True))
    assert "permanent differences between texts" in _plain(mixed).words
    assert "permanent differences between texts" not in _plain(chart).words


def test_it_follows_light_and_dark_and_small_screens(written: Path) -> None:
    text = (written / "report.html").read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in text and 'name="viewport"' in text
    drawn = re.search(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert drawn and "var(--ink)" in drawn[0] and "#fefefe" not in drawn[0]
    assert not re.search(r'<svg[^>]* (width|height)="', text)


def test_the_map_lies_beside_it(written: Path, chart: PhaseMap) -> None:
    assert PHASE_MAP_FORMAT.dump(PhaseMap.load(written)) == PHASE_MAP_FORMAT.dump(chart)
    assert sorted(path.name for path in written.iterdir()) == ["figures", "phases.json", "report.html"]


def test_a_full_disk_leaves_nothing_half_written(
    chart: PhaseMap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "report.html").write_text("before")

    def full(map_: PhaseMap, folder: Path) -> None:
        (folder / "overview.png").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))

    monkeypatch.setattr(html, "write_figures", full)
    with pytest.raises(OSError, match="No space left"):
        chart.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "before"


@pytest.mark.parametrize(
    ("value", "half", "said"),
    [(1.23456, 0.0234, "1.235 ± 0.023"), (1234.5, 12.0, "1234 ± 12"), (0.0, 0.5, "0.00 ± 0.50"), (2.0, 0.0, "2")],
)
def test_numbers_are_as_long_as_their_bands(value: float, half: float, said: str) -> None:
    assert format_with_error(value, half) == said


def test_control_characters_are_shown() -> None:
    assert (
        replace_control_characters("a\x00\x1b\x85\n\té\ud800")
        == "a␀␛\N{REPLACEMENT CHARACTER}\n\té\N{REPLACEMENT CHARACTER}"
    )


def test_an_edge_whose_estimators_disagree_has_no_number_of_its_own(chart: PhaseMap) -> None:
    split = replace(chart.edge("melt"), temperature=None, interval=(0.84, 1.13), verdict="the estimators disagree")
    map_ = replace(chart, edges=[chart.edge("freeze"), split, chart.edge("order")])
    verdict = next(one for one in build_verdicts(map_) if one.kind == "melt")
    assert f"{verdict.title} {verdict.statement}" == "Melts between 0.84 and 1.13 (estimators disagree)"
    assert plot_style.format_row("melt", None, split.interval) == "between 0.84 and 1.13"
    axis = figures.plot_overview(map_).axes[1]
    assert len(axis.lines) == len(figures.plot_overview(chart).axes[1].lines) - 1, "no line of its own"
    assert PHASE_MAP_FORMAT.dump(map_)["edges"][1]["temperature"] is None
