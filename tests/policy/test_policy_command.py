"""`heatbath policy`: golden output of the example policy, exit codes, and JSON."""

import json
from pathlib import Path

import pytest

from heatbath.cli.main import main
from heatbath.models import MarkovModel, Vocabulary

FOLDER = Path(__file__).parent
EXAMPLE = FOLDER.parents[1] / "docs" / "policy-example.yaml"

RULES = """rules:
  - {id: numbers, effect: deny, match: {regex: '[0-9]{3}'}, must_catch: ['100', '7 200'], must_allow: ['12']}
  - {id: names, effect: warn, match: {phrases: [mill, mail]}, must_catch: [the mill], must_allow: [million]}
  - {id: own, effect: allow, match: {phrases: grist mill}}
  - {id: no-b, effect: forbid, match: {phrases: b}}
  - {id: less-c, effect: {energy: 0.5}, match: {tokens: [c]}}
"""
TEXTS = [("d1", "a mill"), ("d1", "the grist mill"), ("d2", "1000 mills"), ("d3", "a mail of 100"), ("d3", "nothing")]


@pytest.fixture
def files(tmp_path):
    policy, corpus = tmp_path / "policy.yaml", tmp_path / "texts.jsonl"
    policy.write_text(RULES)
    corpus.write_text("".join(json.dumps({"text": text, "document": name}) + "\n" for name, text in TEXTS))
    return policy, corpus


def run(capsys, *arguments, code=0):
    assert main(["policy", *map(str, arguments)]) == code
    return capsys.readouterr().out


def golden(name, text):
    """Compare with a file of this folder; delete the file to have it written again."""
    path = FOLDER / "golden" / name
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        pytest.fail(f"{path.name} was written: check and commit it.")
    assert text == path.read_text(encoding="utf-8")


def test_the_rules(capsys, files):
    golden("check.txt", run(capsys, "check", files[0]))
    golden("check.json", json.dumps(json.loads(run(capsys, "check", files[0], "--json")), indent=1) + "\n")


def test_the_examples_of_the_example(capsys):
    found = json.loads(run(capsys, "test", EXAMPLE, "--json"))["examples"]
    assert len(found) == 11 and all(each["passed"] for each in found)


def test_examples_and_false_alarms(capsys, files):
    policy, corpus = files
    golden("test.txt", run(capsys, "test", policy, "--corpus", corpus))
    found = json.loads(run(capsys, "test", policy, "--corpus", corpus, "--json"))
    golden("test.json", json.dumps(found, indent=1) + "\n")
    alarms = found["corpus"]
    assert {name: rule["count"] for name, rule in alarms["rules"].items()} == {"numbers": 2, "names": 2}
    assert alarms["any_rule"]["count"] == 3 and alarms["independent"] == pytest.approx(1 - 0.6 * 0.6)
    assert alarms["by_action"]["deny"]["count"] == 2 and alarms["by_action"]["allow"]["count"] == 2
    assert run(capsys, "test", policy, "--corpus", corpus, "--scope", "input", code=2) == ""


def test_an_example_that_comes_out_wrong(capsys, files):
    policy, _ = files
    policy.write_text(RULES.replace("['12']", "['12', '123']").replace("'7 200'", "'7 20'"))
    text = run(capsys, "test", policy, code=1)
    assert "missed: '7 20'" in text and "false alarm: '123'" in text
    found = json.loads(run(capsys, "test", policy, "--json", code=1))["examples"][0]
    assert (found["passed"], found["missed"], found["alarmed"]) == (False, ["7 20"], ["123"])


def test_the_cost(capsys, files, monkeypatch):
    import heatbath.models

    letters = [bytes([code]) for code in range(97, 123)] + [b" ", *b"0 1".split()]
    model = MarkovModel([[0.1 * (i + j) % 1 for j in range(29)] for i in range(29)], symbols=letters)
    model.vocabulary = Vocabulary(29)
    monkeypatch.setattr(heatbath.models, "load", lambda name, **options: model, raising=False)
    policy, corpus = files
    text = run(capsys, "cost", policy, "--corpus", corpus)
    golden("cost.txt", text)
    found = json.loads(run(capsys, "cost", policy, "--corpus", corpus, "--json", "--max-tokens", 4))
    assert found["tokens"] == 3 * len(TEXTS) and set(found["rules"]) == {"no-b", "less-c"}
    mass = found["rules"]["no-b"]["forbidden_mass"]["value"]
    assert mass == pytest.approx(found["total"]["forbidden_mass"]["value"]) and 0.01 < mass < 0.1


def test_a_policy_without_energies_has_no_cost(capsys, files):
    policy, corpus = files
    policy.write_text("rules:\n  - {id: a, effect: deny, match: {phrases: x}}\n")
    assert main(["policy", "cost", str(policy), "--corpus", str(corpus)]) == 2
    assert "no rule of policy.yaml has an energy" in capsys.readouterr().err


def test_mistakes_are_one_sentence_with_the_line(capsys, files):
    policy, _ = files
    policy.write_text(RULES.replace("warn", "wran"))
    assert main(["policy", "check", str(policy)]) == 2
    assert capsys.readouterr().err.startswith("heatbath: policy.yaml:3: `effect` is 'wran'")
    assert main(["policy", "check", str(policy.with_name("none.yaml"))]) == 1
