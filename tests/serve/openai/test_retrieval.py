"""Documents in requests: what is shown, what is measured of it, what is given, and who may search what."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from scripted import Scripted
from serving import Server, server

from heatbath.engine.base import Token
from heatbath.errors import BadInput
from heatbath.retrieval.passage import Passage, SearchHit
from heatbath.serve.indexes import ServedIndexes, load_indexes
from heatbath.serve.settings import RetrievalSettings

PARIS = "Paris has been the capital of France since 987."
ROME = "In Italy Rome is known for its weather."
BOTH = "Paris has been the capital of France since 987 [1]. Rome has fine weather [2]. See [9] and [x]."
CHAT = [{"role": "user", "content": "Which is the capital of France?"}]


class Copier(Scripted):
    """An engine in whose model a letter costs 0.1 nats within a word that the prompt has, and 3 nats within another."""

    def score(self, prompt: Sequence[int], continuations: Sequence[Sequence[int]]) -> list[float]:
        words = set(words_of(prompt))
        return [sum(-0.1 * len(w) if w in words else -3.0 * len(w) for w in words_of(c)) for c in continuations]

    def token(self, token: int, place: int) -> Token:
        """A token with the whole record of a fair coin."""
        half = -math.log(2)
        record = {"logprob": half, "energy": 0.0, "log_z": -half, "entropy": -half, "heat_capacity": 0.0, "rank": 1.0}
        record |= {"temperature": 1.0, "mean_energy": 0.0, "variance": 0.0, "ground": 0.0, "p_max": 0.5}
        return replace(super().token(token, place), record=record)


def words_of(tokens: Sequence[int]) -> list[bytes]:
    return re.findall(rb"\w+", bytes(token for token in tokens if token < 256))


@dataclass
class ListIndex:
    """An index that finds its texts in order."""

    texts: Sequence[str]
    version: str = "v1"
    asked: str = ""

    def search(self, query: str, *, k: int, filters: Mapping[str, Any] | None, mode: Any) -> list[SearchHit]:
        self.asked = query
        if filters == {"wrong": 1}:
            raise BadInput("there is no metadata `wrong`: filter by another.", param="filters")
        hits = []
        for rank, text in enumerate(self.texts[:k], 1):
            digest = hashlib.sha256(text.encode()).hexdigest()
            passage = Passage(digest[:8], f"{rank}.txt", f"Title {rank}", 0, len(text), text, digest, {})
            hits.append(SearchHit(passage, rank, 1.0 / rank, rank, None))
        return hits


def build_indexes(texts: Sequence[str] = (PARIS, ROME), **more: Any) -> ServedIndexes:
    found = {"path": Path("anywhere"), "tenants": more.pop("tenants", None)}
    settings = RetrievalSettings.model_validate({"indexes": {"docs": found}, **more})
    return ServedIndexes(settings, opened={"docs": ListIndex(texts)})


def serve(text: str = BOTH, texts: Sequence[str] = (PARIS, ROME), **more: Any) -> tuple[Server, Copier]:
    engine = Copier([text])
    return server(engine, indexes=build_indexes(texts), **more), engine


def thermo(**retrieval: Any) -> dict[str, Any]:
    return {"thermo": {"retrieval": retrieval}}


def prompts(engine: Copier) -> list[str]:
    return [bytes(each.prompt).decode() for each in engine.requests if each.max_tokens]


def test_passages_are_shown_and_citations_are_measured() -> None:
    made, engine = serve()
    found = made.chat(CHAT, **thermo()).json()
    assert f"[1] Title 1\n{PARIS}\n\n[2] Title 2\n{ROME}\n\n{CHAT[0]['content']}" in prompts(engine)[0]
    choice = found["choices"][0]
    first, second, third = choice["thermo"]["claims"]
    text = choice["message"]["content"]
    assert text[first["start"] : first["end"]] == "Paris has been the capital of France since 987 [1]."
    # The question has the words of the sentence but for these.
    [citation] = first["citations"]
    assert citation["support"] == pytest.approx(2.9 * len("Parishasbeensince987"), abs=1e-9) and citation["supported"]
    assert citation["document"] == "1.txt" and citation["version"] == "v1" and citation["index"] == "docs"
    assert citation["content_hash"] == hashlib.sha256(PARIS.encode()).hexdigest()
    by_number = {each["number"]: each for each in second["citations"]}
    assert by_number[2]["written"] and by_number[2]["supported"], "the word Rome is in passage 2 alone"
    assert third["unknown"] == ["9", "x"] and not third["supported"] and not third["citations"]
    assert found["thermo"]["retrieval"]["passages"][1]["document"] == "2.txt"
    annotation = choice["message"]["annotations"][0]["url_citation"]
    assert text[annotation["start_index"] : annotation["end_index"]] == "[1]"
    assert annotation["url"] == f"1.txt#char=0,{len(PARIS)}" and annotation["title"] == "Title 1"


def test_a_written_citation_without_support_is_refused() -> None:
    made, _ = serve("Paris has been the capital of France since 987 [2].")
    choice = made.chat(CHAT, **thermo()).json()["choices"][0]
    cited = {each["number"]: each for each in choice["thermo"]["claims"][0]["citations"]}
    assert cited[2]["written"] and not cited[2]["supported"] and cited[2]["support"] == pytest.approx(0.0)
    assert cited[1]["supported"] and not cited[1]["written"]
    assert [each["url_citation"]["title"] for each in choice["message"]["annotations"]] == ["Title 1"]
    assert made.services.indexes is not None and made.services.indexes.counts.refused == 1


def test_streams_say_the_same_at_their_end() -> None:
    made, _ = serve()
    whole = made.chat(CHAT, **thermo()).json()["choices"][0]
    chunks = [
        json.loads(line[6:]) for line in made.chat(CHAT, stream=True, **thermo()).text.split("\n\n") if "{" in line
    ]
    last = next(chunk for chunk in chunks if chunk["choices"] and chunk["choices"][0]["finish_reason"])
    assert last["choices"][0]["delta"]["annotations"] == whole["message"]["annotations"]
    assert last["choices"][0]["thermo"]["claims"] == whole["thermo"]["claims"]
    texts = [chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"]]
    assert "".join(texts) == BOTH and len([text for text in texts if text]) == len(BOTH), "shown as it was generated"
    assert chunks[-1]["thermo"]["retrieval"]["index"] == "docs"


def test_responses_carry_file_citations() -> None:
    made, _ = serve()
    found = made.respond(CHAT[0]["content"], **thermo()).json()
    part = found["output"][0]["content"][0]
    first = part["annotations"][0]
    assert first["type"] == "file_citation" and first["filename"] == "1.txt"
    assert part["text"][: first["index"]].endswith("[1]") and found["thermo"]["claims"][0]["supported"]
    events = made.respond(CHAT[0]["content"], stream=True, **thermo()).text
    assert events.count("response.output_text.annotation.added") == 2 * len(part["annotations"])
    assert events.index("annotation.added") < events.index("response.content_part.done")


def test_completions_are_continued_after_the_passages() -> None:
    made, engine = serve()
    found = made.complete("The capital of France is", max_tokens=200, **thermo()).json()
    assert prompts(engine)[0].endswith(f"{ROME}\n\nThe capital of France is")
    assert found["choices"][0]["thermo"]["claims"][0]["supported"]
    refused = made.complete(["one", "two"], **thermo())
    assert refused.status_code == 400 and "one prompt" in refused.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_claims_without_support_are_removed(stream: bool) -> None:
    made, _ = serve()
    options = thermo(citations={"unsupported": "remove"})
    text = made.chat(CHAT, stream=stream, logprobs=True, **options).text
    assert "See" not in text and "[9]" not in text
    stored = next(iter(made.store.answers.values()))
    assert "[9]" not in json.dumps([stored.content and stored.content["answers"], stored.records])
    made, _ = serve("See [9]. Paris has been there since 987 [1].")
    choice = made.chat(CHAT, **options).json()["choices"][0]
    place = choice["message"]["annotations"][0]["url_citation"]
    assert choice["message"]["content"][place["start_index"] : place["end_index"]] == "[1]"
    assert len(choice["thermo"]["claims"]) == 1
    made, _ = serve("Nobody knows.")
    choice = made.chat(CHAT, **options).json()["choices"][0]
    assert choice["message"]["content"] == "" and choice["finish_reason"] == "content_filter"


def test_claims_without_support_are_sent_back_once() -> None:
    made, engine = serve()
    found = made.chat(CHAT, **thermo(citations={"unsupported": "retry"})).json()
    first, second = prompts(engine)
    assert "- See [9] and [x]." in second and second.startswith(first[: first.index("Which")])
    assert found["thermo"]["retrieval"]["drafts"] == 1
    assert found["usage"]["completion_tokens"] == 2 * (len(BOTH) + 1), "the draft is counted"


def test_passages_that_repeat_one_another_are_said_and_support_together() -> None:
    made, _ = serve(BOTH, (PARIS, PARIS))
    found = made.chat(CHAT, **thermo()).json()
    relations = found["thermo"]["retrieval"]["relations"]
    assert [(one["first"], one["second"], one["kind"]) for one in relations] == [(1, 2, "repeats")]
    first = found["choices"][0]["thermo"]["claims"][0]["citations"]
    assert {each["number"] for each in first if each["supported"]} == {1, 2}


@pytest.mark.parametrize(
    ("trigger", "drafts", "searches"),
    [
        ("never", 0, 0),
        ({"kind": "random", "rate": 0.0}, 0, 0),
        ({"kind": "random", "rate": 1.0}, 0, 1),
        ({"kind": "uncertainty", "signal": "entropy:mean", "threshold": 1000.0}, 0, 0),
        ({"kind": "uncertainty", "signal": "entropy:mean", "threshold": -1.0}, 1, 1),
        ({"kind": "uncertainty", "signal": "logprob:mean", "threshold": 1.0}, 1, 1),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_triggers(trigger: Any, drafts: int, searches: int, stream: bool) -> None:
    made, engine = serve()
    assert made.chat(CHAT, stream=stream, **thermo(trigger=trigger)).status_code == 200
    assert len(prompts(engine)) == 1 + drafts
    assert (PARIS in prompts(engine)[-1]) == bool(searches)
    assert made.services.indexes is not None and made.services.indexes.counts.searches == searches


def test_the_contrast_is_between_the_prompts_with_and_without_documents() -> None:
    made, engine = serve()
    made.chat(CHAT, **thermo(contrast=0.5, trigger="always"))
    [field] = engine.requests[0].fields
    assert field.name == "contrast" and field.value["gamma"] == 1.5
    assert PARIS not in bytes(field.value["other"]).decode() and "France" in bytes(field.value["other"]).decode()


def test_what_was_measured_is_stored() -> None:
    made, _ = serve()
    made.chat(CHAT, **thermo())
    content = next(iter(made.store.answers.values())).content
    assert content is not None
    evidence = content["evidence"]
    citation = evidence["choices"][0]["claims"][0]["citations"][0]
    assert {"document", "passage", "content_hash", "version", "support"} <= citation.keys()
    assert evidence["retrieval"]["version"] == "v1"


def test_passages_that_do_not_fit_are_dropped_and_said() -> None:
    long = "word " * 500
    made, engine = serve("Yes.", (PARIS, long, long))
    found = made.chat(CHAT, max_tokens=16, **thermo()).json()
    retrieval = found["thermo"]["retrieval"]
    assert (retrieval["dropped"], len(retrieval["passages"])) == (1, 2) and len(engine.requests[0].prompt) <= 4096


def test_claims_are_of_text() -> None:
    made, _ = serve()
    tool = {"type": "function", "function": {"name": "f"}}
    assert made.chat(CHAT, tools=[tool], **thermo()).status_code == 400
    assert made.chat(CHAT, tools=[tool], **thermo(citations=False)).status_code == 200
    form = {"response_format": {"type": "json_object"}}
    assert made.chat(CHAT, **form, **thermo(citations={"unsupported": "remove"})).status_code == 400


def test_search_by_itself() -> None:
    made, _ = serve()
    found = made.client.post("/v1/search", json={"query": "France", "k": 1}).json()
    assert found["index"] == "docs" and [each["text"] for each in found["data"]] == [PARIS]
    refused = made.client.post("/v1/search", json={"query": "France", "filters": {"wrong": 1}})
    assert refused.status_code == 400 and "wrong" in refused.json()["error"]["message"]
    assert server(Scripted()).client.post("/v1/search", json={"query": "x"}).status_code == 400


KEYS = {name: {"sha256": hashlib.sha256(name.encode()).hexdigest(), "tenant": name} for name in ("alice", "bob")}


def test_another_tenant_finds_nothing_of_an_index_and_the_same_one_does() -> None:
    made = server(Copier([BOTH]), indexes=build_indexes(tenants=["alice"]), keys=KEYS)
    own, other = ({"authorization": f"Bearer {name}"} for name in ("alice", "bob"))

    def search(headers: Any, **more: Any) -> Any:
        return made.client.post("/v1/search", json={"query": "France", **more}, headers=headers)

    assert search(own).status_code == 200 and search(own, index="docs").status_code == 200
    by_name, unknown = search(other, index="docs"), search(other, index="other")
    assert by_name.status_code == unknown.status_code == 404
    assert by_name.json()["error"]["message"].replace("docs", "other") == unknown.json()["error"]["message"]
    assert search(other).status_code == 400 and "docs" not in search(other).text

    def chat(headers: Any, **retrieval: Any) -> Any:
        body = {"messages": CHAT, **thermo(**retrieval)}
        return made.post("/v1/chat/completions", body, headers=headers)

    assert chat(other, index="docs").status_code == 404 and PARIS not in chat(other, index="docs").text
    assert chat(own).status_code == 200
    assert made.services.indexes is not None
    assert made.services.indexes.describe("alice")["last"] and not made.services.indexes.describe("bob")["last"]


def test_settings_that_name_no_folder_are_refused(tmp_path: Path) -> None:
    def settings(**more: Any) -> RetrievalSettings:
        return RetrievalSettings.model_validate({"indexes": {"docs": {"path": tmp_path / "none"}}, **more})

    with pytest.raises(BadInput, match=r"retrieval\.indexes\.docs\.path"):
        load_indexes(settings())
    (tmp_path / "none").mkdir()
    with pytest.raises(BadInput, match="both set"):
        load_indexes(settings(threshold=1.0, support=tmp_path / "x.json"))
    assert load_indexes(settings(threshold=1.5)).threshold == 1.5
