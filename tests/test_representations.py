"""Objects at a prompt or in a notebook: representations on one short line, and HTML that no text can break out of."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import heatbath as hb
from heatbath.engine import GenerationSettings, generate, measure
from heatbath.engine.registry import FIELDS, POTENTIALS, SCHEDULES, WINDOWS, BuildContext, build_from_text
from heatbath.phases import PhaseMap
from heatbath.record.token_display import MAX_HTML_TOKENS
from heatbath.short_repr import MAX_LENGTH, format_repr, shorten_value

URN = hb.UrnModel(1.0)
TABLE = hb.TableModel(lambda prefix: [0.0] * 3, 3, stop_token_ids=(2,), symbols=[b"a", b"b", b"."])
DRAWN = generate(URN, [], n=3, max_tokens=40, seed=0)
WEIGHTED = generate(URN, [], sampler="smc", particles=4, max_tokens=8, seed=0)
MAP = PhaseMap.load(Path(hb.__file__).parent / "phases" / "maps" / "smollm2-135m.json")
LONG = measure(URN, "+-" * 2000)
HOSTILE = [
    "<script>alert(1)</script>",
    "</span></div></td></table><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)" x="',
    "' & &lt; &#60; ]]> <!-- -->",
    "\x00\x1b[2J\x9b\r\n\t\u202e\u2066",
    "$$\\href{javascript:alert(1)}{x}$$",
    "{{7*7}} ${7*7} <%= 7 %>",
    "\ud7ff\ue000\U0010ffff",
]


def objects() -> list[Any]:
    energies = np.arange(1e4).reshape(100, 100)
    return [
        hb.state(energies),
        hb.state(energies[0]),
        hb.curve(energies, np.linspace(0, 2, 50)),
        hb.nodes(energies),
        hb.bounds(np.log(np.full((7, 20), 0.04)), 10_000),
        URN,
        hb.RandomEnergyModel(4, seed=0),
        DRAWN,
        DRAWN.samples[0],
        DRAWN.weighted_samples,
        DRAWN.arrays,
        WEIGHTED,
        LONG,
        LONG.record,
        MAP,
        GenerationSettings(),
    ]


@pytest.mark.parametrize("value", objects(), ids=lambda value: type(value).__name__)
def test_representations_are_one_short_line(value: Any) -> None:
    text = repr(value)
    assert len(text) <= MAX_LENGTH and "\n" not in text and " object at 0x" not in text
    assert text.startswith(f"{type(value).__name__}(")


def test_representations_say_what_it_is() -> None:
    assert repr(hb.state(np.zeros(4))) == (
        "State(beta=1, log_z=1.386, ground=0, mean_energy=0, variance=0, entropy=1.386, heat_capacity=0, p_max=0.25, "
        "purity=0.25)"
    )
    assert repr(hb.state(np.zeros((5, 4)))).startswith("State(beta=float64[5], log_z=float64[5], ")
    assert repr(URN) == "UrnModel('urn(J=1)', vocab_size=2)"
    assert repr(measure(URN, "+-+")) == "Trace('+-+', tokens=3, model='urn(J=1)')"
    assert repr(LONG).startswith("Trace('+-+-") and "…, tokens=4000, model=" in repr(LONG)
    assert "samples=3, tokens_spent=120" in repr(DRAWN)
    assert "log_z=" in repr(WEIGHTED) and "ess=" in repr(WEIGHTED)
    assert repr(MAP).startswith("PhaseMap('smollm2-135m', freeze=0.")


@pytest.mark.parametrize(
    "registry", [WINDOWS, FIELDS, POTENTIALS, SCHEDULES], ids=["window", "field", "potential", "t"]
)
def test_components_are_named_with_their_options(registry: Any) -> None:
    context = BuildContext(TABLE, 8)
    built = 0
    for name, spec in registry.items():
        try:
            component = build_from_text(registry, f"{name}={spec.example}", context)
        except (hb.HeatbathError, ImportError):  # its example needs another vocabulary, a model or a package
            continue
        built += 1
        text = repr(component)
        assert len(text) <= MAX_LENGTH and "\n" not in text and " object at 0x" not in text, text
    assert built >= len(registry) // 3


def test_a_sum_of_fields_names_its_parts() -> None:
    dry = build_from_text(FIELDS, "dry=0.8", BuildContext(URN, 8))
    assert repr(0.5 * dry) == "FieldSum('dry', weights=[0.5])" and repr(dry).startswith(
        "DryPenalty('dry', multiplier=0.8"
    )


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
        max_leaves=40,
    )
)
def test_any_value_is_shortened_to_one_line(value: Any) -> None:
    assert len(shorten_value(value).splitlines()) <= 1
    text = format_repr("Name", {"a": value, "b": [value] * 3, "c": {"k": value}}, first=value)
    assert len(text.splitlines()) == 1 and text.startswith("Name(") and text.endswith(")")


class Page(HTMLParser):
    """Reads HTML back: its text, its tags in balance, and every attribute."""

    VOID = frozenset({"rect", "polygon", "polyline"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.tags, self.attributes, self._open = "", set[str](), set[str](), list[str]()
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.handle_starttag(tag, attrs)
        self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


TAGS = frozenset(("div", "span", "table", "thead", "tbody", "tr", "th", "td", "b", "figure", "figcaption"))
TAGS |= {"svg", "rect", "polygon", "polyline"}
LOADING = ("src", "href", "srcdoc", "action")


def read_safe(html: str) -> Page:
    """Check that HTML runs nothing, asks for nothing and holds no control characters, and return what it shows."""
    page = Page(html)
    assert page.tags <= TAGS
    assert not {name for name in page.attributes if name.startswith("on") or name in LOADING}
    assert "tex2jax_ignore" in html and "mathjax_ignore" in html and "url(" not in html and "http" not in html
    assert not set(html) & {chr(c) for c in [*range(9), 11, 12, *range(14, 32), *range(127, 160)]}
    return page


def with_text(trace: hb.Trace, text: str) -> hb.Trace:
    return replace(trace, token_to_bytes=lambda token: text.encode(), provenance=replace(trace.provenance, model=text))


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_breaks_out(text: str) -> None:
    trace = measure(URN, "+-+")
    plain = read_safe(trace._repr_html_())
    page = read_safe(with_text(trace, text)._repr_html_())
    assert page.tags == plain.tags and page.attributes == plain.attributes
    assert page.text.count(text) == 4 or not text.isprintable()
    drawn = replace(DRAWN, token_to_bytes=lambda token: text.encode(), provenance=replace(DRAWN.provenance, model=text))
    read_safe(drawn._repr_html_())
    edges = [replace(edge, verdict=text) for edge in MAP.edges]
    hostile = replace(MAP, model=replace(MAP.model, model=text), edges=edges, advice=replace(MAP.advice, reason=text))
    read_safe(hostile._repr_html_())


@given(st.text(max_size=50))
def test_any_text_of_a_token_can_be_shown(text: str) -> None:
    read_safe(with_text(measure(URN, "+-"), text.encode("utf-8", "replace").decode())._repr_html_())


def test_the_page_shows_tokens_numbers_and_their_ends() -> None:
    trace = measure(URN, "+-+")
    html = trace._repr_html_()
    assert read_safe(html).text.startswith("+-+") and html.count("<span") == 3 and html.count("background:rgba(") == 2
    assert 'title="no context"' in html and f"surprisal {-trace.record['logprob'][1]:.3f}" in html
    long = LONG._repr_html_()
    assert long.count("<span") == MAX_HTML_TOKENS and f"{4000 - MAX_HTML_TOKENS:,} more" in long and len(long) < 100_000


def test_a_generation_is_a_table_with_weights() -> None:
    page = read_safe(DRAWN._repr_html_())
    assert all(text in page.text for text in DRAWN.texts) and "120 tokens drawn" in page.text
    shown = read_safe(WEIGHTED._repr_html_()).text
    assert f"log Z {WEIGHTED.log_z:.3f}" in shown and "effective sequences" in shown
    many = generate(URN, [], n=50, max_tokens=2)
    assert "… and 30 more" in read_safe(many._repr_html_()).text
    assert read_safe(generate(URN, [], max_tokens=2, record=None)._repr_html_()).text


def test_a_phase_map_is_its_verdicts_and_two_curves() -> None:
    html = MAP._repr_html_()
    page = read_safe(html)
    assert "Freezes below" in page.text and "Recommended" in page.text and html.count("<svg") == 2
    assert len(html) < 20_000
