r"""Write docs/img/page.png: the page of a server with a calibrator, after sums with labels, chats and the playground.

heatbath calibrate --data sums.jsonl --no-chat --max-tokens 4 --stop $'\n' --max-error 0.5 --out calibration
HEATBATH_TRUST__CALIBRATOR=calibration/calibrator.json HEATBATH_MODEL__PHASE_MAP=FOLDER heatbath serve
python tools/page_image.py http://127.0.0.1:8000 [--questions sums.jsonl] [--width 1280] [--out PNG] [--only SECTION]

`sums.jsonl` is that of docs/confidence-tutorial.md, FOLDER what `heatbath sweep` wrote. Needs Chromium.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
NUM_SUMS = 40
CHATS = ["Name three colours.", "Write a line about the sea."]
STORY = "Once upon a time in a quiet town, there lived"


def call(url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Send JSON to a path of the server, and return its answer."""
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def ask_sums(url: str, model: str, path: Path) -> None:
    """Ask some of the questions of the calibration, drawn from all, and label every answer."""
    questions = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    for question in random.Random(0).sample(questions, NUM_SUMS):
        body = {"model": model, "prompt": question["prompt"], "temperature": 0, "max_tokens": 4, "stop": "\n"}
        answer = call(url, "/v1/completions", body)
        is_right = answer["choices"][0]["text"].strip() == question["answer"]
        call(url, "/v1/outcomes", {"id": answer["id"], "correct": is_right})


def use_playground(page: Page) -> None:
    """Send a prompt, choose a token of the answer, and open the request in the list."""
    page.fill("[name=prompt]", STORY)
    page.fill("[name=max_tokens]", "32")
    page.fill("[name=seed]", "3")
    page.click("[name=send]")
    expect(page.locator("#playground .status")).to_contain_text("finished", timeout=120_000)
    page.locator("#playground .tokens .token").nth(5).click()
    page.locator(".requests > li button").first.click()
    page.locator(".requests > li .tokens .token").first.click()


def write_image(url: str, model: str, arguments: argparse.Namespace) -> None:
    """Use the page and write its image, or that of one section."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": arguments.width, "height": 900})
        page.goto(url)
        page.wait_for_selector("#lamp[data-kind=live]")
        if arguments.only is None:
            ask_sums(url, model, arguments.questions)
            for seed, text in enumerate(CHATS):
                message = {"role": "user", "content": text}
                call(
                    url, "/v1/chat/completions", {"model": model, "messages": [message], "max_tokens": 24, "seed": seed}
                )
            use_playground(page)
        # At the top, where the head of the page covers nothing.
        page.evaluate("window.scrollTo(0, 0)")
        page.wait_for_timeout(2000)
        if arguments.only is None:
            page.screenshot(path=arguments.out, full_page=True)
        else:
            page.screenshot(path=arguments.out, full_page=True, clip=page.locator(f"#{arguments.only}").bounding_box())
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--questions", type=Path, default=Path("sums.jsonl"))
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "img" / "page.png")
    parser.add_argument("--only", help="the id of one section, of a server that was used before")
    given = parser.parse_args()
    with urllib.request.urlopen(given.url + "/v1/models") as listed:
        served = json.load(listed)["data"][0]["id"]
    write_image(given.url, served, given)
