"""The page in a real browser against a real server: everything is clicked on, nothing may go wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from levels import EVIL
from pagecalls import chat
from process import Running

expect: Any = pytest.importorskip("playwright.sync_api").expect

Visit = Callable[..., Any]
TOKENS = "#playground .tokens .token"


def send(page: Any, tokens: int = 12, seed: int = 3) -> None:
    """Send the playground's prompt and wait for its answer."""
    page.fill("[name=max_tokens]", str(tokens))
    page.fill("[name=seed]", str(seed))
    page.click("[name=send]")
    expect(page.locator("#playground .status")).to_contain_text("finished")
    expect(page.locator(TOKENS)).to_have_count(tokens)


def shares(page: Any) -> list[float]:
    """The percentages of the ladder, from the top: all others, then the levels."""
    return [float(text.rstrip(" %").replace("−", "-")) for text in page.locator(".ladder .share").all_text_contents()]


def nats(page: Any, name: str) -> float:
    """A figure of the step."""
    box = page.locator("#playground .figures div", has_text=name)
    return float(re.findall(r"[\d.]+", box.locator("dd").inner_text())[0])


def turn(page: Any, temperature: float) -> None:
    page.locator("#turn").evaluate(
        "(slider, t) => { slider.value = t; slider.dispatchEvent(new Event('input')); }", temperature
    )


def test_traffic_is_told_as_it_happens(visit: Visit, server: Running) -> None:
    page = visit(server.url).page
    figures = page.locator("#traffic .figures div")
    expect(figures).to_have_count(7)
    before = int(figures.nth(0).locator(".more").inner_text().split()[0])
    for _ in range(3):
        assert chat(server).status == 200
    expect(figures.nth(0).locator(".more")).to_contain_text(f"{before + 3} since")
    expect(page.locator("#traffic canvas")).to_have_count(6)
    expect(page.locator("#traffic .chart .canvas").first).to_have_attribute(
        "aria-label", re.compile("Tokens written: ")
    )
    for label in ("6 hours", "7 days", "live"):
        page.locator("#traffic .ranges").get_by_text(label, exact=True).click()
        # Nothing is known before the first minute of the server has ended.
        said = "second by second" if label == "live" else "minutes|Nothing is known of this range yet"
        expect(page.locator("#traffic .note")).to_contain_text(re.compile(said))


def test_a_model_that_is_being_loaded_is_waited_for(visit: Visit, server: Running) -> None:
    made = visit("about:blank", live=False)
    body = {"error": {"message": "the model is being loaded: try again.", "type": "", "param": None, "code": None}}
    made.page.route("**/page/state", lambda route: route.fulfill(status=503, json=body), times=1)
    made.page.goto(server.url)
    expect(made.page.locator("#lamp")).to_contain_text("the model is being loaded")
    made.page.wait_for_selector("#lamp[data-kind=live]")
    made.errors[:] = [error for error in made.errors if "503" not in error]
    made.asked.clear()


def test_distributions_move(visit: Visit, server: Running) -> None:
    page = visit(server.url).page
    assert chat(server).status == 200
    said = page.locator("#distributions .keys")
    expect(said).to_have_count(4)
    expect(said.nth(1)).to_contain_text(re.compile(r"last minute: mean [\d.]+, \d+ tokens"))
    first = said.nth(1).inner_text()
    assert chat(server, temperature=1.5).status == 200
    expect(said.nth(1)).not_to_have_text(first)
    expect(page.locator("#distributions svg").first).to_have_attribute("aria-label", re.compile("Surprisal of mock"))


def test_a_request_is_listed_and_opened(visit: Visit, server: Running) -> None:
    page = visit(server.url).page
    assert chat(server, max_tokens=20, seed=7).status == 200
    first = page.locator(".requests > li").first
    expect(first).to_contain_text("/v1/chat/completions")
    expect(first).to_contain_text("20 tokens")
    first.locator("button").click()
    expect(first.locator("pre")).to_have_text("Heat?")
    tokens = first.locator(".tokens .token")
    expect(tokens).to_have_count(20)
    tokens.nth(3).hover()
    record = first.locator(".reader .record")
    expect(record).to_contain_text("position3")
    expect(record).to_contain_text(re.compile(r"entropy[\d.]+"))
    tokens.nth(3).click()
    page.keyboard.press("ArrowRight")
    expect(tokens.nth(4)).to_be_focused()
    expect(record).to_contain_text("position4")
    first.locator("button").first.click()
    expect(first.locator(".opened")).to_be_hidden()


def test_what_looks_like_markup_stays_text(visit: Visit, server: Running) -> None:
    page = visit(server.url).page
    page.fill("[name=prompt]", EVIL)
    send(page, 60)
    assert EVIL in "".join(page.locator(TOKENS).all_inner_texts())
    page.locator(".requests > li > button").first.click()
    expect(page.locator(".opened pre").first).to_have_text(EVIL)
    assert page.locator("main img, main b b, .token *").count() == 0


def test_the_playground_shows_an_ensemble_that_can_be_turned(visit: Visit, server: Running) -> None:
    made = visit(server.url)
    page = made.page
    send(page)
    page.locator(TOKENS).nth(5).click()
    expect(page.locator("#playground output")).to_have_text("T = 0.80")
    assert 20 <= len(shares(page)) - 1 <= 21
    assert sum(shares(page)) == pytest.approx(100, abs=0.3)
    asked = len(made.asked)
    warm = nats(page, "entropy S")
    turn(page, 0.2)
    expect(page.locator("#playground output")).to_have_text("T = 0.20")
    cold, coldest = shares(page), nats(page, "entropy S")
    assert coldest < warm and sum(cold) == pytest.approx(100, abs=0.3)
    turn(page, 3)
    assert nats(page, "entropy S") > warm and shares(page)[0] > cold[0]
    page.get_by_role("button", name="T used").click()
    expect(page.locator("#playground output")).to_have_text("T = 0.80")
    assert nats(page, "entropy S") == warm
    assert [url for url in made.asked[asked:] if "/v1/" in url] == []
    page.get_by_text("Levels as a table").click()
    expect(page.locator(".levels tbody tr.drawn")).to_have_count(1)
    page.get_by_text("Record of the step").click()
    expect(page.locator(".side .record")).to_contain_text("heat_capacity")


def test_the_step_agrees_with_its_record(visit: Visit, server: Running) -> None:
    page = visit(server.url).page
    send(page)
    page.get_by_text("Record of the step").click()
    for i in (0, 4, 8):
        page.locator(TOKENS).nth(i).click()
        record = page.locator(".side .record").inner_text().replace("−", "-").split("\n")
        kept = dict(zip(record[::2], record[1::2], strict=False))
        assert nats(page, "entropy S") == pytest.approx(float(kept["entropy"]), rel=0.01)
        assert nats(page, "heat capacity C") == pytest.approx(float(kept["heat_capacity"]), rel=0.01)


@pytest.mark.parametrize("endpoint", ["/v1/chat/completions", "/v1/completions"])
def test_settings_of_the_playground_reach_the_api(visit: Visit, server: Running, endpoint: str) -> None:
    made = visit(server.url)
    page = made.page
    page.select_option("[name=endpoint]", endpoint)
    page.select_option("[name=window]", "top_p")
    expect(page.locator("[name=amount]")).to_have_value("0.9")
    page.fill("[name=temperature]", "0.5")
    with page.expect_request(lambda request: endpoint in request.url) as sent:
        send(page, 6)
    body = sent.value.post_data_json
    assert body["temperature"] == 0.5 and body["max_tokens"] == 6 and body["seed"] == 3
    assert body["thermo"] == {"record": "full", "windows": {"top_p": 0.9}}
    expect(page.locator("#playground .note")).to_contain_text("drawn at T = 0.500")


def test_a_refusal_is_said_in_words(visit: Visit, server: Running) -> None:
    made = visit(server.url)
    made.page.select_option("[name=sampler]", "beam")
    made.page.locator("[name=max_tokens]").evaluate("field => { field.max = 1e9; field.value = 100000; }")
    made.page.click("[name=send]")
    expect(made.page.locator("#playground .status")).to_contain_text("max_tokens is 100000")
    expect(made.page.locator("[name=send]")).to_be_enabled()
    made.errors[:] = [error for error in made.errors if "400" not in error]


def test_an_answer_can_be_stopped(visit: Visit, server: Running) -> None:
    page = visit(server.url).page
    page.fill("[name=max_tokens]", "4000")
    page.click("[name=send]")
    expect(page.locator(TOKENS).nth(3)).to_be_visible()
    page.click("[name=cancel]")
    expect(page.locator("#playground .status")).to_contain_text("stopped")
    assert server.until(lambda: "499" in page.locator(".requests > li").first.inner_text())


def test_the_phase_map_has_edges_range_and_marks(visit: Visit, server: Running) -> None:
    page = visit(server.url).page
    assert chat(server, temperature=0.65).status == 200
    figure = page.locator("#phases svg")
    expect(page.locator("#phases .cards li")).to_have_count(3)
    for kind in ("freeze", "use", "melt"):
        expect(figure.locator(f"rect.stripe.{kind}")).to_have_count(1)
    expect(figure.locator(".used title", has_text="T = 0.650")).to_have_count(1)
    before = figure.get_attribute("aria-label")
    page.select_option("#phases select", "heat capacity")
    expect(figure).not_to_have_attribute("aria-label", str(before))
    figure.hover(position={"x": 300, "y": 100})
    expect(page.locator("#phases .keys")).to_contain_text("T = ")


def test_everything_can_be_reached_by_keyboard(visit: Visit, server: Running) -> None:
    page = visit(server.url).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.focus("[name=prompt]")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#playground .status")).to_contain_text("finished")
    page.focus(f"{TOKENS}[tabindex='0']")
    for key, at in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", 47), ("Home", 0)):
        page.keyboard.press(key)
        expect(page.locator(TOKENS).nth(at)).to_be_focused()
        expect(page.locator(TOKENS).nth(at)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "turn"
    page.keyboard.press("ArrowRight")
    expect(page.locator("#playground output")).to_have_text("T = 0.81")
    page.focus(".requests > li:first-child > button")
    page.keyboard.press("Enter")
    expect(page.locator(".opened .token").first).to_be_visible()
    page.focus("#pause")
    page.keyboard.press("Space")
    expect(page.locator("#lamp")).to_contain_text("paused")


def test_everything_has_a_name_and_nothing_moves_for_those_who_ask(visit: Visit, server: Running) -> None:
    page = visit(server.url, reduced_motion="reduce").page
    send(page)
    unnamed = page.locator("button, input, select, textarea, a, [role=img], [role=listbox]").evaluate_all(
        "all => all.filter(e => !(e.labels?.length || e.textContent.trim() || e.getAttribute('aria-label')))"
        ".map(e => e.outerHTML)"
    )
    assert unnamed == []
    assert page.locator("section[aria-labelledby]:visible").count() == 5
    assert page.locator("h1").count() == 1
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    assert page.evaluate("[...document.querySelectorAll('*')].filter(e => e.getAnimations().length).length") == 0


def test_light_and_dark_can_be_read(visit: Visit, server: Running) -> None:
    page = visit(server.url).page
    send(page)
    grounds = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        worst = page.evaluate(CONTRAST)
        assert worst["ratio"] >= 4.5, worst
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2


CONTRAST = """() => {
  const parse = c => (c.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = e => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  let worst = {ratio: 99};
  const texts = "p, a, dt, dd, h2, h3, label, button:enabled, span:not(.token), svg text";
  for (const e of document.querySelectorAll(texts)) {
    if (!e.textContent.trim() || !e.checkVisibility()) continue;
    const style = getComputedStyle(e);
    const ink = parse(e instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [light(ink), light(ground(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < worst.ratio) worst = {ratio, text: e.textContent.slice(0, 40), ink, ground: ground(e)};
  }
  return worst;
}"""


def test_it_fits_a_phone(visit: Visit, server: Running) -> None:
    page = visit(server.url, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True).page
    send(page, 40)
    page.locator(".requests > li > button").first.click()
    expect(page.locator(".opened .token").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    ends = page.locator("figure svg, figure canvas, form, .ladder svg").evaluate_all(
        "all => all.filter(e => e.checkVisibility()).map(e => e.getBoundingClientRect().right)"
    )
    assert len(ends) >= 14 and max(ends) <= 360
