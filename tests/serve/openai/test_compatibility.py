"""Routes that clients probe for: the tokenizer's configuration, the version, and moderation, which is not served."""

from __future__ import annotations

import json
from typing import Any

import pytest
from serving import Server, server

import heatbath as hb
from heatbath.models.base import TokenizerModel
from heatbath.serve.openai.schema.models import TokenizeRequest
from heatbath.serve.openai.tokenize import describe_tokenizer
from heatbath.serve.openai.validation import decode_body


@pytest.fixture(scope="module")
def made() -> Server:
    return server()


def test_the_version_is_that_of_the_package(made: Server) -> None:
    assert made.client.get("/version").json() == {"version": hb.__version__}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_ping_is_the_health_of_the_server(method: str) -> None:
    made = server()
    assert made.client.request(method, "/ping").json()["ready"] is True
    made.services.lifecycle.drain()
    assert made.client.request(method, "/ping").status_code == 503


def test_moderation_is_refused_in_one_sentence_that_clients_do_not_try_again(made: Server) -> None:
    answer = made.client.post("/v1/moderations", json={"input": "x"})
    error = answer.json()["error"]
    assert answer.status_code == 404 and error["code"] == "not_found" and "no policy" in error["message"]


def test_a_model_without_a_tokenizer_tells_its_ends(made: Server) -> None:
    found = made.client.get("/tokenizer_info").json()
    assert found == {"tokenizer_class": "ByteModelInfo", "bos_token": "<end>", "eos_token": "<end>"}


@pytest.mark.weights
def test_the_configuration_of_a_tokenizer_has_no_paths(smollm2: Any, smollm2_folder: Any) -> None:
    from transformers import AutoTokenizer

    assert isinstance(smollm2, TokenizerModel)
    found, local = describe_tokenizer(smollm2), AutoTokenizer.from_pretrained(smollm2_folder)
    assert json.loads(json.dumps(found)) == found and "/" not in json.dumps({**found, "chat_template": ""})
    assert found["tokenizer_class"] == type(local).__name__ and found["chat_template"] == local.chat_template
    assert {name: found[name] for name in local.special_tokens_map} == local.special_tokens_map
    assert found["added_tokens_decoder"]["2"]["content"] == "<|im_end|>"


@pytest.mark.weights
def test_control_tokens_are_read_as_such_unless_asked_otherwise(smollm2: Any) -> None:
    from heatbath.serve.openai.tokenize import _encode_text

    def tokens(**more: Any) -> list[int]:
        body, _ = decode_body(json.dumps({"prompt": "a<|im_end|>", **more}).encode(), TokenizeRequest, {})
        return _encode_text(smollm2, body)

    assert tokens()[-1] == 2 and len(tokens()) == 2
    assert tokens(parse_special=False) == smollm2.encode("a<|im_end|>") and len(tokens(parse_special=False)) > 2
