"""Settings: which source counts, and one sentence for whatever is wrong."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from heatbath.cli.main import main
from heatbath.errors import BadInput
from heatbath.installation import install_command
from heatbath.serve.errors import ApiError
from heatbath.serve.http.auth import build_keyring, create_key
from heatbath.serve.interfaces import Tenant
from heatbath.serve.model_names import build_model_names
from heatbath.serve.settings import KeySettings, ModelSettings, read_settings


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "heatbath.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_without_anything_there_are_defaults(tmp_path: Path) -> None:
    settings, origin = read_settings()
    assert (settings.server.host, settings.server.port, settings.model.name) == ("127.0.0.1", 8000, "smollm2-135m")
    assert settings.storage.url == f"sqlite:///{tmp_path / 'heatbath' / 'heatbath.db'}"
    assert str(origin) == "defaults"


def test_flags_count_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, '[server]\nhost = "::1"\nport = 1\nmax_body = 10\n[limits]\nmax_n = 3\n')
    monkeypatch.setenv("HEATBATH_SERVER__PORT", "2")
    monkeypatch.setenv("HEATBATH_SERVER__MAX_BODY", "20")
    monkeypatch.setenv("HEATBATH_CACHE", "/somewhere")
    settings, origin = read_settings(file, {"server": {"port": 3}})
    server = settings.server
    assert (server.host, server.port, server.max_body, settings.limits.max_n) == ("::1", 3, 20, 3)
    assert str(origin) == f"{file}, environment (HEATBATH_SERVER__MAX_BODY, HEATBATH_SERVER__PORT), flags (--port)"


def test_the_environment_sets_all_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "SERVER__HOSTS": '["a.example"]',
        "MODEL__ALIASES": '{"gpt-4o": "smollm2-135m"}',
        "KEYS__ALICE__SHA256": "a" * 64,
        "STORAGE__CONTENT": "false",
        "LIMITS__CONCURRENT": "none",
        "ENGINE__DEADLINE_SECONDS": "1.5",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"HEATBATH_{name}", value)
    settings, _ = read_settings()
    assert settings.server.hosts == ("a.example",) and settings.model.aliases == {"gpt-4o": "smollm2-135m"}
    assert settings.keys["alice"].sha256 == "a" * 64 and settings.storage.content is False
    assert settings.limits.concurrent is None and settings.engine.deadline_seconds == 1.5


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[server]\nprot = 1", "server.prot in heatbath.toml is not a setting: perhaps port is meant."),
        ("[sever]\nport = 1", "sever in heatbath.toml is not a setting: perhaps server is meant."),
        ("[otel]\nxyzzy = 1", "otel.xyzzy in heatbath.toml is not a setting: there are enabled, endpoint."),
        ("[server]\nport = 65536", "server.port in heatbath.toml is 65536: give at most 65535."),
        ("[server]\nport = -1", "server.port in heatbath.toml is -1: give at least 0."),
        ('[server]\nport = "x"', "server.port in heatbath.toml is 'x': give a valid integer."),
        ("[server]\nhosts = 3", "server.hosts in heatbath.toml is 3: give a list."),
        ("[server]\nwrite_timeout = 0", "server.write_timeout in heatbath.toml is 0: give more than 0."),
        ("[server]\nread_timeout = nan", "server.read_timeout in heatbath.toml is nan: give a finite number."),
        ("[server]\ndrain_seconds = inf", "server.drain_seconds in heatbath.toml is inf: give a finite number."),
        ('[server]\nhost = ""', "server.host in heatbath.toml is '': give at least 1 character."),
        ('[server]\ntls_cert = "a"', "server.tls_cert is set without server.tls_key: TLS needs both."),
        ('[model]\ndtype = "int8"', "model.dtype in heatbath.toml is 'int8': give 'float32' or 'bfloat16'."),
        ("[limits]\nmax_n = 0", "limits.max_n in heatbath.toml is 0: give at least 1."),
        ("[keys.a]\ntenant = 'x'", "keys.a.sha256 is missing in heatbath.toml: set it."),
        ("[keys.a]\nsha = 'x'\nsha256 = '0'", "keys.a.sha256 in heatbath.toml is not usable: give the 64 hex digits"),
        ("server = 3", "server in heatbath.toml is 3: give a valid"),
        ("[server", "heatbath.toml is not valid TOML ("),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_settings(written(tmp_path, text))
    said = str(caught.value).removeprefix(f"{tmp_path}/")
    assert said.startswith(sentence) and said.endswith(".") and "\n" not in said


def test_a_secret_in_the_wrong_place_is_not_repeated(tmp_path: Path) -> None:
    for text in ("[keys.a]\nsha256 = 'hb-secret'", "[keys]\na = 'hb-secret'", "[storage]\nurl = ['hb-secret']"):
        with pytest.raises(BadInput) as caught:
            read_settings(written(tmp_path, text))
        assert "hb-secret" not in str(caught.value), text


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("SEVER__PORT", "1", "HEATBATH_SEVER__PORT sets nothing, sever is not a section: perhaps server is meant."),
        ("SERVER__PROT", "1", "server.prot in HEATBATH_SERVER__PROT is not a setting: perhaps port is meant."),
        ("SERVER__PORT", "x", "server.port in HEATBATH_SERVER__PORT is 'x': give a valid integer."),
    ],
)
def test_the_environment_is_looked_at_as_closely(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(f"HEATBATH_{name}", value)
    with pytest.raises(BadInput) as caught:
        read_settings()
    assert str(caught.value) == sentence


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"there is no file .*missing\.toml"):
        read_settings(tmp_path / "missing.toml")
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b'x = "\xff"')
    with pytest.raises(BadInput, match="is not UTF-8"):
        read_settings(latin)
    with pytest.raises(BadInput, match="cannot be read"):
        read_settings(tmp_path)


def test_settings_do_not_change(tmp_path: Path) -> None:
    settings, _ = read_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.server.port = 1


def test_a_new_key_is_let_in_by_its_lines() -> None:
    key, lines = create_key("alice")
    values = tomllib.loads(lines)["keys"]
    assert values["alice"]["sha256"] == hashlib.sha256(key.encode()).hexdigest() and len(key) > 40
    ring = build_keyring({name: KeySettings(**value) for name, value in values.items()})
    assert ring.find_tenant(key) == Tenant("alice", frozenset({"infer", "read"}), "alice")
    assert ring.find_tenant(key + "x") is None and create_key("alice")[0] != key
    for bad in ("", "a b", "a.b", "x" * 65, "a]\n[server"):
        with pytest.raises(BadInput, match="is not a name for a key"):
            create_key(bad)


def test_two_keys_with_one_hash_are_refused() -> None:
    same = KeySettings(sha256="0" * 64)
    with pytest.raises(BadInput, match=r"keys\.b has the hash of another key"):
        build_keyring({"a": same, "b": same})


def test_names_of_the_model(tmp_path: Path) -> None:
    names = build_model_names(ModelSettings(name="m", aliases={"gpt": "mini", "mini": "m"}))
    assert names.all_names == ["m", "gpt", "mini"] and {names.resolve(name) for name in names.all_names} == {"m"}
    with pytest.raises(ApiError) as caught:
        names.resolve("other")
    assert (caught.value.status, caught.value.code, caught.value.param) == (404, "model_not_found", "model")
    for aliases in ({"gpt": "other"}, {"a": "b", "b": "a"}):
        with pytest.raises(BadInput, match=r"model\.aliases\."):
            build_model_names(ModelSettings(name="m", aliases=aliases))
    folder = tmp_path / "weights"
    folder.mkdir()
    assert build_model_names(ModelSettings(name=str(folder), aliases={"x": "weights"})).all_names == ["weights", "x"]


def command(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["serve", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_command_makes_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = command(capsys, "--new-key", "alice", "--json")
    found: dict[str, Any] = json.loads(out)
    lines = tomllib.loads(found["toml"])
    assert code == 0 and lines["keys"]["alice"]["sha256"] == hashlib.sha256(found["key"].encode()).hexdigest()
    code, out, _ = command(capsys, "--new-key", "alice")
    assert code == 0 and out.count("hb-") == 1 and "[keys.alice]" in out
    assert command(capsys, "--new-key", "a b")[0] == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--port", "65536"], "server.port in --port is 65536"),
        (["--dtype", "int8"], "model.dtype in --dtype is 'int8'"),
        (["--model", ""], "model.name in --model is ''"),
        (["--host", "0.0.0.0"], "there is no key"),
        (["--config", "missing.toml"], "there is no file missing.toml"),
    ],
)
def test_the_command_refuses_before_it_loads(
    capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    code, out, err = command(capsys, *words)
    assert code == 2 and not out and sentence in err and err.count("\n") == 1


def test_without_the_extra_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr("heatbath.cli.serve.find_spec", lambda name: None if name == "uvicorn" else real(name))
    code, _, err = command(capsys)
    assert code == 1 and install_command("serve") in err
