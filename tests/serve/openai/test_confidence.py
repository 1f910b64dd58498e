"""The confidence of answers, the gate, and labels that come later, over a real database."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calibrators import write_calibrator
from scripted import Scripted
from serving import HELLO
from starlette.testclient import TestClient

from heatbath.engine import measure
from heatbath.engine.base import Request, Token
from heatbath.engine.local import EngineConfig, LocalEngine
from heatbath.errors import BadInput
from heatbath.models import MarkovModel
from heatbath.record import NODE_COLUMNS, UNIFORM_COLUMNS
from heatbath.serve.app import build_app
from heatbath.serve.services import Services, build_services
from heatbath.serve.settings import Settings
from heatbath.trust.calibration import load_calibrator

SURE, UNSURE = "AAAA", "zzzz"
"""Texts of a high and of a low log-probability: -0.65 and -1.22 a token."""
GATE = {"require": {"confidence": 0.8}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@dataclass
class Recorded(Scripted):
    """A scripted engine whose records are those of an ensemble at T = 1."""

    def token(self, token: int, place: int) -> Token:
        wanted = self.requests[-1].record
        record: dict[str, Any] = {"energy": token / 100, "ground": 0.0}
        if wanted != "nodes":
            record |= {"logprob": -token / 100, "log_z": 0.0, "entropy": 1.0, "heat_capacity": 0.25, "p_max": 0.5}
            record |= {"mean_energy": 1.0, "variance": 0.25, "rank": 1.0, "temperature": self.requests[-1].temperature}
        if wanted != "state":
            record |= {name: [0.1] * 16 for name in NODE_COLUMNS}
        if wanted == "full":
            record |= {**dict.fromkeys(UNIFORM_COLUMNS, 2.0), "divergence": 0.0}
        return Token(token, -token / 100, [(token, -token / 100)], record)

    @property
    def asked(self) -> Request:
        return self.requests[-1]


@dataclass
class Server:
    """A server with a calibrator, over SQLite."""

    client: TestClient
    services: Services

    def post(self, path: str, **body: Any) -> Any:
        return self.client.post(path, json={"model": "mock", **body})

    def says(self, *texts: str) -> Server:
        """The server whose next answers are `texts`."""
        engine: Any = self.services.engine
        engine.texts = texts
        return self

    @property
    def counts(self) -> Any:
        assert self.services.calibrator is not None
        return replace(self.services.calibrator.counts)

    def chat(self, **more: Any) -> Any:
        return self.post("/v1/chat/completions", **{"messages": HELLO, "max_tokens": 8, **more})

    def label(self, id: str, correct: bool, **more: Any) -> Any:
        return self.client.post("/v1/outcomes", json={"id": id, "correct": correct, **more})

    @property
    def monitor(self) -> Any:
        assert self.services.calibrator is not None
        return self.services.calibrator.monitor


@contextmanager
def serving(folder: Path, engine: Scripted, calibrator: Path | None, **settings: Any) -> Iterator[Server]:
    sections = {
        "model": {"name": "mock"},
        "storage": {"url": f"sqlite:///{folder / 'heatbath.db'}"},
        "server": {"page": True, "log": "error"},
        "trust": {"calibrator": None if calibrator is None else str(calibrator)},
        **settings,
    }
    services = build_services(Settings(**sections), engine=engine)
    with TestClient(build_app(services), base_url="http://localhost") as client:
        while not services.lifecycle.has_opened:
            assert services.lifecycle.startup_error is None, services.lifecycle.startup_error
        yield Server(client, services)


@pytest.fixture
def calibrator(tmp_path: Path) -> Path:
    return write_calibrator(tmp_path / "calibrator.json")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for tests that need none of their own."""
    folder = tmp_path_factory.mktemp("shared")
    with serving(folder, Recorded(), write_calibrator(folder / "calibrator.json")) as server:
        yield server


def confidence_of(text: str) -> float:
    """What the calibrator says of a scripted text and its end token."""
    ids = [*text.encode(), 256]
    return 1 / (1 + math.exp(-(8.0 - 6.0 * sum(ids) / len(ids) / 100)))


def last_thermo(stream: str) -> dict[str, Any]:
    """The `thermo` of the chunk that ends the first choice."""
    chunks = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]
    (found,) = [c for chunk in chunks for c in chunk.get("choices", ()) if c["finish_reason"] and c["index"] == 0]
    return dict(found["thermo"])


def test_every_choice_says_how_likely_it_is_right(tmp_path: Path, calibrator: Path) -> None:
    with serving(tmp_path, Recorded([SURE, UNSURE]), calibrator) as server:
        first, second = server.chat(n=2).json()["choices"]
        assert first["thermo"] == {
            "confidence": pytest.approx(confidence_of(SURE)), "source": "measured", "abstain": False, "stale": False
        }  # fmt: skip
        assert second["thermo"]["abstain"] is True
        assert second["thermo"]["confidence"] == pytest.approx(confidence_of(UNSURE))
    with serving(tmp_path, Recorded([SURE]), calibrator) as server:
        stream = server.chat(stream=True)
        assert last_thermo(stream.text) == first["thermo"]
        assert stream.text.count('"thermo"') == 1
        response = server.post("/v1/responses", input="hi", max_output_tokens=8).json()
        assert response["thermo"] == first["thermo"]
        events = server.post("/v1/responses", input="hi", max_output_tokens=8, stream=True).text
        done = json.loads(events.split("event: response.completed\ndata: ")[1].splitlines()[0])
        assert done["response"]["thermo"] == first["thermo"]
        message = server.post("/v1/messages", messages=HELLO, max_tokens=8).json()
        assert message["thermo"] == first["thermo"]
        streamed = server.post("/v1/messages", messages=HELLO, max_tokens=8, stream=True).text
        delta = json.loads(streamed.split("event: message_delta\ndata: ")[1].splitlines()[0])
        assert delta["thermo"] == first["thermo"]


def test_text_is_for_a_calibration_without_a_chat_template(tmp_path: Path, shared: Server) -> None:
    (choice,) = shared.says(SURE).post("/v1/completions", prompt="hi", max_tokens=8).json()["choices"]
    assert choice["thermo"]["reason"] == "the calibrator is for chat = True, got False"
    plain = write_calibrator(tmp_path / "plain.json", settings={"chat": False})
    with serving(tmp_path, Recorded([SURE]), plain) as server:
        (choice,) = server.post("/v1/completions", prompt="hi", max_tokens=8).json()["choices"]
        assert choice["thermo"]["confidence"] == pytest.approx(confidence_of(SURE))
        stream = server.post("/v1/completions", prompt=["a", "b"], max_tokens=8, stream=True).text
        assert last_thermo(stream) == choice["thermo"]


OTHER_SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"temperature": 0.7}, "the calibrator is for temperature = 1.0, got 0.7"),
    ({"top_p": 0.9}, "the calibrator is for answers without windows such as top_p"),
    ({"frequency_penalty": 1.0}, "the calibrator is for answers without fields such as penalties, biases and forms"),
    ({"stop": "x"}, "the calibrator is for stop = [], got ['x']"),
    ({"tools": [TOOL]}, "the calibrator is for answers without tools"),
    ({"thermo": {"schedule": {"linear": {"start": 1, "end": 0}}}}, "the calibrator is for answers without a schedule"),
    ({"messages": [{"role": "system", "content": "Be brief."}, *HELLO]},
     "the calibrator is for system = None, got 'Be brief.'"),
    ({"stop_token_ids": [66]}, "the calibrator is for answers without stop_token_ids"),
    ({"ignore_eos": True}, "the calibrator is for answers without ignore_eos"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "reason"), OTHER_SETTINGS)
def test_other_settings_than_those_of_the_calibration_have_none(
    shared: Server, asked: dict[str, Any], reason: str
) -> None:
    server, before = shared.says(SURE), shared.counts.unmeasured
    thermo = server.chat(**asked).json()["choices"][0]["thermo"]
    assert (thermo["confidence"], thermo["source"], thermo["abstain"]) == (None, "none", True)
    assert thermo["reason"] == reason
    gated = server.chat(**{**asked, "thermo": {**asked.get("thermo", {}), **GATE}})
    assert gated.status_code == 400 and gated.json()["error"]["param"] == "thermo.require"
    assert reason in gated.json()["error"]["message"]
    assert server.counts.unmeasured == before + 1


@pytest.mark.parametrize(
    ("text", "limit", "reason"),
    [
        ("AAAAAAAAA", 20, "the answer has 10 tokens, and answers of the calibration had at most 8"),
        ("AAAAAA", 4, "the answer was cut after 4 tokens, and answers of the calibration after 8"),
        ("A", 0, "the answer has no tokens"),
    ],
)
def test_answers_of_another_length_have_none(shared: Server, text: str, limit: int, reason: str) -> None:
    server = shared.says(text)
    (choice,) = server.chat(max_tokens=limit).json()["choices"]
    assert choice["thermo"]["reason"] == reason and choice["thermo"]["abstain"] is True
    (choice,) = server.chat(max_tokens=limit, thermo=GATE).json()["choices"]
    assert choice["finish_reason"] == "content_filter" and choice["message"]["content"] == ""
    assert choice["thermo"]["abstained"] is True and choice["thermo"]["confidence"] is None
    # One that is as long as any of the calibration is cut where those were.
    assert server.chat(max_tokens=8).json()["choices"][0]["thermo"]["source"] == "measured"


def test_records_that_only_the_signals_need_are_not_shown(tmp_path: Path) -> None:
    """The signal needs the mean energy of the vocabulary; a server without a calibrator shows the same."""
    full = write_calibrator(tmp_path / "full.json", signals=["self_certainty:mean"], slope=1.0)
    found = []
    for path in (full, None):
        engine = Recorded([SURE])
        with serving(tmp_path, engine, path) as server:
            for asked in (None, "state", "nodes", "full"):
                body = {} if asked is None else {"thermo": {"record": asked}}
                answer, stream = server.chat(**body), server.chat(stream=True, **body).text
                assert engine.asked.record == ("full" if path else asked or "state")
                (choice,) = answer.json()["choices"]
                if path:
                    assert choice["thermo"]["source"] == "measured"
                kept = server.client.get(f"/page/requests/{answer.json()['id'].removeprefix('chatcmpl-')}").json()
                records = choice.get("thermo", {}).get("records")
                chunks = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]
                thermos = [each.get("thermo", {}) for chunk in chunks for each in chunk["choices"]]
                found.append((kept["records"], records, [one["records"] for one in thermos if "records" in one]))
    assert found[:4] == found[4:]


def test_without_a_calibrator_nothing_changes(tmp_path: Path) -> None:
    with serving(tmp_path, Recorded([SURE]), None) as server:
        assert "thermo" not in server.chat().text and "thermo" not in server.chat(stream=True).text
        refused = server.chat(thermo=GATE)
        assert refused.status_code == 400
        assert refused.json()["error"]["message"] == (
            "thermo.require asks for a confidence and this server has no calibrator: "
            "leave it out, or set trust.calibrator."
        )
        assert "calibrat" not in server.client.get("/metrics").text
        assert server.client.get("/page/calibration").status_code == 404
        assert server.client.get("/page/state").json()["calibrated"] is False


@pytest.mark.parametrize("value", [-0.1, 1.1, None, "0.8", True])
def test_a_requirement_is_a_share(shared: Server, value: Any) -> None:
    server = shared.says(SURE)
    refused = server.chat(thermo={"require": {"confidence": value}})
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "thermo.require.confidence"
    assert server.chat(thermo={"require": {"certainty": 0.5}}).status_code == 400


def abstained(thermo: dict[str, Any]) -> bool:
    assert thermo["required"] == {"confidence": 0.8} and thermo["source"] == "measured"
    return bool(thermo["abstained"])


@pytest.mark.parametrize("text", [SURE, UNSURE])
def test_the_gate_gives_the_answer_or_nothing_of_it(shared: Server, text: str) -> None:
    is_withheld = text == UNSURE
    more = {"logprobs": True, "top_logprobs": 1, "return_token_ids": True, "thermo": {**GATE, "record": "state"}}
    server, before = shared.says(text), shared.counts
    answers = [
        server.chat(**more),
        server.chat(**more, stream=True),
        server.post("/v1/responses", input="hi", max_output_tokens=8, top_logprobs=1, thermo=GATE),
        server.post("/v1/responses", input="hi", max_output_tokens=8, top_logprobs=1, thermo=GATE, stream=True),
        server.post("/v1/messages", messages=HELLO, max_tokens=8, thermo=GATE),
        server.post("/v1/messages", messages=HELLO, max_tokens=8, thermo=GATE, stream=True),
    ]
    assert [answer.status_code for answer in answers] == [200] * 6
    letter = text[0]
    for answer in answers:
        assert (f'"{letter}' in answer.text) is not is_withheld
    (choice,) = answers[0].json()["choices"]
    assert choice["finish_reason"] == ("content_filter" if is_withheld else "stop")
    assert choice["message"] == {"role": "assistant", "content": "" if is_withheld else text, "refusal": None}
    assert abstained(choice["thermo"]) is is_withheld
    assert abstained(last_thermo(answers[1].text)) is is_withheld
    if is_withheld:
        assert choice["token_ids"] == [] and choice["logprobs"]["content"] == []
        assert choice["thermo"]["records"]["text"] == []
    assert answers[0].json()["usage"]["completion_tokens"] == 5
    response = answers[2].json()
    assert response["status"] == ("incomplete" if is_withheld else "completed")
    if is_withheld:
        assert response["incomplete_details"] == {"reason": "content_filter"}
        assert response["output"][0]["content"][0]["text"] == ""
    assert ("event: response.incomplete" in answers[3].text) is is_withheld
    assert answers[4].json()["stop_reason"] == ("refusal" if is_withheld else "end_turn")
    assert ('"stop_reason":"refusal"' in answers[5].text) is is_withheld
    rows = server.client.get("/page/requests").json()["requests"]
    for row in rows[:6]:
        kept = server.client.get(f"/page/requests/{row['id']}").text
        assert (f'"{letter}' in kept) is not is_withheld
    counts = server.counts
    assert counts.measured == before.measured + 6
    assert counts.withheld == before.withheld + (6 if is_withheld else 0)


def test_each_choice_passes_the_gate_by_itself(shared: Server) -> None:
    server = shared.says(UNSURE, SURE)
    first, second = server.chat(n=2, thermo=GATE).json()["choices"]
    assert (first["message"]["content"], second["message"]["content"]) == ("", SURE)
    stream = server.chat(n=2, thermo=GATE, stream=True).text
    assert '"content":"z' not in stream
    assert f'"content":"{SURE}"' in stream


def test_a_label_is_stored_with_its_answer_and_survives(tmp_path: Path, calibrator: Path) -> None:
    with serving(tmp_path, Recorded([SURE, UNSURE]), calibrator) as server:
        id = server.chat(n=2).json()["id"]
        first = server.label(id, True)
        assert first.status_code == 200 and first.json() == {
            "id": id, "object": "outcome", "index": 0, "correct": True,
            "confidence": pytest.approx(confidence_of(SURE)), "replaced": False,
        }  # fmt: skip
        assert server.label(id, True).json()["replaced"] is False
        assert server.label(id, False, index=1).json()["confidence"] == pytest.approx(confidence_of(UNSURE))
        assert server.label(id, False).json()["replaced"] is True
        assert server.monitor.num_labels == 2
        seen = server.monitor
    with serving(tmp_path, Recorded([SURE]), calibrator) as server:
        found = server.monitor
        assert found.evidence == pytest.approx(seen.evidence)
        assert found.describe()["reliability"] == seen.describe()["reliability"]
        assert found.describe()["distribution"]["counts"] == seen.describe()["distribution"]["counts"]
        assert server.label(id, True).json()["replaced"] is True
        response = server.post("/v1/responses", input="hi", max_output_tokens=8).json()
        assert server.label(response["id"], True).status_code == 200
    other = write_calibrator(tmp_path / "other.json", slope=5.0)
    with serving(tmp_path, Recorded([SURE]), other) as server:
        assert server.monitor.num_labels == 0
        assert server.label(id, False).json()["replaced"] is True
        assert server.monitor.num_labels == 0


def test_a_label_for_anything_else_is_refused(shared: Server) -> None:
    server = shared.says(UNSURE)
    withheld = server.chat(thermo=GATE).json()["id"]
    unmeasured = server.chat(temperature=0.5).json()["id"]
    given = server.chat().json()["id"]
    for id, more in (
        ("chatcmpl-" + "0" * 32, {}),
        ("x", {}),
        (unmeasured, {}),
        (given, {"index": 1}),
        (withheld, {}),
    ):
        refused = server.label(id, True, **more)
        assert refused.status_code == 404 and refused.json()["error"]["param"] == "id"
    assert "withheld" in server.label(withheld, True).json()["error"]["message"]
    for body in ({"id": given}, {"id": given, "correct": 1}, {"id": given, "correct": True, "index": -1}):
        assert server.client.post("/v1/outcomes", json=body).status_code == 400


def test_a_label_is_of_ones_own_answers(tmp_path: Path, calibrator: Path) -> None:
    from heatbath.serve.http.auth import create_key

    keys = {name: create_key(name) for name in ("alice", "bob")}
    settings = {name: {"sha256": lines.split('"')[1]} for name, (_, lines) in keys.items()}
    with serving(tmp_path, Recorded([SURE]), calibrator, keys=settings) as server:
        alice, bob = ({"authorization": f"Bearer {keys[name][0]}"} for name in ("alice", "bob"))
        body = {"model": "mock", "messages": HELLO, "max_tokens": 8}
        id = server.client.post("/v1/chat/completions", json=body, headers=alice).json()["id"]
        outcome = {"id": id, "correct": True}
        assert server.client.post("/v1/outcomes", json=outcome, headers=bob).status_code == 404
        assert server.client.post("/v1/outcomes", json=outcome, headers=alice).status_code == 200


def test_labels_that_contradict_make_the_calibration_stale(tmp_path: Path, calibrator: Path) -> None:
    with serving(tmp_path, Recorded([SURE]), calibrator) as server:
        for _ in range(25):
            assert server.label(server.chat().json()["id"], False).status_code == 200
        assert server.chat().json()["choices"][0]["thermo"]["stale"] is True
        state = server.client.get("/page/calibration").json()
        assert state["stale"] and any("labels" in reason for reason in state["reasons"])
        assert state["labels"]["count"] == 25 and state["measured"] == 26
        metrics = server.client.get("/metrics").text
        assert "heatbath_calibration_stale 1.0" in metrics and "heatbath_calibrated_answers_total 26.0" in metrics


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"fingerprint": "sha256:" + "0" * 64}, "the calibrator is for mock with the fingerprint"),
        ({"signals": ["answer_frequency"]}, "needs several samples of each answer, which a server does not have"),
        ({"signals": ["nonsense"]}, "there is no signal 'nonsense'"),
        ({"settings": {"temperature": None}}, "does not say the temperature that it is for"),
    ],
)
def test_a_calibrator_that_cannot_serve_is_refused_at_the_start(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    path = write_calibrator(tmp_path / "calibrator.json", **changes)
    with pytest.raises((BadInput, AssertionError), match=sentence), serving(tmp_path, Recorded([SURE]), path):
        pass


def test_a_file_that_is_no_calibrator_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    for name in ("broken.json", "missing.json"):
        with pytest.raises(BadInput, match=name), serving(tmp_path, Recorded([SURE]), tmp_path / name):
            pass


OWN = ("logprob@own:mean", "entropy@own:decision", "length")
OTHER = ("logprob@1:mean", "entropy@0.8:decision", "margin:mean", "log_z@1:max", "self_certainty:min")


@pytest.mark.parametrize(
    ("signals", "temperature", "mode"),
    [(OWN[::2], 0.7, "state"), (OWN, 0.0, "full"), (OWN, 1.0, "state"), (OTHER, 0.0, "full"), (OTHER, 0.7, "full")],
)
def test_a_served_confidence_is_that_of_the_trace(
    tmp_path: Path, signals: tuple[str, ...], temperature: float, mode: str
) -> None:
    """Of answers drawn by the engine of this process, against the same tokens measured by themselves."""
    letters = [bytes([letter]) for letter in b"abcdefgh"]
    energies = np.random.default_rng(0).normal(scale=2.0, size=(8, 8))
    model = MarkovModel(energies, symbols=letters)
    path = write_calibrator(
        tmp_path / "calibrator.json",
        signals=signals,
        slope=0.3,
        intercept=0.1,
        fingerprint=model.fingerprint,
        settings={"chat": False, "temperature": temperature},
    )
    asked: dict[str, Any] = {"max_tokens": 8, "temperature": temperature, "n": 3, "seed": 1, "return_token_ids": True}
    engine: Any = LocalEngine(model, config=EngineConfig(warm_up=False))
    with serving(tmp_path, engine, path) as server:
        assert server.services.calibrator.record_mode == mode
        choices = server.post("/v1/completions", prompt="ab", **asked).json()["choices"]
    calibrator = load_calibrator(path)
    for choice in choices:
        trace = measure(model, [0, 1, *choice["token_ids"]], temperature=temperature)
        expected = calibrator.confidence(trace.take(slice(2, None)))
        assert choice["thermo"]["confidence"] == pytest.approx(expected, rel=1e-9), choice["thermo"]
